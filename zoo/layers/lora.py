"""LoRA adapters: the update ΔW = s·B·A from its two small factors (Hu et al. 2021).

s = alpha/r, or alpha/√r with `use_rslora` (Kalajdzievski 2023). alpha comes from a tensor beside
the factors (kohya), from the adapter's configuration (`zoo.layers.adapters`) or whatever else
names it (`zoo.layers.adapter_settings`), or is r where nothing does (XLabs, older diffusers). A
kernel may have a third factor between the two (LoCon). `LowRank` loads ΔW in full, because the
shuffle needs its entries; `LowRank.core` gives the r×r matrix with the same nonzero singular
values.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from zoo.formats.weight import Weight
from zoo.layers.adapter_settings import UpdateSettings, settings_in_model
from zoo.layers.adapters import Adapters, update_settings
from zoo.layers.composed_weight import ComposedWeight
from zoo.layers.factors import Factors, factor_pairs

if TYPE_CHECKING:
    import torch

    from zoo.io.checkpoint import Checkpoint
    from zoo.io.header import RowRange

_NO_SETTINGS: Final[Mapping[str, Any]] = {}
"""No config, component or header says anything."""
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
    weights: Mapping[str, Weight],
    adapters: Adapters,
    stored: Container[str],
    config: Mapping[str, object] = _NO_SETTINGS,
    header: Mapping[str, str] = _NO_SETTINGS,
) -> Iterator[ComposedWeight]:
    """Every pair of factors, as the update that is their product.

    `stored` holds the names of all tensors; `config` is the model's, `header` the free-form
    strings of its files.
    """
    taken: set[str] = set()
    is_mlx = any("lora_parameters" in settings for settings in adapters.values())
    for pair in factor_pairs(weights, stored, flips_squares=is_mlx):
        settings, fault = _settings(pair, adapters, stored, config, header)
        a, b = (pair.second, pair.first) if pair.is_flipped else (pair.first, pair.second)
        loader = LowRank(
            a,
            b,
            pair.alpha or (float(pair.rank) if settings.alpha is None else settings.alpha),
            settings.use_rslora and pair.alpha is None,
            pair.is_embedding != pair.is_flipped,
            pair.mid,
        )
        mid = pair.mid
        others = (
            *pair.second.sources,
            *(mid.sources if mid else ()),
            *((pair.alpha,) if pair.alpha else ()),
        )
        logical = f"{pair.module}.lora"
        if pair.adapter or logical in taken:
            logical += f".{pair.adapter}" if pair.adapter else pair.tail.removesuffix(".weight")
        taken.add(logical)
        yield ComposedWeight(
            weight=Weight(
                name=logical,
                shape=loader.shape,
                stored_dtype=pair.first.stored_dtype,
                decoder=pair.first.decoder,
                sources=(*pair.first.sources, *others),
                loader=loader,
                nbytes=a.nbytes + b.nbytes + (mid.nbytes if mid else 0),
            ),
            main=pair.first.name,
            others=(*pair.first.sources[1:], *others),
            fault=fault,
        )


def _settings(
    pair: Factors,
    adapters: Adapters,
    stored: Container[str],
    config: Mapping[str, object],
    header: Mapping[str, str],
) -> tuple[UpdateSettings, str | None]:
    """What is known of the scale of a pair, and why its update cannot be computed."""
    settings = update_settings(pair.module, pair.rank, adapters)
    if settings.alpha is None and settings.fault is None and pair.alpha is None:
        settings = settings_in_model(pair.adapter, pair.rank, config, header)
    fault = settings.fault if pair.alpha is None else None
    if pair.unknown_scale is not None:
        fault = f"lora: {pair.unknown_scale!r} scales the update in a way that nothing defines"
    has_magnitude = any(f"{pair.module}.{part}" in stored for part in magnitudes(pair.tail))
    if has_magnitude or _uses_dora(adapters):
        fault = NEEDS_BASE
    if not pair.multiplies:
        shapes = f"{list(pair.second.shape)} and {list(pair.first.shape)}"
        fault = f"lora: factors {shapes} do not multiply"
    return settings, fault


def magnitudes(tail: str) -> tuple[str, ...]:
    """Names of DoRA's magnitude beside factors of this ending: PEFT's, and last kohya's."""
    adapter = tail.removesuffix(".weight")
    ends = ("", ".weight", adapter, f"{adapter}.weight")
    return (*(f"lora_magnitude_vector{end}" for end in ends), "m", KOHYA_MAGNITUDE)


def _uses_dora(adapters: Adapters) -> bool:
    return any(config.get("use_dora") for config in adapters.values())
