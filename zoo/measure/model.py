"""One model, from its store to a report per layer: the composition of the whole measuring half.

Knows nothing of tables, sweeps or workers. How the layers are measured depends on the device: one weight
in memory at a time (`one_by_one`), or in batches of equal matrices (`pipeline`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

from zoo.errors import CheckpointError
from zoo.formats.account import account
from zoo.formats.weight import Entry, Weight
from zoo.io.checkpoint import Checkpoint
from zoo.io.header import TensorMeta
from zoo.io.left_out import LeftOut
from zoo.io.opening import open_checkpoint
from zoo.io.paired import PairedStore, configs_of_both
from zoo.io.store import Store
from zoo.layers.deltas import delta_layers
from zoo.layers.param_counts import ParamCounts, param_counts
from zoo.layers.spec import LayerSpec
from zoo.layers.take import take
from zoo.measure.base import BaseModel, check_partners, open_base
from zoo.measure.nothing import is_without_layers, why_without_layers
from zoo.measure.pieces import pieces_of
from zoo.measure.reports import LayerReport, unmeasured
from zoo.options import AnalysisOptions, LayerSelection
from zoo.version import UNKNOWN


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
    def param_counts(self) -> ParamCounts:
        """Of these, the embeddings, and those used for one token."""
        aside = self.checkpoint.set_aside
        shapes = {name: meta.shape for name, meta in self.tensors.items() if name not in aside}
        return param_counts(shapes, self.config)

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
    share: float = 1.0,
) -> Iterator[LayerReport]:
    """Measure the layers of `weights` (logical names; None: all).

    A processor takes one weight at a time, in the order of the files. An accelerator takes equal matrices
    of the whole model together (`zoo.measure.plan`), and a worker has `share` of its memory. Layers that
    are not measured (skipped, or failed before reading) are reported when `first` is true, so that the
    groups of a model that is split over workers report them once. A weight that cannot be decoded fails
    its layers and the model goes on; a file that cannot be read raises.
    """
    from zoo.machine.device import choose_device, naming_lost_device

    device = choose_device(options.device)
    with naming_lost_device():
        if device.type == "cpu" or model.base is not None:
            yield from _one_by_one(model, options, weights, first=first)
            return
        from zoo.machine.device import memory_bytes
        from zoo.measure.pipeline import measure_in_batches
        from zoo.spectral.batch_sizes import memory_class

        if first:
            yield from (unmeasured(spec) for spec in model.specs if not spec.is_measurable)
        yield from measure_in_batches(
            model.specs,
            model.checkpoint,
            options,
            device=device,
            memory_gb=memory_class(int(share * memory_bytes(device))),
            weights=weights,
        )


def _one_by_one(
    model: Model, options: AnalysisOptions, weights: Collection[str] | None, *, first: bool
) -> Iterator[LayerReport]:
    """One weight in memory at a time."""
    from zoo.measure.one_by_one import measure_weight

    wanted = None if weights is None else frozenset(weights)
    pieces = {
        piece.weight.name: piece
        for piece in pieces_of(model.specs)
        if wanted is None or piece.weight.name in wanted
    }
    model.checkpoint.expect(
        source for piece in pieces.values() if piece.is_streamed for source in piece.weight.sources
    )
    base = None if model.base is None else model.base.checkpoint
    if base is not None:
        base.expect(
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
            yield from (unmeasured(spec) for spec in specs if not spec.is_measurable)
        if name in pieces and any(spec.is_measurable for spec in specs):
            yield from measure_weight(pieces[name], model.checkpoint, base, options)
    if first:
        for spec in model.specs:
            if spec.delta_base is not None and not spec.is_measurable:
                yield unmeasured(spec)
