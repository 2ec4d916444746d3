"""LoRA adapters: the update ΔW = s·B·A from its two small factors (Hu et al. 2021).

s = alpha/r, or alpha/√r with `use_rslora` (Kalajdzievski 2023). alpha comes from
adapter_config.json (PEFT), from a tensor beside the factors (kohya), or is r (diffusers, which
then writes none). `LowRank` loads ΔW in full, because the shuffle needs its entries;
`LowRank.core` gives the r×r matrix with the same nonzero singular values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from zoo.formats.weight import Weight
from zoo.layers.made import Made
from zoo.layers.names import MAX_CHARS

if TYPE_CHECKING:
    import torch

    from zoo.io.checkpoint import Checkpoint

_DOWN: Final = re.compile(
    r"^(?P<module>.+?)\.(?:lora_(?P<kind>embedding_)?A|lora_down|lora\.down)(?P<tail>(?:\.\w+)*)$"
)
_UP: Final = {"lora_A": "lora_B", "lora_embedding_A": "lora_embedding_B",
              "lora_down": "lora_up", "lora.down": "lora.up"}  # fmt: skip
_BLOCK_ROWS: Final = 1024


@dataclass(frozen=True, slots=True)
class LowRank:
    """Loads the factors `a` [r, in, ...] and `b` [out, r, ...] and multiplies them."""

    a: Weight
    b: Weight
    alpha: float | str
    """alpha, or the name of the stored scalar that holds it."""
    use_rslora: bool = False
    transposed: bool = False
    """Embeddings: the update is (B·A)ᵀ, `[vocabulary, width]`."""

    @property
    def rank(self) -> int:
        """Inner dimension of the product."""
        return self.a.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of ΔW."""
        if self.transposed:
            return self.a.shape[1], self.b.shape[0]
        return self.b.shape[0], *self.a.shape[1:]

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

    def __call__(self, checkpoint: Checkpoint, rows: tuple[int, int] | None = None) -> torch.Tensor:
        """ΔW, or its rows: products in float64, rounded once to float32."""
        import torch

        left, right = self.factors(checkpoint)
        if rows is not None:
            left = left[rows[0] : rows[1]]
        made = torch.empty(left.shape[0], right.shape[1], dtype=torch.float32)
        for start in range(0, left.shape[0], _BLOCK_ROWS):
            made[start : start + _BLOCK_ROWS] = left[start : start + _BLOCK_ROWS] @ right
        return made.reshape(left.shape[0], *self.shape[1:])


def pairs(
    weights: Mapping[str, Weight], adapter: Mapping[str, object] | None, stored: Container[str]
) -> Iterator[Made]:
    """Every pair of factors, as the update it makes. `stored` holds the names of all tensors."""
    for name, a in weights.items():
        match = _DOWN.match(name) if len(name) <= MAX_CHARS else None
        if match is None:
            continue
        module = match["module"]
        word = name[len(module) + 1 : len(name) - len(match["tail"])]
        b = weights.get(f"{module}.{_UP[word]}{match['tail']}")
        if b is None or len(a.shape) < 2 or len(b.shape) < 2:
            continue
        scalar = f"{module}.alpha" if f"{module}.alpha" in stored else None
        alpha, fault = _alpha(module, a.shape[0], scalar, adapter)
        if b.shape[1] != a.shape[0] or math.prod(b.shape[2:]) != 1:
            fault = f"lora: factors {list(b.shape)} and {list(a.shape)} do not multiply"
        if adapter and adapter.get("use_dora"):
            fault = "dora: the update depends on the base model, which is not here"
        others = () if scalar is None else (scalar,)
        loader = LowRank(
            a, b, alpha, bool(adapter and adapter.get("use_rslora")), match["kind"] is not None
        )
        yield Made(
            weight=Weight(
                name=f"{module}.lora",
                shape=loader.shape,
                stored_dtype=a.stored_dtype,
                decoder=a.decoder,
                sources=(*a.sources, *b.sources, *others),
                loader=loader,
                nbytes=a.nbytes + b.nbytes,
            ),
            main=name,
            others=(*a.sources[1:], *b.sources, *others),
            fault=fault,
        )


def _alpha(
    module: str, rank: int, scalar: str | None, adapter: Mapping[str, object] | None
) -> tuple[float | str, str | None]:
    """alpha for one module, and why it is not known."""
    if scalar is not None:
        return scalar, None
    if adapter is None:
        if module.startswith("base_model."):
            return 1.0, "lora: adapter_config.json is missing, so alpha is not known"
        return float(rank), None
    alpha = adapter.get("lora_alpha")
    patterns = adapter.get("alpha_pattern")
    if isinstance(patterns, Mapping):
        for key, value in patterns.items():
            if module == key or module.endswith(f".{key}") or _matches(str(key), module):
                alpha = value
                break
    if isinstance(alpha, int | float) and not isinstance(alpha, bool) and math.isfinite(alpha):
        return float(alpha), None
    return 1.0, f"lora: lora_alpha in adapter_config.json is {alpha!r}, wanted a number"


def _matches(key: str, module: str) -> bool:
    """PEFT reads keys of `alpha_pattern` as patterns for the end of the path."""
    try:
        return re.match(rf".*\.(?:{key})$", module) is not None
    except re.error:
        return False
