"""Fused attention projections: queries, keys and values in one stored matrix.

A name that means one layout wherever it is used is split by the name (`in_proj_weight` is torch's,
`attn.qkv` timm's, `c_attn` GPT-2's). A name that families use for different layouts is split only
for the families listed here: for others the sizes would add up as well, and the parts be wrong.
Layouts: the modelling code of `transformers`, of the models' own repositories and of llama.cpp.
"""

from __future__ import annotations

import re
from typing import Final

from zoo.layers.fused_delta import split_delta
from zoo.layers.parts import Shapes, Split, Whole, matrix_of, misfit, pieces, unknown_order
from zoo.layers.readers import attention_width
from zoo.layers.settings import Settings

_THIRDS: Final = frozenset(
    "in_proj_weight qkv c_attn attn_qkv vis_attn_qkv W_pack att_proj to_qkv Wqkv".split()
)
"""Names that mean queries, then keys, then values in every family."""
_CONTIGUOUS: Final = {
    "qkv_proj": frozenset(
        "phi3 phi3_v phi4mm phi4_multimodal plamo plamo2 openelm gte new deepseek_vl_v2"
        " unlimited_ocr".split()
    ),
    "query_key_value": frozenset("bailing_moe bailing_moe_v2 bailing_hybrid".split()),
    "wqkv": frozenset("kimi_vl kimi_k25 moonvit".split()),
    "w_qkv": frozenset({"nemo_speechlm"}),
    "in_proj": frozenset({"gradium_phonon_tts", "pocket_tts"}),
}
"""Families that store queries, then keys, then values under names that elsewhere mean other layouts."""
_PER_HEAD: Final = {
    "query_key_value": frozenset("gpt_neox gpt_neox_japanese bloom persimmon fuyu".split()),
    "qkv_proj": frozenset({"minimax"}),
    "in_proj": frozenset({"deberta", "qwen"}),
}
"""Families that store query, key and value of one head together; `qwen` has Qwen-VL's tower."""
_GROUPED: Final = {
    "wqkv": frozenset({"internlm2"}),
    "qkv_proj": frozenset({"hunyuan"}),
}
"""Families that store the queries of a key-value head before its key and its value."""
_IN_ATTENTION: Final = re.compile(r"att[^.]*\.(?:[^.]+\.)?qkv$", re.IGNORECASE)
"""Paths of timm's `attn.qkv`; elsewhere `qkv` has had other layouts (guided diffusion)."""
_FALCON: Final = frozenset({"falcon", "RefinedWeb", "RefinedWebModel"})
"""Model types of Falcon, which has three layouts."""
_HALVES: Final = frozenset({"to_kv", "kv", "Wkv", "kv_linear"})
"""Names that mean keys above values in every family."""


