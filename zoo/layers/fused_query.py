"""Queries stored with something else: with the gate of their head's output, and latent attention.

Layouts: `transformers` (Qwen3-Next, DeepSeek-V2 and V3), llama.cpp for the same models.
"""

from __future__ import annotations

from typing import Final

from zoo.layers.parts import Shapes, Split, Whole, misfit, pieces, unknown_order
from zoo.layers.readers import attention_width
from zoo.layers.settings import Settings

_GATED: Final = ("qwen3_next", "qwen3next", "qwen3_5", "qwen35", "qwen4_exp")
"""Beginnings of the families that store each head's query above the gate of its output."""


def split_query(
    module: str, leaf: str, shape: tuple[int, int], settings: Settings, shapes: Shapes
) -> Split:
    """Query and gate of each head, where the matrix is twice as wide as the heads."""
    if leaf in ("q_gate_proj", "q_b_proj"):
        return _query_and_gate(leaf, shape, settings)
    if leaf not in ("q_proj", "attn_q", "wq") or settings.count("kv_lora_rank") is not None:
        return Whole(None)  # latent attention: heads of queries are wider than those of values
    heads, dim = settings.heads, settings.head_dim
    declared = None if heads is None or dim is None else heads * dim
    width = attention_width(module, shapes) or declared
    if not width or shape[0] != 2 * width:
        return Whole(None)
    if not settings.is_like(*_GATED):
        return unknown_order(f"{leaf}, twice as wide as its heads,", settings.model_type)
    if heads is None or width % heads:
        return misfit(shape, f"{heads} heads", None)
    size = width // heads
    return pieces(shape, 0, {"q": size, "gate": size}, groups=heads)


def split_latent_down(
    module: str, leaf: str, shape: tuple[int, int], settings: Settings, shapes: Shapes
) -> Split:
    """Latent keys and values above the part of the key that carries the position."""
    up = leaf.replace("kv_a_proj_with_mqa", "kv_b_proj").replace("kv_a", "kv_b").replace("_mqa", "")
    beside = shapes.get(module[: -len(leaf)] + up)
    rank = settings.count("kv_lora_rank") or (beside[-1] if beside else None)
    if rank is None or not 0 < rank <= shape[0]:
        return unknown_order(leaf, settings.model_type)
    if rank == shape[0]:
        return Whole(None)
    return pieces(shape, 0, {"latent": rank, "k_rope": shape[0] - rank})


def split_latent_up(
    module: str, leaf: str, shape: tuple[int, int], settings: Settings, shapes: Shapes
) -> Split:
    """For each head its keys, without those that carry the position, above its values.

    The heads are counted by what the output projection reads, for layers of one model may differ.
    """
    value, width = settings.count("v_head_dim"), attention_width(module, shapes)
    key, heads = settings.count("qk_nope_head_dim"), settings.heads
    if value is None or heads is None:
        return unknown_order(leaf, settings.model_type)
    if width is not None and width % value == 0:
        heads = width // value
        key = shape[0] // heads - value
    if key is None or key <= 0 or shape[0] != heads * (key + value):
        return misfit(shape, f"{heads} heads of {key} and {value}", None)
    return pieces(shape, 0, {"k": key, "v": value}, groups=heads)


def _query_and_gate(leaf: str, shape: tuple[int, int], settings: Settings) -> Split:
    """For each head its query, with and without position, above the gate of its values (A.X K2)."""
    nope, rope = settings.count("qk_nope_head_dim"), settings.count("qk_rope_head_dim")
    value, heads = settings.count("v_head_dim"), settings.heads
    if nope is None or rope is None or value is None or heads is None:
        return unknown_order(leaf, settings.model_type) if leaf == "q_gate_proj" else Whole(None)
    if leaf == "q_b_proj" and not settings.is_like("axk2"):
        return Whole(None)  # queries alone, in all other families
    if shape[0] != heads * (nope + rope + value):
        return misfit(shape, f"{heads} heads of {nope + rope} and {value}", None)
    return pieces(shape, 0, {"q": nope + rope, "gate": value}, groups=heads)
