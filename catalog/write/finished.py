"""Which units are finished, and what their commits wrote: from the `models` files alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import duckdb

from catalog.errors import TornError
from catalog.files.duck import open_duck, while_others_write
from catalog.files.folder import Folder
from catalog.files.layout import MARKER, check_marker
from catalog.schema import UNIT_TABLES
from catalog.write.names import UnitKey


@dataclass(frozen=True, slots=True)
class PartSize:
    """How much of a unit its commit wrote to one table."""

    num_rows: int
    nbytes: int | None
    """Bytes of the hot file; None where the row of `models` is older than the column `parts`."""


@dataclass(frozen=True, slots=True)
class FinishedUnit:
    """What the `models` row of a unit says of its numbers and its files."""

    key: UnitKey
    options_key: str
    """Hash of all that the analysis key hashes, but for the decoders."""
    decoders: tuple[str, ...] | None
    """Names of the decoders it uses; None in a row that is older than the column."""
    versions: str | None
    """JSON of the packages that computed the numbers."""
    sweep_id: str
    """Sweep whose rows are the unit's."""
    generation: str
    """Folder that its files lie in, within each table."""
    parts: Mapping[str, PartSize]
    """What was written to each table that holds rows of units. Of a row that is older than the
    column `parts` only `layers` is known."""


_TYPES = {
    "model_id": "varchar",
    "revision": "varchar",
    "analysis_key": "varchar",
    "options_key": "varchar",
    "decoders": "varchar",
    "versions": "varchar",
    "sweep_id": "varchar",
    "parts": "varchar",
    "layers_analysed": "bigint",
    "layers_skipped": "bigint",
    "layers_failed": "bigint",
}
"""The columns that tell it, with their types in DuckDB."""


def parts_cell(sizes: Mapping[str, PartSize]) -> str:
    """The cell of the column `parts`; tables without a row are left out."""
    sized = {t: {"rows": s.num_rows, "bytes": s.nbytes} for t, s in sizes.items() if s.num_rows}
    return json.dumps(sized, sort_keys=True)


def finished_units(root: str) -> tuple[FinishedUnit, ...]:
    """Every finished unit, as its newest commit has it; empty when there is no catalog yet."""
    return newest(stored_units(root))


def newest(stored: Iterable[FinishedUnit]) -> tuple[FinishedUnit, ...]:
    """Of the rows of each unit that of the newest generation, as the views show it."""
    by_key: dict[UnitKey, FinishedUnit] = {}
    for unit in stored:
        other = by_key.get(unit.key)
        if other is None or other.generation < unit.generation:
            by_key[unit.key] = unit
    return tuple(by_key.values())


def stored_units(root: str) -> tuple[FinishedUnit, ...]:
    """Every row of `models`, replaced ones too, from its files alone; empty without a catalog."""
    folder = Folder.parse(root)
    if not folder.exists(MARKER):
        return ()
    check_marker(folder)
    columns = ", ".join(
        f"'{name}': {{name: '{name}', type: '{kind}', default_value: null}}"
        for name, kind in _TYPES.items()
    )
    query = (
        f"select {', '.join(_TYPES)}, split_part(filename, '/', -2) "
        f"from read_parquet($files, schema = map {{{columns}}}, "
        f"filename = true, hive_partitioning = false) where model_id is not null"
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
    return tuple(_stored(*row) for row in rows)


def _stored(
    model_id: str,
    revision: str,
    analysis_key: str,
    options_key: str | None,
    decoders: str | None,
    versions: str | None,
    sweep_id: str,
    parts: str | None,
    layers_analysed: int | None,
    layers_skipped: int | None,
    layers_failed: int | None,
    generation: str,
) -> FinishedUnit:
    return FinishedUnit(
        key=UnitKey(model_id, revision, analysis_key),
        options_key=options_key or analysis_key,
        decoders=None if decoders is None else tuple(n for n in decoders.split(", ") if n),
        versions=versions,
        sweep_id=sweep_id,
        generation=generation,
        parts=_sizes(parts, (layers_analysed or 0) + (layers_skipped or 0) + (layers_failed or 0)),
    )


def _sizes(parts: str | None, num_layers: int) -> Mapping[str, PartSize]:
    if parts is None:
        return {"layers": PartSize(num_layers, None)}
    sized = json.loads(parts)
    return {
        table: PartSize(sized[table]["rows"], sized[table]["bytes"])
        if table in sized
        else PartSize(0, 0)
        for table in UNIT_TABLES
    }


def done_units(root: str) -> frozenset[UnitKey]:
    """The keys of every finished unit."""
    return frozenset(unit.key for unit in finished_units(root))
