"""Gate and up of experts that are stacked in one tensor `[experts, rows, columns]`.

The orientation is seen from the down projection beside it: `[hidden, 2·ffn]` goes with `[ffn, hidden]`
and `[2·ffn, hidden]` with `[hidden, ffn]`. Which half is which depends on the family.
"""

from __future__ import annotations

from typing import Final

from zoo.layers.parts import Shapes, Split, Whole, alternating, pieces, unknown_order
from zoo.layers.readers import mlp_reader
from zoo.layers.settings import Settings

_ALTERNATING: Final = {
    "gate_up_proj": ("gpt_oss",),
    "w13_weight": ("inkling",),
    "shared_w13_weight": ("inkling",),
}
"""Beginnings of the families that store gate and up in turns, by the name of the tensor."""
_GATE_FIRST: Final = {"fc1": ("aria",)}
"""Beginnings of the families that store the gate above up under the name of a plain MLP."""
_BIASED_HALVES: Final = frozenset({"openai_privacy_filter"})
"""Model types with a bias on gate_up whose halves all the same lie one after the other."""


def split_expert(
    module: str, role: str, shape: tuple[int, int], settings: Settings, shapes: Shapes
) -> Split:
    """Parts of one expert of a stack; `shape` is one expert's."""
    base = role.removeprefix("shared_")
    if base not in ("gate_up", "mlp_in", "up", "dense"):
        return Whole(None)
    leaf = module.rpartition(".")[2]
    reader = mlp_reader(module, shapes)
    if reader is None or len(reader[1]) != 3:
        if base != "gate_up":
            return Whole(None)
        return Whole(f"fused_whole: no down projection beside {leaf} to tell the halves by")
    name, (_, first, second) = reader[0], reader[1]
    half, axis = _half(shape, (first, second))
    if not half:
        if base != "gate_up":
            return Whole(None)
        if _reads_all(shape, (first, second)):
            return Whole(None, role="mlp_in")  # NemotronH calls a plain MLP gate_and_up
        return Whole(
            f"fused_whole: {list(shape)} does not fit a down projection {[first, second]} ({name})"
        )
    if settings.is_like(*_ALTERNATING.get(leaf, ("?",))):
        return alternating(shape, axis, ("gate", "up"))
    if base == "mlp_in" and settings.is_like(*_GATE_FIRST.get(leaf, ("?",))):
        return pieces(shape, axis, {"gate": half, "up": half})
    is_biased = f"{module}_bias" in shapes and not settings.is_of(_BIASED_HALVES)
    if base != "gate_up" or is_biased:
        # gpt-oss and its heirs have biases, but not all of these alternate
        return unknown_order(leaf, settings.model_type)
    return pieces(shape, axis, {"gate": half, "up": half})


def _half(shape: tuple[int, int], down: tuple[int, int]) -> tuple[int, int]:
    """Size of one half and the axis that holds both; 0 where there are no halves."""
    rows, cols = shape
    if rows == 2 * down[1] and cols == down[0]:
        return down[1], 0
    if cols == 2 * down[0] and rows == down[1]:
        return down[0], 1
    return 0, 0


def _reads_all(shape: tuple[int, int], down: tuple[int, int]) -> bool:
    """True where the down projection reads all that this matrix gives: there are no halves."""
    return down in (shape, shape[::-1])
