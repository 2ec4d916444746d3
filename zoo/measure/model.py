"""One model, from its store to a report per layer: the composition of the whole measuring half.

Knows nothing of tables, sweeps or workers. Weights are loaded one at a time, each used for all its layers
and dropped, so memory is that of the largest weight.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import prod
from typing import TYPE_CHECKING

from zoo.errors import CheckpointError, DecodeError
from zoo.formats.account import account
from zoo.formats.weight import Entry, Weight
from zoo.io.checkpoint import Checkpoint
from zoo.io.header import RowRange, TensorMeta
from zoo.io.left_out import LeftOut
from zoo.io.opening import open_checkpoint
from zoo.io.paired import PairedStore, configs_of_both
from zoo.io.store import Store
from zoo.layers.deltas import delta_layers
from zoo.layers.spec import LayerSpec
from zoo.layers.take import take
from zoo.measure.base import BaseModel, check_partners, open_base
from zoo.measure.memory import naming_shortage
from zoo.measure.nothing import is_without_layers, why_without_layers
from zoo.options import AnalysisOptions, LayerSelection
from zoo.version import UNKNOWN

if (
    TYPE_CHECKING
):  # what measures is loaded where it is called: headers are read without it, in no time
    import torch

    from zoo.measure.deltas import BasePiece
    from zoo.measure.layer import LayerMeasures
    from zoo.measure.row import LayerRow, Shape, TrapRow
    from zoo.spectral.spectrum import Spectrum

_WHOLE_BYTES = 256 << 20
"""Bytes in float32 up to which a stack of experts is decoded whole; a larger one is decoded one
expert at a time."""


@dataclass(frozen=True, slots=True)
class Model:
    """A checkpoint whose headers have been read, and the layers taken from it."""

    checkpoint: Checkpoint
    revision: str
    """Commit, or fingerprint of the contents."""
    specs: tuple[LayerSpec, ...]
    """In file order."""
    entries: tuple[Entry, ...]
    """The fate of every stored tensor."""
    base: BaseModel | None = None
    """The base model whose weights are subtracted in the rows of W − W_base; None without these."""

    @property
    def config(self) -> Mapping[str, object]:
        """config.json, or an empty mapping."""
        return self.checkpoint.config

    @property
    def configs(self) -> Mapping[str, Mapping[str, object]]:
        """Every config file by name; of a base model too, under its name in the pair."""
        own = self.checkpoint.configs
        return own if self.base is None else configs_of_both(own, self.base.checkpoint.configs)

    @property
    def tensors(self) -> Mapping[str, TensorMeta]:
        """Every stored tensor by name."""
        return self.checkpoint.tensors

    @property
    def num_params(self) -> int:
        """Numbers in all stored tensors, each state of the model counted once."""
        aside = self.checkpoint.set_aside
        return sum(meta.numel for name, meta in self.tensors.items() if name not in aside)

    @property
    def decoders(self) -> tuple[str, ...]:
        """Names of the decoders that its layers go through, and UNKNOWN for a tensor nobody decodes; sorted."""
        names = {spec.weight.decoder for spec in self.specs if spec.weight is not None}
        entries = self.entries
        if self.base is not None:
            names |= self.base.decoders(self.specs)
            entries += self.base.entries
        if any(entry.fate == "unknown" for entry in entries):
            names.add(UNKNOWN)
        return tuple(sorted(names))

    @property
    def accounts(self) -> Iterator[tuple[Entry, TensorMeta]]:
        """What became of every stored tensor; of a base model under their names in the pair."""
        for entry in self.entries:
            yield entry, self.tensors[entry.tensor]
        if self.base is not None:
            yield from self.base.accounts(self.specs)

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Files that could hold weights and are not read, each with its reason; of a base model too."""
        return self.checkpoint.left_out + (self.base.left_out if self.base is not None else ())

    @property
    def files(self) -> Mapping[str, int]:
        """Size of every file, whatever it holds; of a base model too."""
        return {**self.checkpoint.files, **(self.base.files if self.base is not None else {})}

    @property
    def weights(self) -> tuple[Weight, ...]:
        """Weights that at least one measurable layer needs, in file order."""
        by_name = {
            s.weight.name: s.weight for s in self.specs if s.is_measurable and s.weight is not None
        }
        return tuple(by_name.values())


