"""LoRA adapters: the update ΔW = s·B·A from its two small factors (Hu et al. 2021).

s = alpha/r, or alpha/√r with `use_rslora` (Kalajdzievski 2023). alpha comes from a tensor beside
the factors (kohya), from the adapter's configuration (`zoo.layers.adapters`), or is r (diffusers,
which then writes none). A kernel may have a third factor between the two (LoCon). `LowRank` loads
ΔW in full, because the shuffle needs its entries; `LowRank.core` gives the r×r matrix with the same
nonzero singular values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from zoo.formats.weight import Weight
from zoo.layers.adapters import Adapters, update_settings
from zoo.layers.composed_weight import ComposedWeight
from zoo.layers.tensor_names import MAX_CHARS

if TYPE_CHECKING:
    import torch

    from zoo.io.checkpoint import Checkpoint
    from zoo.io.header import RowRange

_FIRST_FACTOR: Final = re.compile(
    r"^(?P<module>.+?)\.(?:lora_(?P<kind>embedding_)?A|lora_down|lora\.down)(?P<tail>(?:\.\w+)*)$"
)
"""Names of the factor that is applied first, A."""
_SECOND_FACTOR: Final = {"lora_A": "lora_B", "lora_embedding_A": "lora_embedding_B",
              "lora_down": "lora_up", "lora.down": "lora.up"}  # fmt: skip
"""The word for the factor that is applied second, B, beside that of the first."""
_BLOCK_ROWS: Final = 1024
"""Rows of the update that are multiplied at a time, in float64."""
NEEDS_BASE: Final = "dora: the update depends on the base model, which is not here"
"""Why DoRA's update alone cannot be computed."""
KOHYA_MAGNITUDE: Final = "dora_scale"
"""The name that kohya gives to DoRA's magnitude."""


@dataclass(frozen=True, slots=True)
class LowRank:
    """Loads the factors `a` [r, in, ...] and `b` [out, r, ...] and multiplies them."""

    a: Weight
    """The factor that is applied first."""
    b: Weight
    """The factor that is applied second."""
    alpha: float | str
    """LoRA's alpha, or the name of the stored scalar that holds it."""
    use_rslora: bool = False
    """Scale by alpha/√r instead of alpha/r."""
    transposed: bool = False
    """True for embeddings: the update is (B·A)ᵀ, `[vocabulary, width]`."""
    mid: Weight | None = None
    """LoCon's factor between the two, `[r, r, k...]`; then `a` is `[r, in, 1...]`, and
    `Σ_j mid[:, j]·a[j]` takes its place."""

    @property
    def rank(self) -> int:
        """Inner dimension of the product."""
        return self.a.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of ΔW."""
        if self.transposed:
            return self.a.shape[1], self.b.shape[0]
        kernel = self.a.shape[2:] if self.mid is None else self.mid.shape[2:]
        return self.b.shape[0], self.a.shape[1], *kernel

    def scale(self, checkpoint: Checkpoint) -> float:
        """The factor s."""
        alpha = self.alpha
        if isinstance(alpha, str):
            alpha = float(checkpoint.read(alpha).reshape(-1)[0])
        return alpha / (math.sqrt(self.rank) if self.use_rslora else self.rank)

    def factors(self, checkpoint: Checkpoint) -> tuple[torch.Tensor, torch.Tensor]:
        """Two float64 matrices `[rows, r]` and `[r, columns]` whose product is ΔW."""
        b = self.b.load(checkpoint).double().flatten(1)
        a = self.a.load(checkpoint).double().flatten(1)
        if self.mid is not None:
            mid = self.mid.load(checkpoint).double().flatten(2)
            a = (mid.transpose(1, 2) @ a).transpose(1, 2).flatten(1)
        b = b * self.scale(checkpoint)
        return (a.T, b.T) if self.transposed else (b, a)

    def core(self, checkpoint: Checkpoint) -> torch.Tensor:
        """`[1, r, r]` float64, R_B·R_Aᵀ of the QR factorisations: ΔW's nonzero singular values."""
        import torch

        left, right = self.factors(checkpoint)
        r_left = torch.linalg.qr(left, mode="r").R
        r_right = torch.linalg.qr(right.T, mode="r").R
        core: torch.Tensor = r_left @ r_right.T
        return core.unsqueeze(0)

    def add_to(self, out: torch.Tensor, checkpoint: Checkpoint, *, transposed: bool) -> None:
        """Add ΔW, or ΔWᵀ, to the matrix `out` in place, by blocks of rows."""
        left, right = self.factors(checkpoint)
        if transposed:
            left, right = right.T, left.T
        for start in range(0, left.shape[0], _BLOCK_ROWS):
            out[start : start + _BLOCK_ROWS] += left[start : start + _BLOCK_ROWS] @ right

    def __call__(self, checkpoint: Checkpoint, rows: RowRange | None = None) -> torch.Tensor:
        """ΔW, or its rows: products in float64, rounded once to float32."""
        import torch

        left, right = self.factors(checkpoint)
        if rows is not None:
            left = left[rows[0] : rows[1]]
        update = torch.empty(left.shape[0], right.shape[1], dtype=torch.float32)
        for start in range(0, left.shape[0], _BLOCK_ROWS):
            update[start : start + _BLOCK_ROWS] = left[start : start + _BLOCK_ROWS] @ right
        return update.reshape(left.shape[0], *self.shape[1:])


