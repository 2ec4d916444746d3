"""A base model, opened beside the fine-tune whose weights are compared with its own.

It is read as a model by itself: its container, types, shards and quantised formats may all be others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from zoo.errors import CheckpointError
from zoo.formats.account import account
from zoo.formats.weight import Entry
from zoo.io.checkpoint import Checkpoint
from zoo.io.header import TensorMeta
from zoo.io.left_out import LeftOut
from zoo.io.opening import open_checkpoint
from zoo.io.paired import BASE, FOLDER
from zoo.io.store import Store
from zoo.layers.adapters import adapters_of
from zoo.layers.deltas import BaseLayers
from zoo.layers.settings import settings_for
from zoo.layers.spec import LayerSpec
from zoo.layers.take import take_layers
from zoo.options import LayerSelection

_TIED = "tie_word_embeddings"
"""The setting that says that the head is the embedding."""


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A base model whose headers have been read."""

    checkpoint: Checkpoint
    revision: str
    layers: BaseLayers
    entries: tuple[Entry, ...]
    """The fate of every stored tensor, as if the base was measured by itself."""

    @property
    def model_id(self) -> str:
        """Hub id, or `local/<folder>`."""
        return self.layers.model_id

    def decoders(self, specs: Iterable[LayerSpec]) -> set[str]:
        """Decoders of what is subtracted in `specs`."""
        partners = (spec.partner.weight for spec in specs if spec.partner is not None)
        return {weight.decoder for weight in partners if weight is not None}

    def accounts(self, specs: Iterable[LayerSpec]) -> Iterator[tuple[Entry, TensorMeta]]:
        """The fate of every stored tensor of the base, under its name and file in the pair: read for a
        layer of `specs`, or not."""
        used: dict[str, str] = {}
        for spec in specs:
            weight = spec.partner.weight if spec.partner is not None else None
            for source in weight.sources if weight is not None else ():
                used.setdefault(source, spec.tensor)
        for entry in self.entries:
            stored = self.checkpoint.tensors[entry.tensor]
            name = f"{BASE}{entry.tensor}"
            yield (
                Entry(name, "companion", f"base model: subtracted from {used[entry.tensor]}")
                if entry.tensor in used
                else Entry(name, "skipped", "base model: nothing is compared with it"),
                replace(stored, name=name, file=f"{FOLDER}/{stored.file}"),
            )

    @property
    def files(self) -> dict[str, int]:
        """Size of every file of the base, under its name in the pair."""
        return {f"{FOLDER}/{name}": size for name, size in self.checkpoint.files.items()}

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Files of the base that could hold weights and are not read, under their names in the pair."""
        left_out = self.checkpoint.left_out
        return tuple(replace(left, file=f"{FOLDER}/{left.file}") for left in left_out)


def open_base(store: Store, selection: LayerSelection) -> BaseModel:
    """Read the headers of the base model behind `store`. Raises CheckpointError."""
    return base_of(
        open_checkpoint(store), selection, model_id=store.model_id, revision=store.revision
    )


def base_of(
    checkpoint: Checkpoint, selection: LayerSelection, *, model_id: str, revision: str
) -> BaseModel:
    """The base model in an open checkpoint; `selection` is that of the fine-tune."""
    taken = take_layers(
        account(checkpoint),
        checkpoint.config,
        replace(LayerSelection(), fused=selection.fused),  # all that it has
        components=checkpoint.component_configs,
        adapters=adapters_of(checkpoint),
        header=checkpoint.metadata,
        stored={name: meta.shape for name, meta in checkpoint.tensors.items()},
    )
    is_tied = settings_for("", checkpoint.config).flag(_TIED)
    layers = BaseLayers(model_id, taken.specs, is_tied)
    return BaseModel(checkpoint, revision, layers, taken.entries)


def check_partners(own: Sequence[LayerSpec], deltas: Sequence[LayerSpec], base_id: str) -> None:
    """Raises CheckpointError when a base is given of which no layer can be compared."""
    wanted = [
        delta
        for spec, delta in zip(own, deltas, strict=True)
        if spec.is_measurable
        and (delta.skip_reason or "").startswith(("not_in_base", "other_shape"))
    ]
    if not wanted or any(delta.partner is not None for delta in deltas):
        return
    reasons = Counter((delta.skip_reason or "").split(":")[0] for delta in wanted)
    counts = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    raise CheckpointError(
        f"base model {base_id}: none of {len(wanted)} layers can be compared with it ({counts}), such as "
        f"{wanted[0].tensor!r} ({wanted[0].skip_reason}); wanted the model that this one was trained from"
    )
