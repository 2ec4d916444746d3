"""A slice of stored layers -> what a refit finds in it: the work of one call of a worker process.

Imports what the formulas need and nothing else, so that a worker starts in no time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from jobs.refit.columns import Change, LayerChange, differences, refit_layer, relative_change
from zoo.spectral.spectrum import Spectrum


@dataclass(slots=True)
class Found:
    """What came out of one slice of layers."""

    num_layers: int = 0
    units: Counter[int] = field(default_factory=Counter)
    """Layers, by number of the unit within its batch."""
    changes: dict[tuple[int, int], LayerChange] = field(default_factory=dict)
    """By number of the unit and layer_index; changed layers only."""
    compared: Counter[str] = field(default_factory=Counter)
    moved: Counter[str] = field(default_factory=Counter)
    largest: dict[str, float] = field(default_factory=dict)


def refit_bytes(schema: pa.Schema, rows: pa.Buffer, orders: list[Change]) -> Found:
    return refit_slice(pa.ipc.read_record_batch(rows, schema), orders)


def refit_slice(rows: pa.RecordBatch, orders: list[Change]) -> Found:
    """Recompute the layers of one slice; `orders` by the number of the unit."""
    found = Found(num_layers=rows.num_rows)
    own, rand = rows.column("eigenvalues"), rows.column("rand_eigenvalues")
    stored = rows.drop_columns(["eigenvalues", "rand_eigenvalues"]).to_pylist()
    for i, row in enumerate(stored):
        change = refit_layer(
            row,
            _spectrum(own[i], row["scale_exponent"]),
            _spectrum(rand[i], row["rand_scale_exponent"]) if rand[i].is_valid else None,
            orders[row["unit_no"]],
        )
        found.units[row["unit_no"]] += 1
        found.compared.update(change.columns.keys())
        moved = differences(row, change.columns)
        if not moved and not change.is_retested:
            continue
        found.moved.update(moved.keys())
        for name, value in moved.items():
            size = relative_change(row[name], value)
            if size is not None:
                found.largest[name] = max(size, found.largest.get(name, 0.0))
        change.keep(moved)
        found.changes[row["unit_no"], row["layer_index"]] = change
    return found


def _spectrum(cell: pa.ListScalar, exponent: int | None) -> Spectrum:
    values = cell.values  # its own to_numpy imports pandas, half a second in every process
    stored = np.frombuffer(values.buffers()[1], np.float32)
    return Spectrum(
        stored[values.offset : values.offset + len(values)].astype(np.float64), exponent or 0
    )
