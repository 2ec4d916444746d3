"""Weight normalisation: W = g · v / ‖v‖, stored as magnitude g and direction v.

Source: torch.nn.utils.weight_norm (`weight_g`, `weight_v`) and its parametrisation
(`original0`, `original1`). The norm runs over every axis along which g has length 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from zoo.formats.weight import Weight
from zoo.layers.composed_weight import ComposedWeight

if TYPE_CHECKING:
    import torch

    from zoo.io.checkpoint import Checkpoint
    from zoo.io.header import RowRange

_NAMES: Final = (
    ("weight_v", "weight_g"),
    ("parametrizations.weight.original1", "parametrizations.weight.original0"),
)
"""Names of direction and magnitude."""


@dataclass(frozen=True, slots=True)
class Normalised:
    """Loads direction and magnitude and multiplies them."""

    direction: Weight
    magnitude: Weight

    def __call__(self, checkpoint: Checkpoint, rows: RowRange | None = None) -> torch.Tensor:
        """See `zoo.formats.weight.Loader`; float32, or float64 when stored so."""
        v, g = self.direction.load(checkpoint), self.magnitude.load(checkpoint)
        if self.direction.stored_dtype != "F64":
            v, g = v.float(), g.float()
        axes = [axis for axis in range(v.ndim) if g.shape[axis] == 1]
        whole: torch.Tensor = v * (g / v.norm(dim=axes, keepdim=True))
        return whole if rows is None else whole[rows[0] : rows[1]]


def pairs(weights: Mapping[str, Weight]) -> Iterator[ComposedWeight]:
    """Every stored pair of direction and magnitude, as the weight that is their product."""
    for name, v in weights.items():
        for suffix, other in _NAMES:
            module = name.removesuffix(suffix)
            if module == name or (module and not module.endswith(".")):
                continue
            g = weights.get(module + other)
            if g is None:
                continue
            fits = len(g.shape) == len(v.shape) and all(
                a in (1, b) for a, b in zip(g.shape, v.shape, strict=True)
            )
            yield ComposedWeight(
                weight=replace(
                    v,
                    name=f"{module}weight",
                    sources=v.sources + g.sources,
                    loader=Normalised(v, g),
                    nbytes=v.nbytes + g.nbytes,
                ),
                main=name,
                others=(*v.sources[1:], *g.sources),
                fault=None if fits else f"weight_norm: {g.name} {list(g.shape)} does not fit",
            )
