"""`zoo compact`: many small files of a table become few large ones; what nobody sees is dropped.

A run makes one new generation: a folder in every table. Readers see each row exactly once all the
while. A unit's `models` row says which generation its other rows are read from, so the order is:

    1. data tables, then `models`, are written to the new generation; hot rows still count
    2. pause, for readers that listed the folders before
    3. the merged `models` files go: each unit is now read from the new generation, in all tables
    4. pause, then the merged data files go

Killed anywhere, the next run starts over with what it finds.
"""

from __future__ import annotations

import errno
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import duckdb
import pyarrow as pa

from catalog.care.claims import claim, finish, give_back
from catalog.care.merge import write_sorted
from catalog.care.scores import roll_up
from catalog.errors import DiskFullError, TornError
from catalog.files.duck import while_others_write
from catalog.files.folder import Folder, Stamp
from catalog.files.layout import HOT, SEEDS, check_marker, generation
from catalog.files.lock import compaction, still_ours, writing
from catalog.files.room import no_room
from catalog.read.views import connect
from catalog.schema import TABLES, UNIT_TABLES
from catalog.schema.keys import COMMIT
from catalog.schema.table import Table
from catalog.write.commits import prepare
from catalog.write.names import UnitKey, part_name, unit_stem

TARGET_BYTES = 256 * 2**20
"""Merged files are closed, and generations left alone from then on, at about this size."""
GRACE_S = 5.0
"""Seconds of each of the two pauses for readers."""
ORPHAN_AGE_S = 24 * 3600.0
"""Seconds after which a data part without its models part is dropped: until then it may still get
one. A data part of a unit that was finished by another commit is dropped at once."""
_REPLACED_AGE_S = 3600.0
"""In a bucket a data part is not dropped before it is that old: a sweep that slept, lost its lease and
woke up may be about to write its `models` part."""
_BATCH_ROWS = {"spectra": 256}
"""Rows of a table that are merged at a time, where they are long."""
_DEFAULT_BATCH_ROWS = 50_000
"""Rows of the other tables that are merged at a time."""

_NO_ROOM = re.compile(r"No space left on device|failed to offload", re.IGNORECASE)
"""What DuckDB says when its folder for sorting is full."""

FilePath = tuple[str, str, str]
"""Table, generation, file name."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one run reads, and where it writes."""

    files: Mapping[FilePath, Stamp]
    """Every data file, as it was before anything was read."""
    sources: frozenset[str]
    """Generations that are merged."""
    number: int
    """Of the new generation."""

    @property
    def target(self) -> str:
        """The new generation."""
        return generation(self.number)


def compact(
    root: str,
    *,
    target_bytes: int = TARGET_BYTES,
    grace_s: float = GRACE_S,
    orphan_age_s: float = ORPHAN_AGE_S,
    alone: bool = False,
    say: Callable[[str], None] | None = None,
) -> pa.Table:
    """Merge the small files of every table; returns files and bytes of each, before and after.

    May run beside readers, and on this machine beside sweeps; LockedError beside another compaction,
    and in a bucket beside a sweep. `alone`: no sweep runs, where the bucket cannot tell. `say` hears why
    nothing seems to happen for a while. TornError names a file that is not whole Parquet.
    """
    folder = Folder.parse(root)
    check_marker(folder)  # before the lock, whose file would be left in any folder named by mistake
    with (
        compaction(root, alone=alone),
        connect(root, allow_files=True) as con,
        tempfile.TemporaryDirectory() as spill,
    ):
        prepare(root)
        con.execute("set temp_directory = ?", [spill])
        try:
            plan, merged = while_others_write(lambda: _merge(con, folder, target_bytes))
            if merged is None:
                _say(say, "nothing to merge")
            else:
                _say(say, _why(merged, grace_s))
                _drop(con, folder, plan, merged, grace_s=grace_s, orphan_age_s=orphan_age_s)
            while_others_write(lambda: roll_up(con, folder))
        except DiskFullError:
            _drop_unfinished(folder)
            raise
        except duckdb.Error as error:
            if _NO_ROOM.search(str(error)):
                raise DiskFullError(
                    f"cannot sort {folder.root}: {error}. {no_room(errno.ENOSPC, spill, None)}, or set "
                    f"TMPDIR to a folder on another disk"
                ) from error
            raise TornError(
                f"cannot merge {folder.root}: {error}; run `zoo check`, move the file it names "
                f"away, then compact again"
            ) from error
    after = _files(folder)
    return pa.Table.from_pylist(
        [{"table": t, **_sizes("before", t, plan.files), **_sizes("after", t, after)}
         for t in TABLES]
    )  # fmt: skip


