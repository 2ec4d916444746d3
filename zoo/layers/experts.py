"""Experts: stacks of matrices in one tensor, and which experts are looked at.

A 3-D tensor is a stack only when its name says experts and its first axis is a number of experts
that the config allows; an ordinary `[out, in, k]` kernel never is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from zoo import seeds
from zoo.layers.fused import Part, Split, Whole, pieces
from zoo.layers.settings import Settings
from zoo.layers.spec import Cut
from zoo.layers.tensor_names import Place

_STACK: Final = re.compile(
    r"(?:^|\.)experts?\.(?!#)[\w.]*\w$|_exps$|(?:moe|mlp)\.(?:input|output)_linear$"
    r"|(?:^|\.)switch_(?:mlp|glu)\.\w+$"
)
"""Module paths that say that a tensor holds all experts of a block, one matrix each."""
_FLAT_STACK: Final = re.compile(r"experts\.mlp\.(?:w1|v1|w2)$")
"""Module paths of DBRX's stacks, whose experts follow one another along the rows."""
_MAX_EXPERTS: Final = 1 << 16
"""A stack of more matrices is taken for something else."""
_MAX_KERNEL: Final = 16
"""A longer kernel is taken for something else, unless the name says convolution."""
_INTERLEAVED: Final = frozenset({"gpt_oss"})
"""Model types whose rows (or columns) of gate and up alternate."""
_BIASED_HALVES: Final = frozenset({"openai_privacy_filter"})
"""Model types with a bias on gate_up whose halves all the same lie one after the other."""
_DOWN_OF: Final = {"gate_up_proj": "down_proj", "input_linear": "output_linear"}
"""The name of the down projection beside a gate-and-up projection of this name."""


def is_stack(where: Place, shape: tuple[int, ...]) -> bool:
    """True when the name says that the tensor holds all experts of a block."""
    return len(shape) > 2 and where.expert is None and _STACK.search(where.module) is not None


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


def stack_fault(shape: tuple[int, ...], settings: Settings) -> str | None:
    """Why a tensor that should be a stack of experts cannot be read as one, or None."""
    if len(shape) != 3:
        return f"unknown_layout: experts of shape {list(shape)}, wanted [experts, rows, columns]"
    if shape[0] > _MAX_EXPERTS:
        return f"unknown_layout: {shape[0]} experts stacked, wanted at most {_MAX_EXPERTS}"
    counts = settings.expert_counts
    if counts and shape[0] not in counts:
        declared = ", ".join(map(str, sorted(counts)))
        return f"unknown_layout: {shape[0]} experts stacked, config.json says {declared}"
    return None


def split_expert(
    module: str,
    shape: tuple[int, int],
    settings: Settings,
    shapes: Mapping[str, tuple[int, ...]],
) -> Split:
    """Gate and up of one expert of a stacked `gate_up` tensor; `shape` is one expert's.

    Orientation from the down projection beside it: `[hidden, 2·ffn]` with down `[ffn, hidden]`, or
    `[2·ffn, hidden]` with down `[hidden, ffn]`. gpt-oss interleaves: gate even, up odd; elsewhere
    the gate comes first.
    """
    leaf = module.rpartition(".")[2]
    down = shapes.get(module[: -len(leaf)] + _DOWN_OF.get(leaf, "?"))
    if down is None or len(down) != 3:
        return Whole(f"fused_whole: no down projection beside {leaf} to tell the halves by")
    rows, cols = shape
    if rows == 2 * down[2] and cols == down[1] and rows:
        axis, half = 0, down[2]
    elif cols == 2 * down[1] and rows == down[2] and cols:
        axis, half = 1, down[1]
    else:
        return Whole(f"fused_whole: {list(shape)} does not fit a down projection {list(down[1:])}")
    if settings.model_type in _INTERLEAVED:
        return _interleaved(shape, axis, half)
    if f"{module}_bias" in shapes and settings.model_type not in _BIASED_HALVES:
        # gpt-oss and its heirs have biases, but not all of these interleave
        return Whole(f"fused_whole: order of {leaf} in {settings.model_type or 'an unnamed model'}")
    return pieces(shape, axis, {"gate": half, "up": half})


def _interleaved(shape: tuple[int, int], axis: int, half: int) -> tuple[Part, ...]:
    """Gate in the even rows (or columns), up in the odd ones."""
    halves = pieces(shape, axis, {"gate": half, "up": half})
    return tuple(
        replace(part, cut=Cut(axis=axis, start=first, stop=2 * half, step=2))
        for first, part in enumerate(halves)
    )


def chosen(numbers: Iterable[int], sample: int | None, *, key: tuple[str, ...]) -> frozenset[int]:
    """The experts of one block that are analysed: all, or `sample` of them by seed."""
    ordered = sorted(set(numbers))
    if sample is None or sample >= len(ordered):
        return frozenset(ordered)
    drawn = seeds.generator(*key, "experts").choice(len(ordered), size=sample, replace=False)
    return frozenset(ordered[int(i)] for i in drawn)
