"""Experts: stacks of matrices in one tensor, and which experts are looked at.

A 3-D tensor is a stack only when its name says experts and its first axis is a number of experts
that the config allows; an ordinary `[out, in, k]` kernel never is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from zoo import seeds
from zoo.layers.expert_names import holds_all, may_hold_all
from zoo.layers.settings import Settings
from zoo.layers.tensor_names import Place

_FLAT_STACK: Final = re.compile(r"experts\.mlp\.(?:w1|v1|w2)$")
"""Module paths of DBRX's stacks, whose experts follow one another along the rows."""
_MAX_EXPERTS: Final = 1 << 16
"""A stack of more matrices is taken for something else."""
_MAX_KERNEL: Final = 16
"""A longer kernel is taken for something else, unless the name says convolution."""


def is_stack(where: Place, shape: tuple[int, ...], settings: Settings) -> bool:
    """True when the tensor holds all experts of a block: by its name, or by name and config."""
    if len(shape) < 3 or where.expert is not None:
        return False
    if holds_all(where.module):
        return True
    return shape[0] in settings.expert_counts and may_hold_all(where.module)


def unnamed_stack(where: Place, shape: tuple[int, ...], settings: Settings) -> str | None:
    """Why a 3-D weight is no kernel although its name does not say experts either, or None.

    Moshi and CSM stack the projections of their codebooks under plain names: what has many columns
    and would be a long kernel of many channels is named, not guessed.
    """
    if len(shape) != 3 or 1 in shape or "conv" in where.module.lower():
        return None
    if shape[0] in settings.expert_counts:
        return (
            f"unknown_layout: {list(shape)} starts with the number of experts, its name says none"
        )
    if min(shape[1:]) > _MAX_KERNEL:
        return f"unknown_layout: {list(shape)} is a stack or a kernel, its name does not say"
    return None


def flat_stack(where: Place, shape: tuple[int, ...], settings: Settings) -> int | None:
    """Number of experts in DBRX's 2-D stacks `[E·ffn, hidden]`, or None."""
    if len(shape) != 2 or not _FLAT_STACK.search(where.module):
        return None
    counts = [e for e in settings.expert_counts if shape[0] % e == 0]
    return counts[0] if len(counts) == 1 else None


def stack_matrix(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Rows and columns of one expert of a stack; None when each expert has a vector only.

    Axes of length 1 after the first carry no meaning. Call `stack_fault` before.
    """
    sizes = [size for size in shape[1:] if size != 1]
    return (sizes[0], sizes[1]) if len(sizes) == 2 else None


def stack_fault(where: Place, shape: tuple[int, ...], settings: Settings) -> str | None:
    """Why a tensor that should be a stack of experts cannot be read as one, or None."""
    if sum(size != 1 for size in shape[1:]) > 2:
        return f"unknown_layout: experts of shape {list(shape)}, wanted [experts, rows, columns]"
    if shape[0] > _MAX_EXPERTS:
        return f"unknown_layout: {shape[0]} experts stacked, wanted at most {_MAX_EXPERTS}"
    counts = frozenset() if "shared" in where.module else settings.expert_counts
    if counts and shape[0] not in (*counts, sum(counts)):  # LongCat: experts that copy their input
        declared = ", ".join(map(str, sorted(counts)))
        return f"unknown_layout: {shape[0]} experts stacked, config.json says {declared}"
    return None


def chosen(numbers: Iterable[int], sample: int | None, *, key: tuple[str, ...]) -> frozenset[int]:
    """The experts of one block that are analysed: all, or `sample` of them by seed."""
    ordered = sorted(set(numbers))
    if sample is None or sample >= len(ordered):
        return frozenset(ordered)
    drawn = seeds.generator(*key, "experts").choice(len(ordered), size=sample, replace=False)
    return frozenset(ordered[int(i)] for i in drawn)
