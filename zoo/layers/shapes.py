"""Which tensors are layers, and of what kind, by shape and name.

Knows nothing of fused parts or experts.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from zoo.formats.weight import Fate
from zoo.layers.spec import Kernel
from zoo.layers.tensor_names import Place

_BIAS: Final = re.compile(r"(?:^|[._])(?:bias|bias_[ih]h_l\d+(?:_reverse)?|in_proj_bias)$")
"""Names of biases, those stacked for several experts among them."""
_MASK: Final = re.compile(r"(?:attn|attention)\.(?:bias|masked_bias|mask|causal_mask|tril)$")
"""Names of attention masks that are stored as tensors."""
_DECAY: Final = re.compile(r"\.A_log$|\.A$|\.ssm_a$|\.time_(?:decay|first|faaaa)$")
"""Names of the decay rates of state-space blocks and of RWKV."""
_NORM_MAGNITUDE: Final = re.compile(r"weight_g$|parametrizations\.weight\.original0$")
"""Names of the magnitude of a weight-normalised tensor."""
_NORM_DIRECTION: Final = re.compile(r"weight_v$|parametrizations\.weight\.original1$")
"""Names of its direction."""
_NAMED_WEIGHT: Final = re.compile(r"(?:^|[._])(?:weight|kernel|w|filters?|lora|merged)$|conv[^.]*$")
"""Names that say that a tensor of three axes or more is a convolution kernel."""


@dataclass(frozen=True, slots=True)
class NotALayer:
    """A tensor that gives no row of `layers`."""

    fate: Fate
    """What becomes of it."""
    reason: str
    """Why it is no layer."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A tensor that is one layer."""

    num_slices: int
    """Slices of a convolution kernel; 1 for a matrix."""
    rows: int | None
    cols: int | None
    default_role: str
    """Role when the name tables know none."""
    kernel: Kernel = "none"
    fail_reason: str | None = None


def classify(name: str, shape: tuple[int, ...], where: Place) -> Shape | NotALayer:
    """What one tensor is, stacks of experts aside."""
    if _MASK.search(name) and len(shape) != 1:
        return NotALayer("skipped", f"buffer: attention mask {list(shape)}")
    if _BIAS.search(name):
        return NotALayer("companion", f"bias {list(shape)}")
    if _DECAY.search(name):
        return NotALayer("skipped", f"state: decay rates {list(shape)}, no linear map")
    if _NORM_MAGNITUDE.search(name):
        return NotALayer("companion", "magnitude of a weight-normalised tensor")
    if len(shape) < 2:
        return NotALayer("skipped", f"vector: {math.prod(shape)} values")
    if _NORM_DIRECTION.search(name):
        return _failed(shape, "weight_norm: direction and magnitude are stored apart")
    if where.role == "parameter" and sum(size != 1 for size in shape) < 2 and 0 not in shape:
        return NotALayer("skipped", f"vector: {math.prod(shape)} values")
    if len(shape) == 2:
        return Shape(1, shape[0], shape[1], "dense")
    if _NAMED_WEIGHT.search(name):
        if name.endswith("kernel"):
            return Shape(math.prod(shape[:-2]), shape[-2], shape[-1], "conv", kernel="leading")
        return Shape(math.prod(shape[2:]), shape[0], shape[1], "conv", kernel="trailing")
    sizes = [s for s in shape if s != 1]
    if len(sizes) < 2:
        return NotALayer("skipped", f"vector: {math.prod(shape)} values")
    if len(sizes) == 2 or where.role == "position_embedding":
        rows = math.prod(sizes[:-1])
        return Shape(1, rows, sizes[-1], "parameter")
    return _failed(shape, f"unknown_layout: {list(shape)} is no matrix, kernel or stack")


def _failed(shape: tuple[int, ...], reason: str) -> Shape:
    return Shape(1, None, None, "dense" if len(shape) == 2 else "conv", fail_reason=reason)
