"""What becomes of stored tensors that are no weights: buffers, vectors, and what nobody knows."""

from __future__ import annotations

import re

from zoo.formats.buffers import buffer_kind
from zoo.formats.weight import Entry
from zoo.io.dtypes import NATIVE_FLOATS
from zoo.io.header import TensorMeta
from zoo.io.weight_files import is_training_tensor

_FACTOR = re.compile(r"(^|\.)logit_scale$")
"""Names of single factors that are stored with two axes."""
_STACKED_BIAS = re.compile(r"(^|[._])bias$")
"""Names of biases that are stored one row per expert or head."""
_CAUSAL_MASK = re.compile(r"(attn|attention)\.(attention\.)?bias$")
"""Names of causal masks (GPT-2's `attn.bias`), where the shape is that of a mask too."""
_BIAS = re.compile(r"(^|[._])(bias|beta|b|b_[a-z]+)([._][a-z0-9]+)?$")
"""Names of biases of one axis."""


def no_weight(meta: TensorMeta) -> Entry | None:
    """The fate of a tensor that its name alone rules out as a weight; None when it may be one."""
    if is_training_tensor(meta.name):
        return Entry(meta.name, "skipped", "training state: not a weight")
    if kind := buffer_kind(meta.name):
        return Entry(meta.name, "skipped", f"buffer: not learned ({kind})")
    is_square = len(meta.shape) == 4 and meta.shape[:2] == (1, 1) and meta.shape[2] == meta.shape[3]
    if _CAUSAL_MASK.search(meta.name) and is_square:
        return Entry(meta.name, "skipped", "buffer: causal mask")
    if _FACTOR.search(meta.name):
        return Entry(meta.name, "skipped", "factor: no spectrum")
    if len(meta.shape) == 2 and _STACKED_BIAS.search(meta.name):
        return Entry(meta.name, "companion", "bias")  # one row per expert or head
    return None


def leftover(meta: TensorMeta, format_name: str | None = None) -> Entry:
    """The fate of a tensor that no decoder claimed; `format_name` is the format of its codes."""
    is_float = meta.dtype in NATIVE_FLOATS
    if meta.dtype == "BOOL":
        return Entry(meta.name, "skipped", "mask: true or false, not a weight")
    if meta.numel == 0:
        return Entry(meta.name, "skipped", f"empty: {list(meta.shape)} holds no numbers")
    if not meta.shape or meta.numel == 1:
        return Entry(meta.name, "skipped", "scalar: no spectrum")
    if len(meta.shape) == 1 and is_float:
        if _BIAS.search(meta.name):
            return Entry(meta.name, "companion", "bias")
        return Entry(meta.name, "skipped", "vector: no spectrum")
    if format_name is not None:
        return Entry(
            meta.name,
            "unknown",
            f"{meta.name}: codes ({meta.dtype} {list(meta.shape)}) of the format {format_name!r}, "
            "which no decoder reads. Dequantise the checkpoint, or report the format",
        )
    if len(meta.shape) == 1 and meta.dtype in ("I64", "I32", "I16", "U64", "U32", "U16", "BOOL"):
        return Entry(meta.name, "skipped", "vector of whole numbers: not a weight")
    return Entry(
        meta.name,
        "unknown",
        f"no decoder knows {meta.dtype} {list(meta.shape)} called {meta.name!r}; wanted plain "
        "floats or a quantisation format with its scales beside it. Report the format",
    )
