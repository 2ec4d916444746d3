"""Fused input projections of gated MLPs: gate and up in one stored matrix.

That a matrix holds both is seen from its reader, which has half as many columns as it has rows.
Which half is which depends on the name or on the family; where neither tells, it stays whole.
"""

from __future__ import annotations

from typing import Final

from zoo.layers.parts import (
    Shapes,
    Split,
    Whole,
    alternating,
    matrix_of,
    misfit,
    pieces,
    unknown_order,
)
from zoo.layers.readers import mlp_reader
from zoo.layers.settings import Settings

_GATE_FIRST: Final = frozenset(
    "gate_up_proj w12 weights_in Wi input_linear gate_and_up_proj gate_up_projs ffn_gate_up"
    " ffn_gate_up_shexp w13 proj_1 gated_layers".split()
)
"""Names that mean the gate above the linear half in every family but those below."""
_ALTERNATING: Final = ("gpt_oss", "inkling")
"""Beginnings of the families that store gate and up in turns: even rows, odd rows."""
_ORDER_OF: Final = {
    "up_gate_proj": {"gte": ("up", "gate"), "new": ("up", "gate")},
    "ff_proj": {"molmo2": ("up", "gate")},
    "dense_h_to_4h": {"chatglm": ("gate", "up")},
    "fc1": {"moonshine": ("up", "gate"), "dots3_note": ("gate", "up")},
    "linear_1": {"cohere2_vision": ("up", "gate")},
    "proj": {"clvp": ("up", "gate")},
}
"""Order of the halves by name and by the beginning of the family's name."""


def split_gate_up(
    module: str, leaf: str, shape: tuple[int, int], settings: Settings, shapes: Shapes
) -> Split:
    """Gate and up of a matrix whose name says that it holds both."""
    reader = mlp_reader(module, shapes)
    down = None if reader is None else matrix_of(reader[1])
    if leaf == "input_linear" and reader is None:
        return Whole(
            None, role="projection"
        )  # Granite's speech encoder: an input projection, and no MLP at all
    if leaf == "proj_1" and down is not None and shape[0] == down[1]:
        return Whole(None, role="mlp_in")  # OpenELM without gates
    if reader is not None and down is not None and shape[0] != 2 * down[1]:
        return misfit(shape, reader[0], 2 * down[1])
    if shape[0] % 2 or shape[0] == 0:
        return misfit(shape, "two halves", None)
    if settings.is_like(*_ALTERNATING):
        return alternating(shape, 0, ("gate", "up"))
    names = ("gate", "up") if leaf in _GATE_FIRST else _order(leaf, settings)
    if names is None:
        return unknown_order(leaf, settings.model_type)
    return pieces(shape, 0, dict.fromkeys(names, shape[0] // 2))


def split_if_doubled(
    module: str, leaf: str, shape: tuple[int, int], settings: Settings, shapes: Shapes
) -> Split:
    """Gate and up of an input projection that turns out twice as wide as its reader reads."""
    reader = mlp_reader(module, shapes)
    down = None if reader is None else matrix_of(reader[1])
    if down is None or not shape[0] or shape[0] != 2 * down[1]:
        return Whole(None)
    if module.endswith("ff.net.0.proj"):  # diffusers' GEGLU
        names: tuple[str, str] | None = ("up", "gate")
    elif leaf == "linear_fc1":  # Megatron
        names = ("gate", "up")
    elif leaf == "ffn_up" and module.replace("ffn_up", "ffn_gate") not in shapes:  # llama.cpp
        names = ("gate", "up")
    else:
        names = _order(leaf, settings)
    if names is None:
        return unknown_order(f"{leaf}, twice as wide as its reader,", settings.model_type)
    return pieces(shape, 0, dict.fromkeys(names, down[1]))


def _order(leaf: str, settings: Settings) -> tuple[str, str] | None:
    """Names of the halves from the top, where the family is known."""
    for beginning, names in _ORDER_OF.get(leaf, {}).items():
        if settings.is_like(beginning):
            return names
    return None
