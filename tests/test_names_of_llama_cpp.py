"""Roles against the table of names that llama.cpp keeps for its conversions, made by other people."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Final

import pytest
from gguf.constants import TENSOR_NAMES
from gguf.tensor_mapping import TensorNameMap

from zoo.layers.tensor_names import place

_UP: Final = "up mlp_in gate_up"
ROLES_OF: Final = {
    "TOKEN_EMBD": "embedding", "TOKEN_TYPES": "type_embedding", "POS_EMBD": "position_embedding",
    "OUTPUT": "lm_head", "CLS_OUT": "classifier", "PER_LAYER_TOKEN_EMBD": "embedding",
    "ATTN_QKV": "qkv", "ATTN_Q": "q", "ATTN_K": "k", "ATTN_V": "v", "ATTN_OUT": "o",
    "ATTN_GATE": "attn_gate", "ATTN_Q_A": "q_a", "ATTN_Q_B": "q_b", "ATTN_KV_A_MQA": "kv_a",
    "ATTN_KV_B": "kv_b", "ATTN_K_B": "kv_b", "ATTN_V_B": "kv_b", "INDEXER_PROJ": "indexer",
    "INDEXER_ATTN_K": "indexer", "INDEXER_ATTN_Q_B": "indexer",
    "FFN_GATE_INP": "router", "FFN_GATE_INP_SHEXP": "shared_router",
    "FFN_UP": _UP, "FFN_GATE": "gate", "FFN_DOWN": "down mlp_out",
    "FFN_UP_EXP": "up mlp_in", "FFN_GATE_EXP": "gate", "FFN_DOWN_EXP": "down mlp_out",
    "FFN_GATE_UP_EXP": "gate_up", "FFN_UP_SHEXP": "shared_up", "FFN_GATE_SHEXP": "shared_gate",
    "FFN_DOWN_SHEXP": "shared_down",
    "SSM_IN": "ssm_in qkv", "SSM_CONV1D": "ssm_conv", "SSM_X": "ssm_x", "SSM_DT": "ssm_dt decay",
    "SSM_OUT": "ssm_out o", "SSM_BETA_ALPHA": "decay",
    "SHORTCONV_CONV": "ssm_conv", "SHORTCONV_INPROJ": "ssm_in", "SHORTCONV_OUTPROJ": "ssm_out",
    "TIME_MIX_KEY": "k", "TIME_MIX_VALUE": "v", "TIME_MIX_RECEPTANCE": "r q",
    "TIME_MIX_GATE": "attn_gate", "TIME_MIX_OUTPUT": "o", "TIME_MIX_G1": "attn_gate",
    "TIME_MIX_G2": "attn_gate", "TIME_MIX_W1": "decay", "TIME_MIX_W2": "decay",
    "TIME_MIX_A1": "decay", "TIME_MIX_A2": "decay", "TIME_MIX_V1": "decay", "TIME_MIX_V2": "decay",
    "CHANNEL_MIX_KEY": "mlp_in", "CHANNEL_MIX_RECEPTANCE": "mlp_gate", "CHANNEL_MIX_VALUE": "mlp_out",
    "ENC_ATTN_Q": "q", "ENC_ATTN_K": "k", "ENC_ATTN_V": "v", "ENC_ATTN_OUT": "o",
    "ENC_ATTN_REL_B": "relative_position", "ENC_FFN_GATE": "gate", "ENC_FFN_UP": _UP,
    "ENC_FFN_DOWN": "down mlp_out", "DEC_ATTN_Q": "q", "DEC_ATTN_K": "k", "DEC_ATTN_V": "v",
    "DEC_ATTN_OUT": "o", "DEC_ATTN_REL_B": "relative_position", "DEC_CROSS_ATTN_Q": "cross_q",
    "DEC_CROSS_ATTN_K": "cross_k", "DEC_CROSS_ATTN_V": "cross_v", "DEC_CROSS_ATTN_OUT": "cross_o",
    "DEC_FFN_GATE": "gate", "DEC_FFN_UP": _UP, "DEC_FFN_DOWN": "down mlp_out",
    "VISEXP_ATTN_QKV": "qkv", "VISEXP_ATTN_OUT": "o", "VISEXP_GATE": "gate", "VISEXP_UP": "up",
    "VISEXP_DOWN": "down", "V_ENC_EMBD_PATCH": "patch_embedding",
    "V_ENC_EMBD_POS": "position_embedding", "V_ENC_ATTN_QKV": "qkv", "V_ENC_ATTN_Q": "q",
    "V_ENC_ATTN_K": "k", "V_ENC_ATTN_V": "v", "V_ENC_ATTN_O": "o", "V_ENC_FFN_UP": f"{_UP} gate",
    "V_ENC_FFN_GATE": "gate", "V_ENC_FFN_DOWN": "down mlp_out",
    "A_ENC_ATTN_Q": "q", "A_ENC_ATTN_K": "k", "A_ENC_ATTN_V": "v", "A_ENC_OUTPUT": "o",
    "A_ENC_FFN_UP": _UP, "A_ENC_FFN_GATE": "gate", "A_ENC_FFN_DOWN": "down mlp_out",
}  # fmt: skip
"""Our roles of llama.cpp's tensors."""

_BESIDE: Final = "what is stored beside it decides"
_PLAIN: Final = "the name says too little"
OTHERWISE: Final = {
    "transformer.h.3.mlp.w?": f"{_BESIDE}: with c_proj they are Qwen's",
    "*.mixer.out_proj": f"{_BESIDE}: with Wqkv it is an attention's",
    "*blocks.3.wo": f"{_BESIDE}: with wqkv it is an attention's",
    "*blocks.3.mlp.fc?": f"{_BESIDE}: with fc0 they are the first and the last",
    "*.mlp.experts.mlp.w1": f"{_BESIDE}: without v1 there is no gate",
    "*.moe.linear*": f"{_BESIDE}: the number of the expert, which this table leaves out",
    "model.transformer.*ff_*": "OLMo's names of blocks are also those of its head and its gate",
    "*.feed_forward.down_proj": "listed with the shared experts in error",
    "*.self_attn.linear_attn": _PLAIN,
    "*.mlp.linear_?": _PLAIN,
    "*.mlp.c_fc2": _PLAIN,
    "transformer_encoder.3.*": _PLAIN,
    "encoder": _PLAIN,
    "word_embeddings_for_head": _PLAIN,
    "head.out": _PLAIN,
    "vision_model.conv1": _PLAIN,
    "*.patch_embedder.input_proj": _PLAIN,
}
"""Names that the tables do not know, or know otherwise, and why."""


def names() -> Iterator[tuple[str, str]]:
    for table in (TensorNameMap.mappings_cfg, TensorNameMap.block_mappings_cfg):
        for kind, known in table.items():
            for name in (*known, TENSOR_NAMES[kind]) if kind.name in ROLES_OF else ():
                yield kind.name, name.format(bid=3, xid=5)


@pytest.mark.parametrize("kind", ROLES_OF)
def test_names_have_the_roles_that_llama_cpp_gives_them(kind: str) -> None:
    ours = {}
    for _, name in (pair for pair in names() if pair[0] == kind):
        where = place(f"{name}.weight")
        if not any(fnmatchcase(name, pattern) for pattern in OTHERWISE):
            ours[name] = where.role or where.weak_role
    assert {n: role for n, role in ours.items() if role not in ROLES_OF[kind].split()} == {}


def test_every_exception_is_a_name_of_llama_cpp() -> None:
    every = [name for _, name in names()]
    assert [p for p in OTHERWISE if not any(fnmatchcase(n, p) for n in every)] == []
