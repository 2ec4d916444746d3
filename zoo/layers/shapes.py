"""Which tensors are layers, and of what kind, by shape and name.

Axes of length 1 carry no meaning: whatever its name, a tensor with one other axis is a vector, and
one with two others is a matrix. Knows nothing of fused parts or experts.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from zoo.formats.weight import Fate
from zoo.layers.spec import Fold, Kernel
from zoo.layers.tensor_names import Place

_BIAS: Final = re.compile(
    r"(?:^|[._])(?:bias|bias_[ih]h_l\d+(?:_reverse)?|in_proj_bias"
    r"|(?:pos_)?bias_[uv])$"
)
"""Names of biases, those stacked for several experts among them."""
_MASK: Final = re.compile(r"(?:attn|attention)\.(?:bias|masked_bias|mask|causal_mask|tril)$")
"""Names of attention masks that are stored as tensors."""
_STATE: Final = re.compile(
    r"\.A_log$|\.A$|\.ssm_a$|\.time_(?:decay|first|faaaa)$|\.(?:r_k|time_mix_r_k|time_mix_first)$"
)
"""Rates of decay and boosts of the current token, for each head and channel: no linear map."""
_NORM_MAGNITUDE: Final = re.compile(r"weight_g$|parametrizations\.weight\.original0$")
"""Names of the magnitude of a weight-normalised tensor."""
_NORM_DIRECTION: Final = re.compile(r"weight_v$|parametrizations\.weight\.original1$")
"""Names of its direction."""
_NAMED_WEIGHT: Final = re.compile(r"(?:^|[._])(?:weight|kernel|w|filters?|lora|merged)$|conv[^.]*$")
"""Names that say that a tensor of three axes or more is a convolution kernel."""
_CONVOLUTION: Final = re.compile(r"conv|filter|patch_emb|depthwise|(?:^|\.)dw(?:\.|$)")
"""Modules that hold kernels, so that an axis of length 1 may be a channel and the other spatial."""


@dataclass(frozen=True, slots=True)
class NotALayer:
    """A tensor that gives no row."""

    fate: Fate
    reason: str


@dataclass(frozen=True, slots=True)
class Shape:
    """A tensor that is one layer."""

    num_slices: int
    """Kernel slices."""
    rows: int | None
    """Rows of one slice; None when they are not known."""
    cols: int | None
    """Columns of one slice; None when they are not known."""
    default_role: str
    """Role when the name tables know none."""
    kernel: Kernel = "none"
    fold: Fold = "none"
    fail_reason: str | None = None


def classify(
    name: str, shape: tuple[int, ...], where: Place, *, is_mlx: bool = False
) -> Shape | NotALayer:
    """What one tensor is, stacks of experts and matrices stored by heads aside.

    `is_mlx` tells the channels of a kernel from its spatial axes, which shapes do not.
    """
    sizes = [size for size in shape if size != 1]
    if _MASK.search(name) and len(shape) != 1:
        return NotALayer("skipped", f"buffer: attention mask {list(shape)}")
    if _BIAS.search(name):
        return NotALayer("companion", f"bias {list(shape)}")
    if _STATE.search(name):
        return NotALayer("skipped", f"state: decay rates {list(shape)}, no linear map")
    if _NORM_MAGNITUDE.search(name):
        return NotALayer("companion", "magnitude of a weight-normalised tensor")
    if len(shape) < 2 or (len(sizes) < 2 and 0 not in shape):
        return NotALayer("skipped", f"vector: {math.prod(shape)} values")
    if _NORM_DIRECTION.search(name):
        return failed(shape, "weight_norm: direction and magnitude are stored apart")
    if len(shape) == 2:
        return Shape(1, shape[0], shape[1], "dense")
    named = _NAMED_WEIGHT.search(name)
    if named is not None and (len(sizes) > 2 or _CONVOLUTION.search(where.module.lower())):
        return _kernel(name, shape, is_mlx=is_mlx)
    if len(sizes) == 2 or where.role == "position_embedding":
        is_pointwise = named is not None and len(sizes) == 2 and shape[:2] == tuple(sizes)
        default = "conv" if is_pointwise else "parameter"
        return Shape(1, math.prod(sizes[:-1]), sizes[-1], default)
    return failed(shape, f"unknown_layout: {list(shape)} is no matrix, kernel or stack")


def _kernel(name: str, shape: tuple[int, ...], *, is_mlx: bool) -> Shape | NotALayer:
    """The slices of a convolution."""
    if name.endswith("kernel"):
        kernel: Kernel = "leading"
        rows, cols, spatial = shape[-2], shape[-1], shape[:-2]
    elif is_mlx:
        kernel = "middle"
        rows, cols, spatial = shape[0], shape[-1], shape[1:-1]
    else:
        kernel = "trailing"
        rows, cols, spatial = shape[0], shape[1], shape[2:]
    if rows == cols == 1:
        return NotALayer("skipped", f"filter of one channel: {math.prod(shape)} values, no matrix")
    return Shape(math.prod(spatial), rows, cols, "conv", kernel=kernel)


def failed(shape: tuple[int, ...], reason: str) -> Shape:
    """A tensor that would be a layer if its layout were known."""
    return Shape(1, None, None, "dense" if len(shape) == 2 else "conv", fail_reason=reason)