def _why(merged: Sequence[FilePath], grace_s: float) -> str:
    """What the pauses are for."""
    said = f"merged {len(merged)} small files; they are deleted"
    if grace_s <= 0:
        return f"{said} now"
    return (
        f"{said} after two pauses of {grace_s:g} s, so that a reader that has just listed them can read them "
        "to the end (--grace 0 where nobody reads)"
    )


def _say(say: Callable[[str], None] | None, text: str) -> None:
    if say is not None:
        say(text)


def _drop_unfinished(folder: Folder) -> None:
    """Delete what this run wrote before the disk was full: files of a generation without `models`,
    which no reader looks at, and the next run would write again."""
    finished = {tier for table, tier, _ in _files(folder) if table == "models"}
    for path in _files(folder):
        if path[1] not in finished and path[1] != HOT:
            folder.delete(*path)


def _files(folder: Folder) -> dict[FilePath, Stamp]:
    """Every data file; the empty ones are not among them."""
    stamps = {}
    for table in TABLES:
        for tier in folder.folders(table):
            for name in folder.names(table, tier) if tier != SEEDS else ():
                stamp = folder.stamp(table, tier, name)
                if name.endswith(".parquet") and stamp is not None:
                    stamps[table, tier, name] = stamp
    return stamps


def _plan(folder: Folder, target_bytes: int) -> _Plan:
    """The run: hot files are merged, and generations that are small or were never finished; all of
    them beside a run in a bucket that may still wake up."""
    files = _files(folder)
    tiers = {tier for _, tier, _ in files}
    size = {t: sum(s.size for (_, tier, _), s in files.items() if tier == t) for t in tiers}
    finished = {tier for table, tier, _ in files if table == "models"}
    numbers = [int(t[1:]) for t in tiers if t[1:].isdigit()]
    number, is_alone = claim(folder, max(numbers, default=0) + 1)
    return _Plan(
        files,
        frozenset(
            tier
            for tier in tiers
            if tier == HOT or size[tier] < target_bytes or tier not in finished or not is_alone
        ),
        number,
    )


def _is_worth_it(plan: _Plan) -> bool:
    """True unless the run would only write one generation anew."""
    return HOT in plan.sources or len(plan.sources) > 1


def _sizes(when: str, table: str, files: Mapping[FilePath, Stamp]) -> dict[str, int]:
    stamps = [stamp for (t, _, _), stamp in files.items() if t == table]
    return {f"files_{when}": len(stamps), f"bytes_{when}": sum(s.size for s in stamps)}


def _merge(
    con: duckdb.DuckDBPyConnection, folder: Folder, target_bytes: int
) -> tuple[_Plan, list[FilePath] | None]:
    """Write the new generation, `models` last; with the hot files whose rows are in it.

    None when nothing is worth merging. What is shown is asked once: a unit committed a moment later
    is neither merged nor dropped.
    """
    plan = _plan(folder, target_bytes)
    if not _is_worth_it(plan):
        give_back(folder, plan.number)
        return plan, None
    plan = replace(plan, sources=plan.sources | _with_pruned(con))
    con.execute(
        f"create or replace temp table chosen_units as select {', '.join(COMMIT)}, generation "
        f"from internal.shown_models where generation in (from unnest(?))",
        [sorted(plan.sources)],
    )
    merged: list[FilePath] = []
    for name in (*UNIT_TABLES, "models", "failures", "sweeps", "listing"):
        table = TABLES[name]
        keys = ", ".join(table.part_key)
        if name in UNIT_TABLES or name == "models":
            chosen = f"select {', '.join(COMMIT)}, generation from chosen_units"
            on = ", ".join((*COMMIT, "generation"))
        else:
            chosen = f"select {keys}, max(generation) as generation from internal.raw_{name} group by all"
            on = f"{keys}, generation"
        con.execute(f"create or replace temp table chosen as {chosen}")
        if name == "models":  # from here on readers look at the new generation
            still_ours(folder)
        order = ", ".join(f'"{column}"' for column in table.sort_key)
        rows = con.sql(
            f"select * exclude (generation) from internal.raw_{name} semi join chosen using ({on}) "
            f"where generation in (from unnest(?)) order by {order}",
            params=[sorted(plan.sources)],
        )
        write_sorted(
            folder,
            table,
            rows.to_arrow_reader(_BATCH_ROWS.get(name, _DEFAULT_BATCH_ROWS)),
            generation=plan.target,
            target_bytes=target_bytes,
        )
        merged += [(name, HOT, file) for file in _hot_names(con, table, "chosen")]
    finish(folder, plan.number)
    return plan, merged


