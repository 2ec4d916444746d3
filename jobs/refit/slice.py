"""A slice of stored layers -> their numbers computed anew: one task of a worker process.

Imports what the formulas need and nothing else, so that a worker starts in no time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from jobs.refit.columns import Change, LayerChange, differences, refit_layer, relative_change
from jobs.runners.worker import Work
from zoo.errors import ZooError
from zoo.spectral.spectrum import Spectrum


@dataclass(frozen=True, slots=True)
class Slice:
    """Some stored layers on their way to a worker."""

    schema: pa.Schema
    rows: pa.Buffer
    """The record batch as bytes: it travels without being taken apart."""
    orders: list[Change]
    """What to compute, by number of the unit within its batch."""


@dataclass(slots=True)
class Recomputed:
    """What came out of one slice of layers."""

    num_layers: int = 0
    units: Counter[int] = field(default_factory=Counter)
    """Layers, by number of the unit within its batch."""
    changes: dict[tuple[int, int], LayerChange] = field(default_factory=dict)
    """By number of the unit and layer_index; changed layers only."""
    compared: Counter[str] = field(default_factory=Counter)
    moved: Counter[str] = field(default_factory=Counter)
    largest: dict[str, float] = field(default_factory=dict)


def prepare() -> None:
    """Nothing: what the formulas need is loaded with this module."""


def run(task: Slice) -> Recomputed | ZooError:
    """Recompute one slice; a wrong value comes back to be raised in the driver, as if computed
    there."""
    try:
        return refit_slice(pa.ipc.read_record_batch(task.rows, task.schema), task.orders)
    except ZooError as error:
        return error


REFITTING = Work(prepare=prepare, run=run)
"""What the workers of a refit do."""


def refit_slice(rows: pa.RecordBatch, orders: list[Change]) -> Recomputed:
    """Recompute the layers of one slice; `orders` by the number of the unit."""
    result = Recomputed(num_layers=rows.num_rows)
    own, rand = rows.column("eigenvalues"), rows.column("rand_eigenvalues")
    stored = rows.drop_columns(["eigenvalues", "rand_eigenvalues"]).to_pylist()
    for i, row in enumerate(stored):
        change = refit_layer(
            row,
            _spectrum(own[i], row["scale_exponent"]),
            _spectrum(rand[i], row["rand_scale_exponent"]) if rand[i].is_valid else None,
            orders[row["unit_no"]],
        )
        result.units[row["unit_no"]] += 1
        result.compared.update(change.columns.keys())
        moved = differences(row, change.columns)
        if not moved and not change.is_retested:
            continue
        result.moved.update(moved.keys())
        for name, value in moved.items():
            size = relative_change(row[name], value)
            if size is not None:
                result.largest[name] = max(size, result.largest.get(name, 0.0))
        change.keep(moved)
        result.changes[row["unit_no"], row["layer_index"]] = change
    return result


def _spectrum(cell: pa.ListScalar, exponent: int | None) -> Spectrum:
    values = cell.values  # its own to_numpy imports pandas, half a second in every process
    stored = np.frombuffer(values.buffers()[1], np.float32)
    return Spectrum(
        stored[values.offset : values.offset + len(values)].astype(np.float64), exponent or 0
    )
