"""What is finished: commits of units, failures, sweeps and what they planned.

A commit is one unit in one sweep. Its data parts are written first and its `models` part last:
that part is the marker, and the views show nothing of a unit without it. Data parts are named
after (sweep, unit), the marker after the unit alone. So a re-run overwrites its own files with
equal ones, and a new analysis of a finished unit replaces the old one in a single rename, while
the old parts stay invisible until `compact` drops them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from catalog.errors import SchemaError
from catalog.files.folder import Folder
from catalog.files.layout import HOT, MARKER, Marker, check_marker, marker_name, read_marker, seed
from catalog.files.lock import writing
from catalog.schema import SCHEMA_VERSION, TABLES, UNIT_TABLES
from catalog.schema.arrow_types import arrow_schema
from catalog.schema.keys import COMMIT
from catalog.write.finished import PartSize, done_units, parts_cell
from catalog.write.names import UnitKey, part_name, unit_stem
from catalog.write.parts import encode, is_parquet, make_part, write_part

Row = Mapping[str, object]
"""A row of a table: value by column; an absent column is NULL."""


def prepare(root: str) -> None:
    """Make `root` a catalog of today's schema: the empty part of every table, then its marker.

    The first writer of a newer version lifts an older catalog with it: the marker is renamed into
    place last, no other file is touched, and older files are read as they are. Cleans up what killed
    writers left. Cheap and idempotent. NotACatalogError when the catalog is of a newer schema.
    """
    folder = Folder.parse(root)
    oldest = SCHEMA_VERSION
    name_of_marker = marker_name(folder)
    if name_of_marker is not None:
        marker = read_marker(folder)
        folder.clean()
        if marker.version == SCHEMA_VERSION:
            return
        oldest = marker.oldest
    for name in TABLES:
        empty = encode(arrow_schema(name).empty_table(), table=name, metadata={})
        folder.put(empty, name, *seed(SCHEMA_VERSION))
    folder.put(Marker(SCHEMA_VERSION, oldest).to_bytes(), name_of_marker or MARKER)


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
    ones is an error. `parts` of `model` is filled in: how many rows and bytes each table gets, by
    which a unit that lost some is told from a whole one. Calling again with the same keys replaces the
    same files. Safe from any number of processes and machines.
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
    sizes = {part.path[0]: PartSize(len(data[part.path[0]]), len(part.data)) for part in parts}
    model = {**model, "parts": parts_cell(sizes)}
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
    if marker_name(folder) is None or check_marker(folder) != SCHEMA_VERSION:
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


def prune_unit(root: str, model: Row) -> str:
    """Give a unit up: a tombstone takes the place of its `models` row, in one rename.

    From then on no view shows anything of it, and a compaction deletes all. `model`: its row, with
    `pruned_at` set.
    """
    if model.get("pruned_at") is None:
        raise SchemaError(
            "models.pruned_at: got none; wanted the time at which the unit is given up"
        )
    keys = {column: _key(model, column) for column in COMMIT}
    marker = make_part("models", [model], name=part_name("models", keys), metadata=keys)
    folder = _ready(root)
    with writing(folder, alone=False):
        return folder.put(marker.data, *marker.path)


def drop_unfinished(root: str, revisions: Iterable[tuple[str, str]]) -> int:
    """Delete the data parts of `revisions` (model_id, revision) that no finished unit owns.

    Returns how many files went. A killed sweep leaves them, under a key that nobody knows before the
    headers are read. No view shows them, but whoever reads the folders directly would see their rows
    twice once the units are done again. On this machine only, where none can be on its way to its
    `models` part while we have the lock; elsewhere `zoo compact` clears them away in time.
    """
    folder = Folder.parse(root)
    if not folder.is_local or marker_name(folder) is None:
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


def drop_torn(root: str, files: Iterable[tuple[str, str]]) -> int:
    """Delete those of the hot `files` (table, name) that can be read and are no Parquet files.

    Returns how many went. What was in them is lost already; as long as they lie there, no question
    about their table has an answer.
    """
    folder = Folder.parse(root)
    dropped = 0
    for table, name in files:
        with writing(folder, alone=True):
            if folder.exists(table, HOT, name) and not is_parquet(folder.read(table, HOT, name)):
                folder.delete(table, HOT, name)
                dropped += 1
    return dropped


def _before_digest(stem: str) -> str:
    """The readable start of a stem, which all units of a revision share."""
    return stem.rpartition("--")[0]


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