@dataclass(frozen=True, slots=True)
class LayerReport:
    """Everything measured on one layer."""

    row: LayerRow
    traps: tuple[TrapRow, ...]
    spectrum: Spectrum | None
    """Eigenvalues, ascending; None when the layer was not measured."""
    rand_spectrum: Spectrum | None
    """Eigenvalues of the first shuffle; None unless the full shuffled spectrum was computed."""

    @property
    def columns(self) -> dict[str, object]:
        """All columns of the table `layers` but the common keys and `step`, as a mapping."""
        from zoo.cells import cells

        return cells(self.row)


def open_model(store: Store, selection: LayerSelection) -> Model:
    """Read the headers behind `store` and decide which layers there are.

    With `selection.deltas`, of a store of a model and its base also those of W − W_base. Raises
    CheckpointError, also when nothing of the model can be measured: see `zoo.measure.nothing`.
    """
    if selection.deltas and isinstance(store, PairedStore):
        own, base = store.parts
        return on_base(open_model(own, selection), open_base(base, selection))
    checkpoint = open_checkpoint(store)
    model = model_of(checkpoint, selection, revision=store.revision)
    if is_without_layers(model.specs, model.entries, selection):
        raise CheckpointError(why_without_layers(model.entries, model.tensors, store.model_id))
    return model


def model_of(checkpoint: Checkpoint, selection: LayerSelection, *, revision: str) -> Model:
    """The model in an open checkpoint."""
    taken = take(checkpoint, account(checkpoint), selection)
    return Model(checkpoint, revision, taken.specs, taken.entries)


def on_base(model: Model, base: BaseModel) -> Model:
    """The model with the layers of W − W_base behind its own. CheckpointError when no tensor has a partner."""
    deltas = delta_layers(model.specs, base.layers)
    check_partners(model.specs, deltas, base.model_id)
    return replace(model, specs=(*model.specs, *deltas), base=base)


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
    wanted = None if weights is None else frozenset(weights)
    pieces = {
        piece.weight.name: piece
        for piece in pieces_of(model)
        if wanted is None or piece.weight.name in wanted
    }
    model.checkpoint.expect(
        source for piece in pieces.values() if piece.is_streamed for source in piece.weight.sources
    )
    if model.base is not None:
        model.base.checkpoint.expect(
            source
            for piece in pieces.values()
            if piece.is_streamed
            for of_base in piece.of_base(*piece.layers[0])
            if of_base.is_aligned
            for source in of_base.weight.sources
        )
    own = (spec for spec in model.specs if spec.delta_base is None)
    for name, group in groupby(own, key=lambda s: s.weight.name if s.weight else s.tensor):
        specs = tuple(group)
        if first:
            yield from (_unmeasured(spec) for spec in specs if not spec.is_measurable)
        if name in pieces and any(spec.is_measurable for spec in specs):
            yield from _measure_weight(model, pieces[name], options)
    if first:
        for spec in model.specs:
            if spec.delta_base is not None and not spec.is_measurable:
                yield _unmeasured(spec)


