"""Fused projections of recurrent layers, state-space blocks and short convolutions.

Layouts: torch's documentation for LSTM and GRU; `transformers` for Mamba, Mamba-2, Zamba and LFM2.
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
from zoo.layers.settings import Settings

_MAMBA: Final = frozenset(
    "mamba falcon_mamba jamba mamba2 bamba nemotron_h granitemoehybrid falcon_h1 zamba2 nemo_speechlm"
    " nemotron_h_omni falcon-h1 granitehybrid".split()
)
"""Model types whose input projection has Mamba's layout or Mamba-2's."""
_PLAIN: Final = (("conv1d",), ("out_proj",), ("A_log", "_fp32_params.A_log"))
_LLAMA_CPP: Final = (("ssm_conv1d",), ("ssm_out",), ("ssm_a",))
"""Names of the convolution, the output projection and the decay rates beside an input projection."""
_GATES: Final = {4: "ifgo", 3: "rzn"}
"""Names of the gates of a recurrent layer by their number: of an LSTM, of a GRU."""


def split_gates(module: str, leaf: str, shape: tuple[int, int], shapes: Shapes) -> Split:
    """LSTM (input, forget, cell, output) or GRU (reset, update, new) gates; torch's order."""
    before = module[: -len(leaf)]
    tail = leaf[len("weight_ih") :]
    hidden_weight = shapes.get(f"{before}weight_hh{tail}")
    if hidden_weight is None or len(hidden_weight) != 2:
        return Whole("fused_whole: weight_hh is not in the checkpoint")
    projected = shapes.get(f"{before}weight_hr{tail}")
    hidden = projected[1] if projected is not None and len(projected) == 2 else hidden_weight[1]
    ratio = hidden_weight[0] // hidden if hidden and hidden_weight[0] % hidden == 0 else 0
    if ratio == 1:
        return Whole(None)
    if ratio not in _GATES or shape[0] != ratio * hidden:
        return misfit(shape, f"{hidden} hidden units", None)
    return pieces(shape, 0, dict.fromkeys(_GATES[ratio], hidden))


def split_states(
    module: str, leaf: str, shape: tuple[int, int], settings: Settings, shapes: Shapes
) -> Split:
    """Input projection of a state-space block or a short convolution."""
    if leaf == "projections":
        return unknown_order(leaf, settings.model_type)  # StripedHyena
    if settings.is_like("lfm"):
        if shape[0] != 3 * shape[1]:
            return misfit(shape, "B, C and x", 3 * shape[1])
        return pieces(shape, 0, dict.fromkeys("BCx", shape[1]))
    if settings.is_of({"zamba"}) and shape[0] and shape[0] % 2 == 0:
        return alternating(shape, 0, "xz")
    if settings.families and not settings.is_of(_MAMBA):
        return unknown_order(leaf, settings.model_type)
    return _mamba(module, leaf, shape, shapes)


def split_step(module: str, leaf: str, shape: tuple[int, int], shapes: Shapes) -> Split:
    """Mamba's second projection: the step's factor, then B and C; sizes from beside it."""
    before = module[: -len(leaf)]
    names = ("ssm_dt", "ssm_a") if leaf == "ssm_x" else ("dt_proj", "A_log")
    step, decay = (matrix_of(shapes.get(before + name)) for name in names)
    if step is None or decay is None:
        return Whole(f"fused_whole: {' or '.join(names)} is not in the checkpoint")
    sizes = {"dt": step[1], "B": decay[1], "C": decay[1]}
    if sum(sizes.values()) != shape[0]:
        return misfit(shape, "dt, B and C", sum(sizes.values()))
    return pieces(shape, 0, sizes)


def _mamba(module: str, leaf: str, shape: tuple[int, int], shapes: Shapes) -> Split:
    """Mamba: x, z. Mamba-2: z, x, B, C, dt; sizes from the tensors beside it."""
    before = module[: -len(leaf)]
    names = _LLAMA_CPP if leaf == "ssm_in" else _PLAIN
    conv, out, decay = (
        next((shapes[before + name] for name in alike if before + name in shapes), None)
        for alike in names
    )
    if conv is None or out is None or decay is None or len(out) != 2:
        return Whole("fused_whole: conv1d, out_proj or A_log is not in the checkpoint")
    if len(decay) == 2 and decay[1] == 1:
        decay = decay[:1]  # llama.cpp
    inner = out[1]
    if conv[0] == inner and shape[0] == 2 * inner:
        return pieces(shape, 0, {"x": inner, "z": inner})
    state, odd = divmod(conv[0] - inner, 2)
    if len(decay) != 1 or odd or state <= 0 or shape[0] != inner + conv[0] + decay[0]:
        return misfit(shape, f"{inner} channels", None)
    sizes = {"z": inner, "x": inner, "B": state, "C": state, "dt": decay[0]}
    return pieces(shape, 0, sizes)
