"""One model, from its store to a report per layer: the composition of the whole measuring half.

Knows nothing of tables, sweeps or workers. Weights are loaded one at a time, each used for all its layers
and dropped, so memory is that of the largest weight.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from math import prod
from typing import TYPE_CHECKING

from zoo.errors import DecodeError
from zoo.formats.account import account
from zoo.formats.weight import Entry, Weight
from zoo.io.checkpoint import Checkpoint
from zoo.io.header import TensorMeta
from zoo.io.opening import open_checkpoint
from zoo.io.store import Store
from zoo.layer import LayerMeasures, failed_layer, measure_layer, skipped_layer
from zoo.layers.spec import LayerSpec
from zoo.layers.take import take
from zoo.options import AnalysisOptions, LayerSelection
from zoo.spectral.spectrum import Spectrum

if TYPE_CHECKING:
    import torch

_WHOLE_BYTES = 256 << 20
"""A stack of experts is decoded whole up to this size in float32, and expert by expert above it."""


@dataclass(frozen=True, slots=True)
class Model:
    """A checkpoint whose headers have been read, and the layers taken from it."""

    checkpoint: Checkpoint
    revision: str
    """Enters every seed."""
    specs: tuple[LayerSpec, ...]
    """In file order."""
    entries: tuple[Entry, ...]
    """The fate of every stored tensor."""

    @property
    def config(self) -> Mapping[str, object]:
        """config.json, or an empty mapping."""
        return self.checkpoint.config

    @property
    def tensors(self) -> Mapping[str, TensorMeta]:
        """Every stored tensor by name."""
        return self.checkpoint.tensors

    @property
    def weights(self) -> tuple[Weight, ...]:
        """Weights that at least one measurable layer needs, in file order."""
        found = {
            s.weight.name: s.weight for s in self.specs if s.is_measurable and s.weight is not None
        }
        return tuple(found.values())


@dataclass(frozen=True, slots=True)
class LayerReport:
    """Everything measured on one layer."""

    columns: Mapping[str, object]
    """All columns of the table `layers` but the common keys and `step`."""
    traps: tuple[Mapping[str, object], ...]
    """Rows of the table `traps`, without the common keys."""
    spectrum: Spectrum | None
    """Eigenvalues, ascending; None when the layer was not measured."""
    rand_spectrum: Spectrum | None
    """Eigenvalues of the first shuffle; None unless the full shuffled spectrum was computed."""


def open_model(store: Store, selection: LayerSelection) -> Model:
    """Read the headers behind `store` and decide which layers there are. Raises CheckpointError."""
    checkpoint = open_checkpoint(store)
    return model_of(checkpoint, selection, revision=store.revision)


def model_of(checkpoint: Checkpoint, selection: LayerSelection, *, revision: str) -> Model:
    """The model in an open checkpoint."""
    taken = take(checkpoint, account(checkpoint), selection, seed_key=revision)
    return Model(checkpoint, revision, taken.specs, taken.entries)


def measure(
    model: Model,
    options: AnalysisOptions,
    *,
    weights: Collection[str] | None = None,
    first: bool = True,
) -> Iterator[LayerReport]:
    """Measure the layers of `weights` (logical names; None: all), one weight in memory at a time.

    Layers that are not measured (skipped, or failed before reading) are reported when `first` is true, so
    that the groups of a model that is split over workers report them once. A weight that cannot be decoded
    fails its layers and the model goes on; a file that cannot be read raises.
    """
    chosen = [w for w in model.weights if weights is None or w.name in weights]
    model.checkpoint.expect(source for weight in chosen for source in weight.sources)
    names = {w.name for w in chosen}
    for _, group in groupby(model.specs, key=lambda s: s.weight.name if s.weight else s.tensor):
        specs = tuple(group)
        if first:
            yield from (_unmeasured(spec) for spec in specs if not spec.is_measurable)
        wanted = [s for s in specs if s.is_measurable]
        if wanted and wanted[0].weight is not None and wanted[0].weight.name in names:
            yield from _measure_weight(model, wanted[0].weight, wanted, options)


def _measure_weight(
    model: Model, weight: Weight, specs: list[LayerSpec], options: AnalysisOptions
) -> Iterator[LayerReport]:
    """Load a weight once for all its layers; a big stack of experts layer by layer instead."""
    piecewise = 4 * prod(weight.shape) > _WHOLE_BYTES and all(s.leading is not None for s in specs)
    loaded: torch.Tensor | None = None
    for spec in specs:
        started = time.perf_counter()
        rows = spec.leading if piecewise else None
        try:
            if piecewise or loaded is None:
                loaded = None  # before the next one is allocated
                loaded = weight.load(model.checkpoint, rows)
        except DecodeError as error:
            yield _report(spec, failed_layer(_shape(spec), f"undecodable: {error}"), 0.0, 0)
            continue
        read_s = time.perf_counter() - started
        expert = "" if spec.expert is None else str(spec.expert)
        measures = measure_layer(
            spec.matrices(loaded, offset=rows[0] if rows else 0),
            options=options,
            seed_key=(model.revision, spec.tensor, spec.part or "", expert),
            storage_bits=weight.storage_bits,
        )
        yield _report(spec, measures, read_s, weight.nbytes // len(specs))


def _unmeasured(spec: LayerSpec) -> LayerReport:
    if spec.fail_reason is not None:
        return _report(spec, failed_layer(_shape(spec), spec.fail_reason), 0.0, 0)
    return _report(spec, skipped_layer(_shape(spec), spec.skip_reason or "skipped"), 0.0, 0)


def _shape(spec: LayerSpec) -> tuple[int, int, int] | None:
    if spec.rows is None or spec.cols is None:
        return None
    return (spec.num_slices, spec.rows, spec.cols)


def _report(spec: LayerSpec, measures: LayerMeasures, read_s: float, nbytes: int) -> LayerReport:
    weight = spec.weight
    columns: dict[str, object] = {
        "layer_index": spec.layer_index,
        "tensor": spec.tensor,
        "part": spec.part,
        "block": spec.block,
        "role": spec.role,
        "expert": spec.expert,
        "stored_dtype": weight.stored_dtype if weight else None,
        "decoder": weight.decoder if weight else None,
        "is_dequantised": weight.is_dequantised if weight else None,
        "tied_to": spec.tied_to,
        **measures.columns,
        "read_s": read_s,
        "bytes_read": nbytes,
    }
    if columns["reason"] is None and spec.note is not None:
        columns["reason"] = spec.note
    seconds = (columns["read_s"], columns["spectrum_s"], columns["shuffle_s"])
    columns["total_s"] = sum(s for s in seconds if isinstance(s, float))
    return LayerReport(columns, measures.traps, measures.spectrum, measures.rand_spectrum)
