"""Which units are finished, and what their commits wrote: from the `models` files alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from catalog.errors import TornError
from catalog.files.duck import open_duck, while_others_write
from catalog.files.folder import Folder
from catalog.files.layout import HOT, check_marker, marker_name
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
    base_revision: str | None = None
    """Revision of the base model that an adapter was put on."""
    weights_key: str | None = None
    """Hash of its weight files; None where it is not known."""
    settings_key: str | None = None
    """Hash of the settings beside them; None where it is not known."""
    is_pruned: bool = False
    """True for a tombstone: the unit was given up, and its row stands for that."""

    @property
    def keys(self) -> dict[str, str]:
        """The common keys of its rows."""
        return {
            "sweep_id": self.sweep_id,
            "model_id": self.key.model_id,
            "revision": self.key.revision,
            "analysis_key": self.key.analysis_key,
        }


_TYPES = {
    "model_id": "varchar",
    "revision": "varchar",
    "analysis_key": "varchar",
    "options_key": "varchar",
    "decoders": "varchar",
    "versions": "varchar",
    "sweep_id": "varchar",
    "parts": "varchar",
    "base_revision": "varchar",
    "weights_key": "varchar",
    "settings_key": "varchar",
    "layers_analysed": "bigint",
    "layers_skipped": "bigint",
    "layers_failed": "bigint",
    "pruned_at": "timestamptz",
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
    """Of the rows of each unit that of the newest generation, as the views show it; none of a pruned one."""
    by_key: dict[UnitKey, FinishedUnit] = {}
    for unit in stored:
        other = by_key.get(unit.key)
        if other is None or other.generation < unit.generation:
            by_key[unit.key] = unit
    return tuple(unit for unit in by_key.values() if not unit.is_pruned)


def stored_units(root: str) -> tuple[FinishedUnit, ...]:
    """Every row of `models`, replaced ones too, from its files alone; empty without a catalog."""
    folder = Folder.parse(root)
    if marker_name(folder) is None:
        return ()
    check_marker(folder)
    columns = ", ".join(
        f"'{name}': {{name: '{name}', type: '{kind}', default_value: null}}"
        for name, kind in _TYPES.items()
    )
    query = (
        f"select {', '.join(_TYPES).replace('pruned_at', 'pruned_at::varchar')}, split_part(filename, '/', -2) "
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
    return tuple(_stored(dict(zip(_TYPES, row, strict=False)), row[-1]) for row in rows)


def just_committed(model: Mapping[str, Any]) -> FinishedUnit:
    """What the `models` row of a unit says that was committed a moment ago; its `parts` are not known."""
    return _stored({**model, "parts": "{}"}, HOT)


def _stored(model: Mapping[str, Any], generation: str) -> FinishedUnit:
    decoders = model["decoders"]
    layers = (model[f"layers_{status}"] or 0 for status in ("analysed", "skipped", "failed"))
    return FinishedUnit(
        key=UnitKey(model["model_id"], model["revision"], model["analysis_key"]),
        options_key=model["options_key"] or model["analysis_key"],
        decoders=None if decoders is None else tuple(n for n in decoders.split(", ") if n),
        versions=model["versions"],
        sweep_id=model["sweep_id"],
        generation=generation,
        parts=sizes_of(model["parts"], sum(layers)),
        base_revision=model["base_revision"],
        weights_key=model["weights_key"],
        settings_key=model["settings_key"],
        is_pruned=model.get("pruned_at") is not None,
    )


def sizes_of(parts: str | None, num_layers: int) -> Mapping[str, PartSize]:
    """What a cell of the column `parts` says of every table; `num_layers` is for an older row."""
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
