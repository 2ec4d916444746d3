"""The rows of a finished unit become those of another one with equal weights: nothing is measured twice.

What was measured is carried over as it is stored; what a repository or a card says of the model is
the new one's own. Reads the catalog and makes rows; commits nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from catalog.files.duck import open_duck
from catalog.files.folder import Folder
from catalog.files.lock import writing
from catalog.read.stored_units import StoredRows, UnitFiles, rows_of
from catalog.schema.keys import COMMIT
from catalog.write.finished import FinishedUnit, finished_units, sizes_of
from catalog.write.names import UnitKey
from jobs.sweep.model_row import ModelRow
from jobs.sweep.task_rows import ModelFacts, TaskRows
from jobs.units.unit import Unit
from zoo.cells import cells

if TYPE_CHECKING:
    from zoo.card import Evaluation

CARRIED = (
    "num_params", "layers_analysed", "layers_skipped", "layers_failed", "deltas_analysed",
    "deltas_skipped", "deltas_failed", "bytes_read", "bytes_analysed", "requests", "seconds",
    "versions", "host", "device", "weights_key", "settings_key", "num_params_active",
    "num_params_embedding",
)  # fmt: skip
"""Columns of `models` that tell of the measurement."""
CARRIED_TABLES = ("layers", "traps", "spectra", "tensors")
"""Tables whose rows are carried over; evaluations are those of the new card."""


@dataclass(frozen=True, slots=True)
class TakeOver:
    """A unit, and the finished one whose rows it takes over."""

    unit: Unit
    """With the decoders of the other one."""
    source: FinishedUnit
    facts: ModelFacts
    """What the unit's own config and card say."""
    evaluations: tuple[Evaluation, ...]
    """Results of its own card."""


@dataclass(frozen=True, slots=True)
class UnitRows:
    """All rows of a unit, without its keys and its step."""

    model: dict[str, object]
    layers: StoredRows
    traps: StoredRows
    spectra: StoredRows
    tensors: StoredRows
    evaluations: list[dict[str, object]]


def taken_over(root: str, wanted: Sequence[TakeOver]) -> Iterator[tuple[TakeOver, UnitRows | None]]:
    """The rows of each, in their order; None where the catalog has not got the source whole any more."""
    folder = Folder.parse(root)
    with writing(folder, alone=False):  # a compaction deletes no file meanwhile
        stored = _read(folder, {take.source.key: take.source for take in wanted})
        lost = {take.source.key for take in wanted} - stored.keys()
        if lost:  # compacted, or analysed again, since the catalog was asked
            stored |= _read(folder, {u.key: u for u in finished_units(root) if u.key in lost})
    for take in wanted:
        tables = stored.get(take.source.key)
        yield take, None if tables is None else _rows(take, tables)


def _read(
    folder: Folder, units: Mapping[UnitKey, FinishedUnit]
) -> dict[UnitKey, dict[str, StoredRows]]:
    """The stored rows, by table, of those of `units` that lie whole where they are said to lie."""
    by_generation: dict[str, list[FinishedUnit]] = defaultdict(list)
    for unit in units.values():
        by_generation[unit.generation].append(unit)
    stored: dict[UnitKey, dict[str, StoredRows]] = {}
    with open_duck(folder) as con:
        files = UnitFiles(con, folder, are_named_as_today=True)
        for together in by_generation.values():
            tables = {
                table: rows_of(con, files, table, together) for table in ("models", *CARRIED_TABLES)
            }
            for number, unit in enumerate(together):
                rows = {table: tables[table][number] for table in tables}
                if _is_whole(rows):
                    stored[unit.key] = rows
    return stored


def _is_whole(rows: Mapping[str, StoredRows]) -> bool:
    """True when every table has the rows that the models row counts."""
    if len(rows["models"]) != 1:
        return False
    parts = sizes_of(rows["models"][0]["parts"], -1)
    return all(len(rows[table]) == parts[table].num_rows for table in CARRIED_TABLES)


def _rows(take: TakeOver, stored: Mapping[str, StoredRows]) -> UnitRows:
    unit = take.unit
    (model,) = stored["models"]
    nothing_read = TaskRows.of_card(take.facts, take.evaluations)
    own = cells(ModelRow.of(unit, [nothing_read], versions=model["versions"]))
    for column in ("architecture", "family"):  # of files whose own header tells it
        own[column] = own[column] or model[column]
    own |= {column: model[column] for column in CARRIED}
    own["measured_at"] = model["measured_at"] or f"{model['model_id']}@{model['revision']}"
    step = {"step": own["step"]}
    carried = {table: [_carried(row, unit) for row in stored[table]] for table in CARRIED_TABLES}
    return UnitRows(
        model=own,
        layers=[row | step for row in carried["layers"]],
        traps=carried["traps"],
        spectra=carried["spectra"],
        tensors=carried["tensors"],
        evaluations=[cells(result) | step for result in take.evaluations],
    )


def _carried(row: Mapping[str, object], unit: Unit) -> dict[str, object]:
    """A stored row without its keys; of W − W_base under the id that the unit's own base has."""
    carried = {name: value for name, value in row.items() if name not in COMMIT}
    if carried.get("delta_base") is not None and unit.target.base is not None:
        carried["delta_base"] = unit.target.base.model_id
    return carried