@dataclass(frozen=True, slots=True)
class Pieces:
    """One weight, cut into what is loaded at a time: all of it, or one expert of a big stack."""

    weight: Weight
    layers: tuple[tuple[RowRange | None, tuple[LayerSpec, ...]], ...]
    """The rows of the weight that are loaded (None: all) and the layers measured from them."""
    deltas: tuple[LayerSpec, ...] = ()
    """Of the layers, those that are measured a second time with the base's weights subtracted."""

    @classmethod
    def of(cls, weight: Weight, specs: list[LayerSpec], deltas: Sequence[LayerSpec] = ()) -> Pieces:
        """A matrix that has to be decoded cannot be read by rows, a stack of experts can."""
        by_rows = 4 * prod(weight.shape) > _WHOLE_BYTES and all(
            s.leading is not None and (weight.decoder == "none" or s.cut.expert is not None)
            for s in specs
        )
        cut = groupby(specs, key=lambda s: s.leading if by_rows else None)
        return cls(weight, tuple((rows, tuple(sharing)) for rows, sharing in cut), tuple(deltas))

    def of_base(self, rows: RowRange | None, specs: Sequence[LayerSpec]) -> tuple[BasePiece, ...]:
        """What is read of the base model for the layers of one piece."""
        if not self.deltas:
            return ()
        places = {(spec.part, spec.expert) for spec in specs}
        here = [delta for delta in self.deltas if (delta.part, delta.expert) in places]
        from zoo.measure.deltas import base_pieces

        return base_pieces(self.weight, rows, here)

    @property
    def is_streamed(self) -> bool:
        """True when all bytes of its sources are read once and in order, so that they can be announced.

        An expert's values and scales lie apart: a stream would have to go back and forth, and bytes of
        experts that are left out would be fetched for nothing. These are read range by range instead.
        """
        ranges = [rows for rows, _ in self.layers]
        if ranges == [None]:
            return True
        ends = [0, *(rows[1] for rows in ranges if rows is not None)]
        starts = [*(rows[0] for rows in ranges if rows is not None), self.weight.shape[0]]
        return len(self.weight.sources) == 1 and starts == ends

    @property
    def nbytes(self) -> int:
        """Bytes that are read in all, of the base model too."""
        return sum(
            self.share(rows, self.weight.nbytes)
            + sum(piece.nbytes for piece in self.of_base(rows, specs))
            for rows, specs in self.layers
        )

    @property
    def numel(self) -> int:
        """Values in memory at a time: those of the largest piece."""
        return max(self.share(rows, prod(self.weight.shape)) for rows, _ in self.layers)

    def share(self, rows: RowRange | None, whole: int) -> int:
        """What the piece `rows` has of `whole`: of the weight's bytes, or of its values."""
        return whole if rows is None else whole * (rows[1] - rows[0]) // self.weight.shape[0]


def pieces_of(model: Model) -> Iterator[Pieces]:
    """Every weight that at least one measurable layer needs, in file order."""
    specs: dict[str, list[LayerSpec]] = {}
    deltas: dict[str, list[LayerSpec]] = {}
    for spec in model.specs:
        if spec.is_measurable and spec.weight is not None:
            kind = specs if spec.delta_base is None else deltas
            kind.setdefault(spec.weight.name, []).append(spec)
    for name, of_one_weight in specs.items():
        assert of_one_weight[0].weight is not None
        yield Pieces.of(of_one_weight[0].weight, of_one_weight, deltas.get(name, ()))


def _measure_weight(
    model: Model, pieces: Pieces, options: AnalysisOptions
) -> Iterator[LayerReport]:
    """Load each piece of a weight once for all its layers."""
    weight = pieces.weight
    for rows, specs in pieces.layers:
        with naming_shortage(weight, pieces.share(rows, prod(weight.shape))):
            yield from _measure_piece(model, pieces, rows, specs, options)


def _measure_piece(
    model: Model,
    pieces: Pieces,
    rows: RowRange | None,
    specs: tuple[LayerSpec, ...],
    options: AnalysisOptions,
) -> Iterator[LayerReport]:
    """The layers of one piece of a weight, which is dropped before the next one is loaded."""
    from zoo.measure.deltas import measure_deltas
    from zoo.measure.layer import failed_layer

    weight = pieces.weight
    started = time.perf_counter()
    try:
        loaded = weight.load(model.checkpoint, rows)
    except DecodeError as error:
        for spec in specs:
            yield _report(spec, failed_layer(_shape(spec), f"undecodable: {error}"), 0.0, 0)
        return
    read_s = (time.perf_counter() - started) / len(specs)
    nbytes = pieces.share(rows, weight.nbytes) // len(specs)
    for spec, measures in _measure_specs(model, weight, loaded, rows, specs, options):
        yield _report(spec, measures, read_s, nbytes)
    held = [loaded]
    del loaded
    of_base = pieces.of_base(rows, specs)
    if model.base is None or not of_base:
        return
    for delta in measure_deltas(held, rows, of_base, model.base.checkpoint, options):
        yield _report(delta.spec, delta.measures, delta.read_s, delta.nbytes)