def _with_pruned(con: duckdb.DuckDBPyConnection) -> set[str]:
    """The generations that hold rows of pruned units: all are merged, so that none is left of these."""
    rows = con.execute(
        "select distinct generation from internal.raw_models where (model_id, revision, analysis_key) in "
        "(select (model_id, revision, analysis_key) from internal.newest_models where pruned_at is not null)"
    ).fetchall()
    return {generation for (generation,) in rows}


def _hot_names(con: duckdb.DuckDBPyConnection, table: Table, view: str) -> list[str]:
    """Names of the hot files that hold the parts in `view`."""
    parts = con.execute(
        f"select distinct {', '.join(table.part_key)} from {view} where generation = ?", [HOT]
    ).fetchall()
    keys = (dict(zip(table.part_key, key, strict=True)) for key in parts)
    return [f"{part_name(table.name, key)}.parquet" for key in keys]


def _drop(
    con: duckdb.DuckDBPyConnection,
    folder: Folder,
    plan: _Plan,
    merged: list[FilePath],
    *,
    grace_s: float,
    orphan_age_s: float,
) -> None:
    """Delete the sources: `models` first, which moves every unit over at once, then the rest."""
    cold = [path for path in plan.files if path[1] in plan.sources and path[1] != HOT]
    time.sleep(grace_s)
    with writing(folder, alone=True):
        _delete(folder, plan, [p for p in (*merged, *cold) if p[0] == "models"])
    time.sleep(grace_s)
    with writing(folder, alone=True):  # no commit is between its data and its marker
        needed, finished, tombstones = _owned(con)
        oldest = time.time() - orphan_age_s
        orphans = [
            path for path, stamp in plan.files.items()
            if path[0] in UNIT_TABLES and path[1] == HOT
            and (stamp.modified_s < oldest or path[2].rpartition("-")[0] in finished)
            and (folder.is_local or stamp.modified_s < time.time() - _REPLACED_AGE_S)
        ]  # fmt: skip
        rest = [p for p in (*merged, *cold, *orphans) if p[0] != "models"]
        _delete(folder, plan, [p for p in rest if p[0] not in UNIT_TABLES or p[2] not in needed])
        _delete(folder, plan, [("models", HOT, name) for name in tombstones])


def _owned(con: duckdb.DuckDBPyConnection) -> tuple[set[str], set[str], list[str]]:
    """Names of the hot data files that models rows own, the stems of all units that are finished or
    pruned, and the hot models files that are tombstones."""
    needed = set(_hot_names(con, TABLES["layers"], "internal.live_models"))  # as in all unit tables
    units = con.execute(
        "select model_id, revision, analysis_key, pruned_at is not null from internal.newest_models"
    ).fetchall()
    tombstones = [
        part_name(
            "models",
            {"model_id": unit[0], "revision": unit[1], "analysis_key": unit[2], "sweep_id": ""},
        )
        for *unit, is_pruned in units
        if is_pruned
    ]
    stems = {unit_stem(UnitKey(*unit)) for *unit, _ in units}
    return needed, stems, [f"{name}.parquet" for name in tombstones]


def _delete(folder: Folder, plan: _Plan, paths: list[FilePath]) -> None:
    """Delete files that are still those the plan saw."""
    for path in paths:
        if path in plan.files and folder.stamp(*path) == plan.files[path]:
            folder.delete(*path)
