"""What an adapter makes of its base model: W = W₀ + ΔW, and DoRA's m·(W₀ + ΔW)/‖W₀ + ΔW‖.

DoRA (Liu et al. 2024) scales every output's weights to a learned length m. W lies as W₀ is stored:
of a transposed layer (GPT-2's Conv1D, `fan_in_fan_out`) outputs are columns.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from zoo.formats.weight import Weight
from zoo.io.paired import BASE
from zoo.layers.adapters import Adapters, covering
from zoo.layers.composed_weight import ComposedWeight
from zoo.layers.lora import KOHYA_MAGNITUDE, NEEDS_BASE, LowRank, magnitudes

if TYPE_CHECKING:
    import torch

    from zoo.io.checkpoint import Checkpoint
    from zoo.io.header import RowRange


@dataclass(frozen=True, slots=True)
class Merged:
    """Loads the base weight and adds the update."""

    base: Weight
    """W₀."""
    update: LowRank
    """ΔW."""
    transposed: bool = False
    """The base weight is `[in, out]`."""
    magnitude: str | None = None
    """DoRA: name of the stored lengths."""

    def __call__(self, checkpoint: Checkpoint, rows: RowRange | None = None) -> torch.Tensor:
        """See `zoo.formats.weight.Loader`; float32, or float64 when the base is stored so."""
        import torch

        loaded = self.base.load(checkpoint)
        merged = loaded if loaded.dtype == torch.float64 else loaded.float()
        self.update.add_to(merged.view(merged.shape[0], -1), checkpoint, transposed=self.transposed)
        if self.magnitude is not None:
            outputs = merged.T if self.transposed else merged.flatten(1)
            lengths = checkpoint.read(self.magnitude).flatten().to(merged.dtype)
            outputs *= (lengths / outputs.norm(dim=1))[:, None]
        return merged if rows is None else merged[rows[0] : rows[1]]


def with_base(
    update: ComposedWeight,
    weights: Mapping[str, Weight],
    adapters: Adapters,
    stored: Container[str],
) -> ComposedWeight:
    """The weight that LoRA's `update` makes of its base weight; `stored` are all tensors' names."""
    low_rank = update.weight.loader
    assert isinstance(low_rank, LowRank)
    module, _, tail = update.weight.name.rpartition(".lora")
    path, config = covering(module, adapters)
    merged = replace(update.weight, name=f"{module}.merged{tail}")
    base = _base_of(path, weights)
    if isinstance(base, str):
        return replace(update, weight=merged, fault=base)
    flipped = low_rank.shape[::-1]
    transposed = base.shape == flipped and (
        base.shape != low_rank.shape or bool(config and config.get("fan_in_fan_out"))
    )
    ending = update.main.rpartition("_A")[2]
    magnitude = next((n for p in magnitudes(ending) if (n := f"{module}.{p}") in stored), None)
    fault = update.fault
    if fault == NEEDS_BASE and magnitude and not magnitude.endswith(KOHYA_MAGNITUDE):
        fault = None
    if base.shape != (flipped if transposed else low_rank.shape):
        fault = f"merged: an update of {list(low_rank.shape)} for {base.name} {list(base.shape)}"
    others = (*base.sources, *((magnitude,) if magnitude else ()))
    return ComposedWeight(
        weight=replace(
            merged,
            shape=base.shape,
            stored_dtype=base.stored_dtype,
            decoder=base.decoder,
            sources=(*update.weight.sources, *others),
            loader=Merged(base, low_rank, transposed, magnitude),
            nbytes=update.weight.nbytes + base.nbytes,
        ),
        main=update.main,
        others=(*update.others, *others),
        fault=fault,
    )


def _base_of(path: str, weights: Mapping[str, Weight]) -> Weight | str:
    """The base weight that the adapter calls `path`, or why there is none.

    Checkpoints may lack the first words of the path, or have more in front.
    """
    words = path.split(".")
    for first in range(len(words)):
        name = f"{BASE}{'.'.join(words[first:])}.weight"
        if name in weights:
            return weights[name]
    longer = [w for n, w in weights.items() if n.startswith(BASE) and n.endswith(f".{path}.weight")]
    if len(longer) == 1:
        return longer[0]
    if any(name.startswith(BASE) for name in weights):
        return f"merged: the base model has no {path!r}"
    return (
        "merged: no weights of a base model; give `base` in the [[source]], in the adapter's kind of "
        "file (safetensors or PyTorch)"
    )