def _measure_specs(
    model: Model,
    weight: Weight,
    loaded: torch.Tensor,
    rows: RowRange | None,
    specs: tuple[LayerSpec, ...],
    options: AnalysisOptions,
) -> Iterator[tuple[LayerSpec, LayerMeasures]]:
    """The layers cut out of a loaded piece; equal single matrices (experts, parts) go together."""
    from zoo.measure.batch import measure_layers
    from zoo.measure.layer import measure_layer

    for (slices, *_), group in groupby(specs, key=lambda s: (s.num_slices, s.rows, s.cols)):
        equal = tuple(group)
        cut = [spec.matrices(loaded, offset=rows[0] if rows else 0) for spec in equal]
        keys = [spec.seed_key for spec in equal]
        bits = weight.storage_bits
        if slices == 1:
            alone = [matrices[0] for matrices in cut]
            measures = measure_layers(alone, options=options, seed_keys=keys, storage_bits=bits)
            yield from zip(equal, measures, strict=True)
            continue
        for spec, matrices, key in zip(equal, cut, keys, strict=True):
            yield spec, measure_layer(matrices, options=options, seed_key=key, storage_bits=bits)


def _unmeasured(spec: LayerSpec) -> LayerReport:
    """The report of a layer that is failed or skipped before anything of it is read."""
    from zoo.measure.layer import failed_layer, skipped_layer

    if spec.fail_reason is not None:
        return _report(spec, failed_layer(_shape(spec), spec.fail_reason), 0.0, 0)
    return _report(spec, skipped_layer(_shape(spec), spec.skip_reason or "skipped"), 0.0, 0)


def _shape(spec: LayerSpec) -> Shape | None:
    from zoo.measure.row import Shape

    if spec.rows is None or spec.cols is None:
        return None
    return Shape.of(spec.num_slices, spec.rows, spec.cols)


def _report(spec: LayerSpec, measures: LayerMeasures, read_s: float, nbytes: int) -> LayerReport:
    from zoo.measure.row import Counterpart, LayerName, LayerRow, Place, Reading, Stored, TrapRow

    weight, measured = spec.weight, measures.measured
    if spec.note is not None:
        reason = "; ".join(filter(None, (measured.outcome.reason, spec.note)))
        measured = replace(measured, outcome=replace(measured.outcome, reason=reason))
    effort = measured.effort
    total_s = read_s + (effort.spectrum_s + (effort.shuffle_s or 0.0) if effort else 0.0)
    name = LayerName(spec.layer_index, spec.tensor, spec.part, spec.expert, spec.delta_base)
    other = spec.partner.weight if spec.partner else None
    is_dequantised = [w.is_dequantised for w in (weight, other) if w is not None]
    row = LayerRow(
        name=name,
        place=Place(spec.block, spec.role),
        stored=Stored(
            stored_dtype=weight.stored_dtype if weight else None,
            decoder=weight.decoder if weight else None,
            is_dequantised=any(is_dequantised) if weight else None,
            tied_to=spec.tied_to,
        ),
        measured=measured,
        reading=Reading(read_s, nbytes, total_s),
        counterpart=Counterpart(other.name, other.stored_dtype) if other else None,
    )
    traps = tuple(TrapRow(name, trap) for trap in measures.traps)
    return LayerReport(row, traps, measures.spectrum, measures.rand_spectrum)