def split_qkv(
    module: str, leaf: str, shape: tuple[int, int], settings: Settings, shapes: Shapes
) -> Split:
    """Query, key and value, in the layout of the name or of the model's family."""
    width = attention_width(module, shapes)
    if leaf == "in_proj_weight":  # torch has this name only where all three are of one width
        return _thirds(leaf, shape, width)
    if leaf == "query_key_value" and settings.is_of(_FALCON):
        return _falcon(leaf, shape, width, settings)
    if leaf == "query_key_value" and settings.flag("multi_query_attention"):
        groups = settings.count("multi_query_group_num")  # ChatGLM
        return _contiguous(leaf, shape, width, settings, kv_heads=groups)
    if leaf == "c_attn" and settings.is_of({"gpt_bigcode"}):
        if not settings.flag("multi_query", default=True):
            return _per_head(shape, settings)
        return _contiguous(leaf, shape, width, settings, kv_heads=1)
    if leaf == "qkv_proj" and settings.is_of({"codegen"}):
        return _codegen(shape)
    if settings.is_of(_PER_HEAD.get(leaf, ())):
        return _per_head(shape, settings)
    if leaf == "linear_qkv" or settings.is_of(_GROUPED.get(leaf, ())):  # Megatron's name
        return _grouped(shape, settings)
    if leaf == "linear1":
        return _parallel(module, leaf, shape, settings, shapes)
    if leaf == "gqkv_proj" and settings.is_of({"hrm_text"}) and shape[0] == 4 * (width or 0):
        return pieces(shape, 0, dict.fromkeys(("gate", "q", "k", "v"), shape[0] // 4))
    if leaf in ("in_proj_qkv", "in_proj_qkvz"):
        return split_delta(module, leaf, shape, settings, shapes)
    if leaf == "qkv" and not _IN_ATTENTION.search(module):
        return unknown_order(leaf, settings.model_type)
    if leaf in _THIRDS or settings.is_of(_CONTIGUOUS.get(leaf, ())):
        return _contiguous(leaf, shape, width, settings, kv_heads=settings.kv_heads)
    return unknown_order(leaf, settings.model_type)


def split_kv(
    module: str, leaf: str, shape: tuple[int, int], settings: Settings, shapes: Shapes
) -> Split:
    """Keys and values without queries."""
    if leaf == "c_attn" and shape[1] == 2 * shape[0]:  # GPT-2's cross-attention
        return pieces(shape, 1, dict.fromkeys("kv", shape[0]))
    is_halved = leaf in _HALVES or (leaf == "kv_proj" and settings.is_of({"jetmoe"}))
    if is_halved and shape[0] and shape[0] % 2 == 0:
        return pieces(shape, 0, dict.fromkeys("kv", shape[0] // 2))
    if leaf == "kv_proj" and settings.is_of({"deepseek_v4"}):
        return Whole(None)  # one matrix that is key and value at once
    return Whole(f"fused_whole: layout of {leaf} {list(shape)}")


def _contiguous(
    leaf: str,
    shape: tuple[int, int],
    width: int | None,
    settings: Settings,
    *,
    kv_heads: int | None,
) -> Split:
    """All queries, then all keys, then all values, along rows (Linear) or columns (GPT-2)."""
    heads, dim, hidden = settings.heads, settings.head_dim, settings.hidden
    if heads is not None and kv_heads is not None and dim is not None:
        sizes = {"q": heads * dim, "k": kv_heads * dim, "v": kv_heads * dim}
        total = sum(sizes.values())
        axes = [axis for axis in (0, 1) if shape[axis] == total]
        if len(axes) == 2:
            axes = [axis for axis in axes if shape[1 - axis] == hidden][:1]
        if axes:
            return pieces(shape, axes[0], sizes)
        if kv_heads != heads and hidden in (None, *shape):
            return misfit(shape, settings.model_type or "the config", total)
    return _thirds(leaf, shape, width)


def _thirds(leaf: str, shape: tuple[int, int], width: int | None) -> Split:
    """Three equal parts, each as wide as the input or as what the output projection reads."""
    for axis in (0, 1):
        if shape[axis] and shape[axis] in (3 * shape[1 - axis], 3 * (width or 0)):
            return pieces(shape, axis, dict.fromkeys("qkv", shape[axis] // 3))
    return Whole(
        f"fused_whole: {leaf} {list(shape)} is not three times as long as wide, no sizes known"
    )


def _per_head(shape: tuple[int, int], settings: Settings) -> Split:
    """For each head its query, key and value rows (NeoX, BLOOM)."""
    heads = settings.heads
    if heads is None or shape[0] % (3 * heads) or shape[0] == 0:
        return misfit(shape, f"{heads} heads", None)
    dim = settings.head_dim
    if dim is not None and dim * heads * 3 != shape[0]:
        return misfit(shape, f"{heads} heads of {dim}", 3 * heads * dim)
    return pieces(shape, 0, dict.fromkeys("qkv", shape[0] // (3 * heads)), groups=heads)


def _parallel(
    module: str, leaf: str, shape: tuple[int, int], settings: Settings, shapes: Shapes
) -> Split:
    """FLUX's single blocks: queries, keys, values and the input of the MLP beside the attention."""
    output = matrix_of(shapes.get(f"{module[: -len(leaf)]}linear2"))
    width = shape[1]
    if output is None or shape[0] - 3 * width != output[1] - width or shape[0] <= 3 * width:
        return unknown_order(leaf, settings.model_type)  # FLUX.2 has a gated MLP there
    return pieces(shape, 0, {"q": width, "k": width, "v": width, "mlp_in": shape[0] - 3 * width})


def _falcon(leaf: str, shape: tuple[int, int], width: int | None, settings: Settings) -> Split:
    """Falcon's three layouts: grouped (40B), multi-query (7B), per head (the first ones)."""
    if settings.flag("new_decoder_architecture", default=settings.count("n_head_kv") is not None):
        return _grouped(shape, settings)  # configs of falcon-40b's own code do not say it
    if settings.flag("multi_query", default=True):
        return _contiguous(leaf, shape, width, settings, kv_heads=1)
    return _per_head(shape, settings)


def _grouped(shape: tuple[int, int], settings: Settings) -> Split:
    """For each key-value head its queries, its key and its value (Falcon 40B, InternLM2)."""
    heads, kv_heads, dim = settings.heads, settings.kv_heads, settings.head_dim
    if heads is None or kv_heads is None or dim is None or heads % kv_heads:
        return misfit(shape, f"{heads} heads, {kv_heads} key-value heads", None)
    if shape[0] != (heads + 2 * kv_heads) * dim:
        return misfit(shape, settings.model_type, (heads + 2 * kv_heads) * dim)
    sizes = {"q": heads // kv_heads * dim, "k": dim, "v": dim}
    return pieces(shape, 0, sizes, groups=kv_heads)


def _codegen(shape: tuple[int, int]) -> Split:
    """Four shards (made for four TPU cores), in each query, value, key."""
    if shape[0] != 3 * shape[1] or shape[0] % 12:
        return misfit(shape, "codegen", 3 * shape[1])
    size = shape[0] // 12
    return pieces(shape, 0, {"q": size, "v": size, "k": size}, groups=4)
