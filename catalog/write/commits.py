"""What is finished: commits of units, failures, sweeps and what they planned.

A commit is one unit in one sweep. Its data parts are written first and its `models` part last:
that part is the marker, and the views show nothing of a unit without it. Data parts are named
after (sweep, unit), the marker after the unit alone. So a re-run overwrites its own files with
equal ones, and a new analysis of a finished unit replaces the old one in a single rename, while
the old parts stay invisible until `compact` drops them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from catalog.errors import SchemaError, TornError
from catalog.files.duck import open_duck, while_others_write
from catalog.files.folder import Folder
from catalog.files.layout import HOT, MARKER, Marker, check_marker, read_marker, seed
from catalog.files.lock import writing
from catalog.schema import SCHEMA_VERSION, TABLES, UNIT_TABLES
from catalog.schema.arrow_types import arrow_schema
from catalog.schema.keys import COMMIT
from catalog.write.parts import digest, encode, make_part, part_stem, write_part

Row = Mapping[str, object]
"""A row of a table: value by column; an absent column is NULL."""


@dataclass(frozen=True, slots=True, order=True)
class UnitKey:
    """The unit of work, of commit and of resume."""

    model_id: str
    """Hub repository or `local/<name>`."""
    revision: str
    """Commit sha or content fingerprint."""
    analysis_key: str
    """Hash of everything that can move a number."""


@dataclass(frozen=True, slots=True)
class FinishedUnit:
    """What the `models` row of a unit says of its numbers."""

    key: UnitKey
    options_key: str
    """Hash of all that the analysis key hashes, but for the decoders."""
    decoders: tuple[str, ...] | None
    """Names of the decoders it uses; None in a row that is older than the column."""
    versions: str | None
    """JSON of the packages that computed the numbers."""


_FINISHED = ("model_id", "revision", "analysis_key", "options_key", "decoders", "versions")
"""The columns that tell it, all of them texts."""


def prepare(root: str) -> None:
    """Make `root` a catalog of today's schema: the empty part of every table, then its marker.

    The first writer of a newer version lifts an older catalog with it: the marker is renamed into
    place last, no other file is touched, and older files are read as they are. Cleans up what killed
    writers left. Cheap and idempotent. NotACatalogError when the catalog is of a newer schema.
    """
    folder = Folder.parse(root)
    oldest = SCHEMA_VERSION
    if folder.exists(MARKER):
        marker = read_marker(folder)
        folder.clean()
        if marker.version == SCHEMA_VERSION:
            return
        oldest = marker.oldest
    for name in TABLES:
        empty = encode(arrow_schema(name).empty_table(), table=name, metadata={})
        folder.put(empty, name, *seed(SCHEMA_VERSION))
    folder.put(Marker(SCHEMA_VERSION, oldest).to_bytes(), MARKER)


def commit_unit(
    root: str,
    *,
    model: Row,
    layers: Sequence[Row],
    traps: Sequence[Row] = (),
    evaluations: Sequence[Row] = (),
    spectra: Sequence[Row] = (),
    tensors: Sequence[Row] = (),
) -> str:
    """Make one unit part of the catalog, whole or not at all; returns the marker's path.

    `model` holds the common keys; they are filled into the other rows, and a row that has other
    ones is an error. Calling again with the same keys replaces the same files. Safe from any
    number of processes and machines.
    """
    keys = {column: _key(model, column) for column in COMMIT}
    metadata = {**keys, "versions": str(model.get("versions") or "")}
    data = {"layers": layers, "traps": traps, "evaluations": evaluations, "spectra": spectra,
            "tensors": tensors}  # fmt: skip
    parts = [
        make_part(
            table,
            [_with_keys(table, row, keys) for row in rows],
            name=part_name(table, keys),
            metadata=metadata,
        )
        for table, rows in data.items()
        if rows
    ]
    marker = make_part("models", [model], name=part_name("models", keys), metadata=metadata)
    folder = _ready(root)
    with writing(folder, alone=False):
        for table, rows in data.items():
            if not rows:
                folder.delete(table, HOT, f"{part_name(table, keys)}.parquet")
        folder.put_all({part.path: part.data for part in parts})
        folder.put(marker.data, *marker.path)
    return folder.at(*marker.path)


def _ready(root: str) -> Folder:
    """The folder of a catalog that was prepared at some time; prepared now if it was not."""
    folder = Folder.parse(root)
    if not folder.exists(MARKER) or check_marker(folder) != SCHEMA_VERSION:
        prepare(root)
    return folder


def record_failure(root: str, row: Row) -> str:
    """Keep the last failure of a unit in a sweep; a later one of the same sweep replaces it."""
    keys = {column: _key(row, column) for column in COMMIT}
    with writing(_ready(root), alone=False):
        name = part_name("failures", keys)
        return write_part(root, "failures", [row], name=name, metadata=keys)


def record_sweep(root: str, row: Row) -> str:
    """Keep the row of a sweep; called at its start and, with the same `sweep_id`, at its end."""
    keys = {"sweep_id": _key(row, "sweep_id")}
    prepare(root)
    with writing(Folder.parse(root), alone=False):
        return write_part(root, "sweeps", [row], name=part_name("sweeps", keys), metadata=keys)


def record_listing(root: str, sweep_id: str, rows: Sequence[Row]) -> str:
    """Keep every unit that sweep `sweep_id` plans to have in the catalog, finished or not."""
    prepare(root)
    keys = {"sweep_id": sweep_id}
    filled = [_with_keys("listing", row, keys) for row in rows]
    with writing(Folder.parse(root), alone=False):
        return write_part(root, "listing", filled, name=part_name("listing", keys), metadata=keys)


def finished_units(root: str) -> tuple[FinishedUnit, ...]:
    """Every finished unit, from the `models` parts alone; empty when there is no catalog yet."""
    folder = Folder.parse(root)
    if not folder.exists(MARKER):
        return ()
    check_marker(folder)
    columns = ", ".join(
        f"'{name}': {{name: '{name}', type: 'varchar', default_value: null}}" for name in _FINISHED
    )
    query = (
        f"select {', '.join(_FINISHED)} from read_parquet($files, schema = map {{{columns}}}, "
        f"filename = true, hive_partitioning = false) where model_id is not null qualify "
        f"row_number() over (partition by model_id, revision, analysis_key "
        f"order by split_part(filename, '/', -2) desc) = 1"
    )
    files = {"files": folder.glob("models", "*", "*.parquet")}
    with open_duck(folder) as con:
        try:
            rows = while_others_write(lambda: con.execute(query, files).fetchall())
        except duckdb.Error as error:
            raise TornError(
                f"cannot read the models of {folder.root}: {error}; run `zoo check` to find the "
                f"file, move it away and run the same command again"
            ) from error
    return tuple(_finished(*row) for row in rows)


def _finished(
    model_id: str,
    revision: str,
    analysis_key: str,
    options_key: str | None,
    decoders: str | None,
    versions: str | None,
) -> FinishedUnit:
    names = None if decoders is None else tuple(name for name in decoders.split(", ") if name)
    key = UnitKey(model_id, revision, analysis_key)
    return FinishedUnit(key, options_key or analysis_key, names, versions)


def done_units(root: str) -> frozenset[UnitKey]:
    """The keys of every finished unit."""
    return frozenset(unit.key for unit in finished_units(root))


def drop_unfinished(root: str, revisions: Iterable[tuple[str, str]]) -> int:
    """Delete the data parts of `revisions` (model_id, revision) that no finished unit owns.

    Returns how many files went. A killed sweep leaves them, under a key that nobody knows before the
    headers are read. No view shows them, but whoever reads the folders directly would see their rows
    twice once the units are done again. On this machine only, where none can be on its way to its
    `models` part while we have the lock; elsewhere `zoo compact` clears them away in time.
    """
    folder = Folder.parse(root)
    if not folder.is_local or not folder.exists(MARKER):
        return 0
    with writing(folder, alone=True):
        finished = {unit_stem(key) for key in done_units(root)}
        revision_stems = {_before_digest(unit_stem(UnitKey(*pair, ""))) for pair in revisions}
        dropped = [
            (table, HOT, name)
            for table in UNIT_TABLES
            for name in folder.names(table, HOT)
            if (stem := name.rpartition("-")[0]) not in finished
            and _before_digest(stem) in revision_stems
        ]
        for path in dropped:
            folder.delete(*path)
    return len(dropped)


def _before_digest(stem: str) -> str:
    """The readable start of a stem, which all units of a revision share."""
    return stem.rpartition("--")[0]


def unit_stem(key: UnitKey) -> str:
    """What the names of all hot files of a unit begin with."""
    unit = [key.model_id, key.revision, key.analysis_key]
    return part_stem(model_id=key.model_id, revision=key.revision, key=unit)


def part_name(table: str, keys: Mapping[str, str]) -> str:
    """File name (without ending) of the part of `table` that holds `keys`, its part key.

    Parts of a commit are named after the unit, then after the sweep, so that all parts of a unit
    can be told by their names.
    """
    columns = TABLES[table].part_key
    unit = [column for column in columns if column != "sweep_id"]
    stem = part_stem(
        model_id=keys.get("model_id", keys.get("sweep_id", "")),
        revision=keys.get("revision", "sweep"),
        key=[keys[column] for column in unit or columns],
    )
    if not unit or len(unit) == len(columns):
        return stem
    return f"{stem}-{digest([keys['sweep_id']])[:16]}"


def _key(row: Row, column: str) -> str:
    """One of the common keys of a row; SchemaError without it."""
    value = row.get(column)
    if not isinstance(value, str) or not value:
        raise SchemaError(f"{column}: wanted text, got {value!r:.80}; every commit needs its keys")
    return value


def _with_keys(table: str, row: Row, keys: Mapping[str, str]) -> Row:
    """The row with the common keys; SchemaError when it has other ones."""
    for column, value in keys.items():
        if row.get(column, value) != value:
            raise SchemaError(
                f"{table}.{column}: got {row[column]!r:.80} in a commit of {value!r:.80}; "
                f"leave the common keys out, they are filled in"
            )
    return {**row, **keys}