def pairs(
    weights: Mapping[str, Weight], adapters: Adapters, stored: Container[str]
) -> Iterator[ComposedWeight]:
    """Every pair of factors, as the update that is their product.

    `stored` holds the names of all tensors.
    """
    taken: set[str] = set()
    for name, a in weights.items():
        match = _FIRST_FACTOR.match(name) if len(name) <= MAX_CHARS else None
        if match is None:
            continue
        module, tail = match["module"], match["tail"]
        word = name[len(module) + 1 : len(name) - len(tail)]
        b = weights.get(f"{module}.{_SECOND_FACTOR[word]}{tail}")
        if b is None or len(a.shape) < 2 or len(b.shape) < 2:
            continue
        mid = weights.get(f"{module}.lora_mid{tail}") if word == "lora_down" else None
        scalar = f"{module}.alpha" if f"{module}.alpha" in stored else None
        rank = a.shape[0]
        settings = update_settings(module, rank, adapters)
        fault = settings.fault if scalar is None else None
        if any(f"{module}.{part}" in stored for part in magnitudes(tail)) or _uses_dora(adapters):
            fault = NEEDS_BASE
        if not _multiply(a.shape, b.shape, None if mid is None else mid.shape):
            fault = f"lora: factors {list(b.shape)} and {list(a.shape)} do not multiply"
        loader = LowRank(
            a,
            b,
            scalar or (float(rank) if settings.alpha is None else settings.alpha),
            settings.use_rslora and scalar is None,
            match["kind"] is not None,
            mid,
        )
        others = (*b.sources, *(mid.sources if mid else ()), *((scalar,) if scalar else ()))
        logical = f"{module}.lora"
        if logical in taken:  # a second adapter in the same file
            logical += tail.removesuffix(".weight")
        taken.add(logical)
        yield ComposedWeight(
            weight=Weight(
                name=logical,
                shape=loader.shape,
                stored_dtype=a.stored_dtype,
                decoder=a.decoder,
                sources=(*a.sources, *others),
                loader=loader,
                nbytes=a.nbytes + b.nbytes + (mid.nbytes if mid else 0),
            ),
            main=name,
            others=(*a.sources[1:], *others),
            fault=fault,
        )


def magnitudes(tail: str) -> tuple[str, ...]:
    """Names of DoRA's magnitude beside factors of this ending: PEFT's, and last kohya's."""
    adapter = tail.removesuffix(".weight")
    ends = ("", ".weight", adapter, f"{adapter}.weight")
    return (*(f"lora_magnitude_vector{end}" for end in ends), KOHYA_MAGNITUDE)


def _uses_dora(adapters: Adapters) -> bool:
    return any(config.get("use_dora") for config in adapters.values())


def _multiply(a: tuple[int, ...], b: tuple[int, ...], mid: tuple[int, ...] | None) -> bool:
    """True when the factors' shapes fit each other."""
    if mid is not None and (mid[:2] != (a[0], a[0]) or math.prod(a[2:]) != 1):
        return False
    return b[1] == a[0] and math.prod(b[2:]) == 1
