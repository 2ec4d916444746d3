"""Along which axis a matrix is cut for several devices, from its name and its neighbours' shapes. Pure.

Tensor parallelism cuts what reads the hidden state by rows (column-parallel: queries, keys, values,
gate and up) and what writes to it by columns (row-parallel: outputs, down), in every program that
follows Megatron-LM. What a name does not tell stays unknown: nothing is put together by guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

Shape = tuple[int, ...]
"""Shape of a stored tensor."""

_READERS: Final = frozenset(
    "wq wk wv w1 w3 q_proj k_proj v_proj gate_proj up_proj query_key_value linear_qkv".split()
)
"""Modules that read the hidden state and are cut by rows, each device's rows being whole heads or
neurons that follow one another."""
_INNER_READERS: Final = frozenset("wq_b wkv_b q_b_proj kv_b_proj".split())
"""Modules cut by rows that read another state than the hidden one."""
_GATED: Final = {
    "gate_up_proj": "down_proj", "w13": "w2", "linear_fc1": "linear_fc2",
    "dense_h_to_4h": "dense_4h_to_h", "fc1": "fc2", "fc": "proj",
}  # fmt: skip
"""First layers of an MLP, whose rows on each device may be a gate and its values; and the second
layer, whose columns tell."""
_FUSED: Final = {"qkv_proj": "o_proj", "qkv": "dense"}
"""Modules whose rows on each device are queries, keys and values; and the output, whose columns are
the queries."""
_WRITERS: Final = frozenset(
    "wo w2 o_proj down_proj linear_proj linear_fc2 dense_4h_to_h fc2 out_proj".split()
)
"""Modules that write to the hidden state and are cut by columns."""
_OUTPUTS: Final = frozenset("wo o_proj out_proj linear_proj".split())
"""Those of them that put the heads of an attention together."""
_VOCABULARY: Final = frozenset(
    "tok_embeddings embed embed_tokens word_embeddings vocab_embedding wte output lm_head head"
    " output_layer embed_out final_linear word_embeddings_for_head token_embedding".split()
)
"""Tables of the vocabulary, cut by entries or by the width of the hidden state."""
_COPIED: Final = frozenset(
    "wq_a wkv_a q_a_proj kv_a_proj_with_mqa router position_embeddings position_embedding embed_positions wpe"
    " shared_expert_gate".split()
)
"""Modules of which every device has all."""
_EXPERTS: Final = (".experts.", ".shared_experts.", ".shared_expert.")
"""What stands in the names of experts: the `gate` beside them is the router."""


@dataclass(frozen=True, slots=True)
class Cut:
    """How a tensor was cut."""

    axis: int | None
    """0 or 1; None when every device has all of it."""
    sections: Shape = ()
    """Rows of each device's part that belong to matrices of their own: gate and up, q, k and v. In
    the whole tensor each of them is whole. Empty for one matrix."""


def cut_of(name: str, shapes: Mapping[str, Shape], num: int, width: int) -> Cut | None:
    """How the tensor `name` was cut for `num` devices; None when its name does not tell.

    `shapes` are those of all tensors on one device, `width` that of the hidden state.
    """
    stem, module, leaf = _parts(name)
    shape = shapes[name]
    if len(shape) < 2:
        is_cut = leaf == "bias" and module in _READERS | _INNER_READERS
        return Cut(0 if is_cut else None)
    if len(shape) > 2:
        return None
    if module in _COPIED or (module == "gate" and _has_experts(stem, shapes)):
        return Cut(None)
    if module in _VOCABULARY and leaf == "weight":
        by_width = {width: 0, width // num if width % num == 0 else -1: 1}
        return Cut(by_width[shape[1]]) if shape[1] in by_width else None
    if module in _READERS | _INNER_READERS:
        return Cut(0)
    if module in _WRITERS or _is_output(stem, module, shapes):
        return Cut(1)
    if module == "gate" and shapes.get(f"{stem}fc.{leaf}") == shape:
        return Cut(0)
    if module in _GATED:
        return _gated(shape, shapes.get(f"{stem}{_GATED[module]}.{leaf}"))
    return _fused(shape, shapes.get(f"{stem}{_FUSED[module]}.{leaf}")) if module in _FUSED else None


def hidden_width(shapes: Mapping[str, Shape]) -> int | None:
    """Width of the hidden state: what all its readers have columns and all its writers rows.

    None where they do not agree, or there are none: these are no slices of one transformer.
    """
    return _only(
        shape[0 if module in _WRITERS or _is_output(stem, module, shapes) else 1]
        for name, shape in shapes.items()
        for stem, module, leaf in (_parts(name),)
        if len(shape) == 2
        and leaf == "weight"
        and (
            module in _READERS | _WRITERS | _GATED.keys() | _FUSED.keys()
            or _is_output(stem, module, shapes)
        )
    )


def attention_width(shapes: Mapping[str, Shape]) -> int | None:
    """Columns that the outputs of attention have on one device; None where they do not agree."""
    return _only(
        shape[1]
        for name, shape in shapes.items()
        for stem, module, leaf in (_parts(name),)
        if leaf == "weight"
        and len(shape) == 2
        and (module in _OUTPUTS or (module == "dense" and _is_output(stem, module, shapes)))
    )


def _parts(name: str) -> tuple[str, str, str]:
    """(what stands before the module, with its dot; the module; the last word)."""
    before, _, leaf = name.rpartition(".")
    stem, dot, module = before.rpartition(".")
    return stem + dot, module, leaf


def _is_output(stem: str, module: str, shapes: Mapping[str, Shape]) -> bool:
    """True for the output of an attention called `dense`, and the second layer called `proj`."""
    inside = stem.rstrip(".").rpartition(".")[2]
    is_attention = module == "dense" and "attention" in inside
    return is_attention or (module == "proj" and f"{stem}fc.weight" in shapes)


def _has_experts(stem: str, shapes: Mapping[str, Shape]) -> bool:
    return any(name.startswith(stem + word[1:]) for word in _EXPERTS for name in shapes)


def _gated(shape: Shape, second: Shape | None) -> Cut | None:
    if second is None or len(second) != 2:
        return None
    if shape[0] == 2 * second[1]:
        return Cut(0, (second[1], second[1]))
    return Cut(0) if shape[0] == second[1] else None


def _fused(shape: Shape, output: Shape | None) -> Cut | None:
    if output is None or len(output) != 2:
        return None
    rest = shape[0] - output[1]
    return Cut(0, (output[1], rest // 2, rest // 2)) if rest > 0 and rest % 2 == 0 else None


def _only(numbers: Iterable[int]) -> int | None:
    different = set(numbers)
    return different.pop() if len(different) == 1 else None
