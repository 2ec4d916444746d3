"""Fused projections: which rows or columns of a stored matrix belong to which part.

A layout is applied only where the name or the family is known to have it and its sizes add up to the
matrix exactly; otherwise the answer is a `Whole` with the reason, and the matrix is analysed as
stored.
"""

from __future__ import annotations

from typing import Final

from zoo.layers.fused_attention import split_kv, split_qkv
from zoo.layers.fused_delta import split_rates
from zoo.layers.fused_mlp import split_gate_up, split_if_doubled
from zoo.layers.fused_query import split_latent_down, split_latent_up, split_query
from zoo.layers.fused_states import split_gates, split_states, split_step
from zoo.layers.parts import Shapes, Split, Whole
from zoo.layers.readers import leaf_of
from zoo.layers.settings import Settings

_MIXED: Final = {
    "modulation.projection_in": "query, context and gates of focal modulation",
    "gateway.gate": "the gates of two inputs",
}
"""Ends of paths of matrices whose parts are too short, or too alike, to be measured apart."""


def split_matrix(
    module: str, role: str, shape: tuple[int, int], settings: Settings, shapes: Shapes
) -> Split:
    """Parts of a 2-D tensor. `shapes` holds every tensor of the model by module path."""
    leaf = leaf_of(module)
    base = role.removeprefix("cross_").removeprefix("shared_")
    if base == "qkv":
        return split_qkv(module, leaf, shape, settings, shapes)
    if base == "kv":
        return split_kv(module, leaf, shape, settings, shapes)
    if base in ("q", "q_b"):
        return split_query(module, leaf, shape, settings, shapes)
    if base == "kv_a":
        return split_latent_down(module, leaf, shape, settings, shapes)
    if base == "kv_b":
        return split_latent_up(module, leaf, shape, settings, shapes)
    if base == "gate_up":
        return split_gate_up(module, leaf, shape, settings, shapes)
    if base in ("rnn_in", "rnn_hidden"):
        return split_gates(module, leaf, shape, shapes)
    if base == "ssm_in":
        return split_states(module, leaf, shape, settings, shapes)
    if base == "decay":
        return split_rates(leaf, shape, settings)
    if base == "ssm_x":
        return split_step(module, leaf, shape, shapes)
    if base == "modulation" and shape[1] and shape[0] % shape[1] == 0 and shape[0] > shape[1]:
        return Whole(f"fused_whole: {shape[0] // shape[1]} scales, shifts and gates in one matrix")
    if mixed := _MIXED.get(".".join(module.split(".")[-2:])):
        return Whole(f"fused_whole: {mixed}")
    if base in ("mlp_in", "up", "projection", "dense"):
        return split_if_doubled(module, leaf, shape, settings, shapes)
    return Whole(None)
