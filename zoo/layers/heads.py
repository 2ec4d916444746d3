"""Matrices stored by heads: `[in, heads, width]` and its like are one matrix, not a kernel.

Layouts: XLNet in `transformers`, attention in Flax (`DenseGeneral`), latent attention in llama.cpp.
"""

from __future__ import annotations

import re
from typing import Final

from zoo.layers.shapes import Shape, failed
from zoo.layers.spec import Fold
from zoo.layers.tensor_names import Place

_FOLDS: Final[tuple[tuple[re.Pattern[str], Fold], ...]] = (
    (re.compile(r"(?:^|\.)rel_attn\.[qkvor]$"), "cols"),  # XLNet, its output projection included
    (re.compile(r"(?:^|\.)(?:query|key|value)\.kernel$"), "cols"),  # Flax: [in, heads, width]
    (re.compile(r"(?:^|\.)out\.kernel$"), "rows"),  # Flax: [heads, width, out]
    (re.compile(r"(?:^|\.)attention_output\.kernel$"), "rows"),  # Keras: the same
    (re.compile(r"(?:^|\.)attn_k_b\.weight$"), "swapped"),  # llama.cpp: [heads, rank, width]
    (re.compile(r"(?:^|\.)attn_v_b\.weight$"), "rows"),  # llama.cpp: [heads, width, rank]
)
"""Ends of names of tensors with three axes, and the axes that make one."""
_NOT_SPATIAL: Final = re.compile(
    r"(?:attn|attention|mlp|ffn|feed_forward)[^.]*\.(?!.*conv).*\.kernel$"
)
"""Flax's dense layers, which are no convolutions however many axes they have."""


def by_heads(name: str, shape: tuple[int, ...], where: Place) -> Shape | None:
    """The matrix that a tensor of three axes is, or None when it is not stored by heads."""
    dotted = name.replace("/", ".")
    if len(shape) < 3 or 0 in shape:
        return None
    fold = next((fold for end, fold in _FOLDS if end.search(dotted)), None)
    if fold is None or len(shape) > 3:
        if _NOT_SPATIAL.search(dotted.lower()) and sum(size != 1 for size in shape) > 2:
            return failed(shape, f"unknown_layout: {list(shape)} of a dense layer called kernel")
        return None
    first, second, third = shape
    rows, cols = {
        "rows": (first * second, third),
        "cols": (first, second * third),
        "swapped": (first * third, second),
    }[fold]
    if min(rows, cols) == 1:
        return None
    default = where.role or "dense"
    return Shape(1, rows, cols, default, fold=fold)
