"""Weights stored as what they are computed from: spectral normalisation and pruning masks.

 - spectral norm: W = V / σ with σ = uᵀ·V·v, V unfolded to a matrix (`weight_orig`, `weight_u`,
   `weight_v`; or `parametrizations.weight.original`, `.0._u`, `.0._v`);
 - pruning: W = V · mask (`weight_orig`, `weight_mask`).

Source: torch.nn.utils `spectral_norm`, `parametrizations.spectral_norm`, `prune`.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from zoo.errors import DecodeError
from zoo.formats.weight import Weight
from zoo.layers.composed_weight import ComposedWeight

if TYPE_CHECKING:
    import torch

    from zoo.io.checkpoint import Checkpoint
    from zoo.io.header import RowRange

_ORIGINAL: Final = ("weight_orig", "parametrizations.weight.original")
"""Names of V."""
_VECTORS: Final = (
    ("weight_u", "weight_v"),
    ("parametrizations.weight.0._u", "parametrizations.weight.0._v"),
)
"""Names of u and v beside it."""


@dataclass(frozen=True, slots=True)
class Spectral:
    """Loads V, u and v and divides."""

    original: Weight
    """V."""
    u: str
    """Name of the stored vector u."""
    v: str
    """Name of the stored vector v."""

    def __call__(self, checkpoint: Checkpoint, rows: RowRange | None = None) -> torch.Tensor:
        """See `zoo.formats.weight.Loader`."""
        stored = self.original.load(checkpoint)
        u, v = (checkpoint.read(name).double().flatten() for name in (self.u, self.v))
        sigmas = []
        for axis in (0, 1):  # transposed convolutions unfold along axis 1
            matrix = stored.transpose(0, axis).flatten(1)
            if matrix.shape == (len(u), len(v)):
                sigmas.append(u @ matrix.double() @ v)
        if not sigmas:
            raise DecodeError(
                f"{self.original.name}: vectors of {len(u)} and {len(v)} for {list(stored.shape)}; "
                "wanted those of its unfolded matrix. Save the checkpoint again"
            )
        whole: torch.Tensor = (stored.double() / max(sigmas, key=abs)).to(_result_dtype(stored))
        return whole if rows is None else whole[rows[0] : rows[1]]


@dataclass(frozen=True, slots=True)
class Masked:
    """Loads V and its mask and multiplies."""

    original: Weight
    """V."""
    mask: str
    """Name of the stored mask, of V's shape."""

    def __call__(self, checkpoint: Checkpoint, rows: RowRange | None = None) -> torch.Tensor:
        """See `zoo.formats.weight.Loader`."""
        stored = self.original.load(checkpoint, rows)
        return stored * checkpoint.read(self.mask, rows).to(stored.dtype)


def pairs(weights: Mapping[str, Weight], stored: Container[str]) -> Iterator[ComposedWeight]:
    """Every stored original, as the weight that is computed from it.

    `stored` holds the names of all tensors.
    """
    for name, original in weights.items():
        suffix = next((s for s in _ORIGINAL if name == s or name.endswith(f".{s}")), None)
        if suffix is None:
            continue
        module = name.removesuffix(suffix)
        others: tuple[str, ...] = ()
        loader, fault = original.loader, None
        vectors = [(module + u, module + v) for u, v in _VECTORS]
        there = next((pair for pair in vectors if pair[0] in stored and pair[1] in stored), None)
        if there is not None:
            loader, others = Spectral(original, *there), there
        elif f"{module}weight_mask" in stored:
            others = (f"{module}weight_mask",)
            loader = Masked(original, others[0])
        else:
            fault = "reparametrised: nothing beside it tells how the weight is computed from it"
        yield ComposedWeight(
            weight=replace(
                original,
                name=f"{module}weight",
                sources=original.sources + others,
                loader=loader,
                nbytes=original.nbytes + sum(weights[n].nbytes for n in others if n in weights),
            ),
            main=name,
            others=(*original.sources[1:], *others),
            fault=fault,
        )


def _result_dtype(stored: torch.Tensor) -> torch.dtype:
    """float64 stays, anything narrower becomes float32."""
    import torch

    return torch.float64 if stored.dtype == torch.float64 else torch.float32
