"""What a matrix does in its model, read from the path of its name by tables.

The vocabulary is `ROLES`. A rule is a pattern for the end of a module path in which every number
is written `#`; the first rule that matches decides. Names come from `transformers`, the original
releases on the Hub, timm, diffusers and llama.cpp; the tests hold the names of every family.
"""

from __future__ import annotations

import re
from collections.abc import Container
from functools import lru_cache
from typing import Final

ROLES: Final[dict[str, str]] = {
    "q": "attention query projection",
    "k": "attention key projection",
    "v": "attention value projection",
    "o": "attention output projection",
    "qkv": "fused query, key and value projection",
    "kv": "fused key and value projection",
    "q_a": "query down-projection of latent attention (DeepSeek)",
    "q_b": "query up-projection of latent attention",
    "kv_a": "joint key-value down-projection of latent attention",
    "kv_b": "joint key-value up-projection of latent attention",
    "r": "receptance (RWKV)",
    "cross_q": "query projection of cross-attention",
    "cross_k": "key projection of cross-attention",
    "cross_v": "value projection of cross-attention",
    "cross_o": "output projection of cross-attention",
    "cross_qkv": "fused projection of cross-attention",
    "cross_kv": "fused key and value projection of cross-attention",
    "gate": "activated input projection of a gated MLP",
    "up": "linear input projection of a gated MLP",
    "down": "output projection of a gated MLP",
    "gate_up": "fused gate and up projection",
    "mlp_in": "input projection of a two-layer MLP",
    "mlp_out": "output projection of a two-layer MLP",
    "mlp_gate": "receptance of RWKV's channel mixing",
    "shared_gate": "gate of the shared expert",
    "shared_up": "up projection of the shared expert",
    "shared_down": "down projection of the shared expert",
    "shared_gate_up": "fused gate and up projection of the shared expert",
    "router": "scores of the experts",
    "shared_router": "gate of the shared expert as a whole",
    "ssm_in": "input projection of a state-space block (Mamba)",
    "ssm_x": "projection to time step and state matrices (Mamba)",
    "ssm_dt": "time-step projection (Mamba)",
    "ssm_out": "output projection of a state-space block",
    "ssm_conv": "causal depthwise convolution of a state-space block",
    "rnn_in": "input weights of a recurrent layer",
    "rnn_hidden": "hidden-to-hidden weights of a recurrent layer",
    "rnn_proj": "output projection of an LSTM",
    "embedding": "token embedding",
    "position_embedding": "absolute position embedding",
    "type_embedding": "segment embedding",
    "relative_position": "relative position biases or embeddings",
    "lm_head": "projection to the vocabulary",
    "head_dense": "dense layer before the vocabulary projection",
    "pooler": "pooler of the first token",
    "classifier": "classification head",
    "projection": "projection between spaces (modalities, widths)",
    "patch_embedding": "image patches to tokens",
    "conv": "convolution",
    "parameter": "learned tokens, prompts and other matrices that are no linear map",
    "dense": "any other dense matrix",
}
"""Every role and what it means."""

_CROSS: Final = re.compile(
    r"(?:encoder_attn|encdecattention|crossattention|cross_attn|cross_attention|multihead_attn|attn2)"
    r"(?:\.|$)",
    re.IGNORECASE,
)
"""Words of a path that say cross-attention."""
_SHARED: Final = re.compile(r"(?:shared_experts?|shared_mlp|shared_expert_mlp)\.|_shexp$")
"""Words of a path that say shared expert."""
_ATTENTION: Final = {"q", "k", "v", "o", "qkv", "kv"}
"""Roles that become `cross_*` in cross-attention."""
_GATED: Final = {"gate", "up", "down", "gate_up"}
"""Roles that become `shared_*` in a shared expert."""

_ATT: Final = r"(?:\w*attn\w*|\w*attention\w*|att|attn\.processor|attentions\.#)"
"""Pattern for the module of an attention."""
_SSM: Final = r"(?:mixer|mamba|ssm|mamba_block)"
"""Pattern for the module of a state-space block."""

# Each rule is (pattern for the end of the path, role); case is ignored, numbers are written #.
_RULES: Final[tuple[tuple[str, str], ...]] = (
    # recurrent layers, torch
    (r"weight_ih(?:_l\d+)?(?:_reverse)?", "rnn_in"),
    (r"weight_hh(?:_l\d+)?(?:_reverse)?", "rnn_hidden"),
    (r"weight_hr(?:_l\d+)?(?:_reverse)?", "rnn_proj"),
    # mixture of experts
    (r"shared_expert_gate", "shared_router"),
    (r"ffn_gate_inp_shexp", "shared_router"),
    (
        r"(?:mlp|block_sparse_moe|moe|ffn|feed_forward|moe_layer|sparse_moe)\.gate(?:\.wg)?",
        "router",
    ),
    (r"router(?:\.layer|\.classifier|\.proj)?|ffn_gate_inp|gate_network|expert_gate", "router"),
    # state-space blocks
    (_SSM + r"\.in_proj|ssm_in", "ssm_in"),
    (_SSM + r"\.x_proj|ssm_x", "ssm_x"),
    (_SSM + r"\.dt_proj|ssm_dt", "ssm_dt"),
    (_SSM + r"\.out_proj|ssm_out", "ssm_out"),
    (_SSM + r"\.conv1d|ssm_conv1d", "ssm_conv"),
    # RWKV: channel mixing has its own key, value and receptance
    (r"(?:feed_forward|ffn)\.key", "mlp_in"),
    (r"(?:feed_forward|ffn)\.value", "mlp_out"),
    (r"(?:feed_forward|ffn)\.receptance", "mlp_gate"),
    (_ATT + r"\.receptance", "r"),
    # latent attention
    (r"q_a_proj|attn_q_a|wq_a", "q_a"),
    (r"q_b_proj|attn_q_b|wq_b", "q_b"),
    (r"kv_a_proj(?:_with_mqa)?|attn_kv_a_mqa|wkv_a", "kv_a"),
    (r"kv_b_proj|attn_kv_b|wkv_b", "kv_b"),
    # fused attention
    (r"crossattention\.c_attn|to_kv|kv_proj", "kv"),
    (
        r"qkv_proj|c_attn|query_key_value|wqkv|in_proj_weight|w_pack|att_proj|to_qkv|qkv|attn_qkv",
        "qkv",
    ),
    (_ATT + r"\.in_proj", "qkv"),
    # attention
    (r"q_proj(?:_weight)?|query|query_proj|q_lin|wq|to_q|attn_q|q_attn", "q"),
    (r"k_proj(?:_weight)?|key|key_proj|k_lin|wk|to_k|attn_k", "k"),
    (r"v_proj(?:_weight)?|value|value_proj|v_lin|wv|to_v|attn_v", "v"),
    (_ATT + r"\.q", "q"),
    (_ATT + r"\.k", "k"),
    (_ATT + r"\.v", "v"),
    (r"o_proj|to_out(?:\.#)?|out_lin|attn_output|attn_out", "o"),
    (
        _ATT + r"\.(?:o|wo|out_proj|dense|proj|c_proj|output|output\.dense|projection|to_out\.#)",
        "o",
    ),
    # patches, positions, tokens
    (
        r"patch_embed(?:ding)?s?(?:\.proj(?:ection)?|\.proj\.#"
        r"|\.patch_embeddings?(?:\.projection)?)?",
        "patch_embedding",
    ),
    (r"visual\.conv1|patch_embedder\.proj|v\.patch_embd", "patch_embedding"),
    (
        r"(?:\w*_)?embed_positions|(?:\w*_)?position_embeddings?|position_embedding_table|wpe"
        r"|(?:\w*_)?pos_embed(?:ding)?s?|pos_emb|positional_embedding|position_embd",
        "position_embedding",
    ),
    (r"token_type_embeddings|token_types|segment_embeddings?", "type_embedding"),
    (
        r"relative_attention_bias|relative_position_bias_table|rel_pos_[hw]|rel_embeddings"
        r"|distance_embedding|attn_rel_b",
        "relative_position",
    ),
    (
        r"(?:bias)?\blm_head|embed_out|cls\.predictions\.decoder|predictions\.decoder"
        r"|lm_head\.decoder|shared_head\.head"
        r"|vocab_projector|(?:^|(?<=model\.))(?:head|output|proj_out)",
        "lm_head",
    ),
    (
        r"predictions\.transform\.dense|lm_head\.dense|vocab_transform|(?<!\w)head\.dense"
        r"|predictions\.dense",
        "head_dense",
    ),
    (
        r"embed_tokens(?:_per_layer)?|word_embeddings?|wte|tok_embeddings?|token_embeddings?"
        r"|token_embd"
        r"|embed_in|tokens_embed|embeddings?|shared|emb|embed|char_embeddings",
        "embedding",
    ),
    # heads and projections
    (r"pooler(?:\.dense|\.dense_act)?", "pooler"),
    (
        r"(?:\w*classifier)(?:\.#|\.dense|\.out_proj)?|score|seq_relationship|qa_outputs",
        "classifier",
    ),
    (
        r"(?:text|visual|image|audio|feature)_projection(?:\.projection)?|project_(?:in|out)"
        r"|embedding_hidden_mapping_in|(?:merger|multi_modal_projector|mm_projector)(?:\.[\w#]+)*"
        r"|embedding_projection|eh_proj|visual\.proj",
        "projection",
    ),
    # gated MLPs
    (
        r"gate_up_proj|up_gate_proj|w12|weights_in|(?-i:mlp\.Wi)|input_linear|gate_and_up_proj",
        "gate_up",
    ),
    (r"gate_proj|wi_0|ffn_gate|ffn_gate_exps|ffn_gate_shexp|linear_fc1_gate", "gate"),
    (r"up_proj|wi_1|ffn_up|ffn_up_exps|ffn_up_shexp|experts\.mlp\.v1|experts\.#\.v1", "up"),
    (r"down_proj|ffn_down|ffn_down_exps|ffn_down_shexp|weights_out|output_linear", "down"),
    (r"(?:feed_forward|ffn|mlp|experts\.#|experts\.mlp|shared_experts?)\.w1", "gate"),
    (r"(?:feed_forward|ffn|mlp|experts\.#|experts\.mlp|shared_experts?)\.w2", "down"),
    (r"(?:feed_forward|ffn|mlp|experts\.#|shared_experts?)\.w3", "up"),
    # two-layer MLPs
    (
        r"c_fc|dense_h_to_4h|intermediate\.dense|intermediate_dense|fc_in|lin1|pwconv1|ff_proj|#\.ffn"
        r"|ff\.net\.#\.proj",
        "mlp_in",
    ),
    (
        r"dense_4h_to_h|mlp\.c_proj|output\.dense|output_dense|fc_out|lin2|pwconv2|ff_out|ffn_output"
        r"|ff\.net\.#",
        "mlp_out",
    ),
    (r"#\.(?:[\w.]+\.)?(?:fc1|linear1|wi)|experts\.fc1", "mlp_in"),
    (r"#\.(?:[\w.]+\.)?(?:fc2|linear2|wo)|experts\.fc2", "mlp_out"),
    # names of plain parameters
    (
        r"(?:\w*_)?tokens?|prompts?|latents?|queries|\w*scale\w*|time_\w+|final_logits_bias"
        r"|modulation|scale_shift_table",
        "parameter",
    ),
)
"""The rules in their order: the first that matches decides."""
_TABLE: Final = tuple(
    (re.compile(rf"(?:^|\.)(?:{pattern})$", re.IGNORECASE), role) for pattern, role in _RULES
)
"""The rules, compiled."""


@lru_cache(maxsize=65_536)
def role_of(path: str) -> str | None:
    """Role of a module path (numbers written `#`, no `.weight`); None when no rule knows it."""
    for pattern, role in _TABLE:
        if pattern.search(path):
            if role in _ATTENTION and _CROSS.search(path):
                return f"cross_{role}"
            if role in _GATED and _SHARED.search(path):
                return f"shared_{role}"
            return role
    return None


def with_siblings(module: str, role: str, modules: Container[str]) -> str:
    """The role, corrected by what is stored beside it: gated and plain MLPs share their names."""
    before, _, leaf = module.rpartition(".")
    beside = f"{before}." if before else ""

    def has(*leaves: str) -> bool:
        """True when any of these modules is stored beside it."""
        return any(beside + other in modules for other in leaves)

    if leaf == "wo" and has("wi_0"):
        return "down"
    if leaf == "Wo" and has("Wi"):
        return "down"
    if leaf == "w3" and has("w12"):
        return "down"
    if leaf in ("w1", "w2") and not has("w3", "v1"):
        return {"gate": "mlp_in", "down": "mlp_out"}.get(role, role)
    if leaf in ("up_proj", "down_proj") and not has("gate_proj", "gate_up_proj"):
        return {"up": "mlp_in", "down": "mlp_out"}.get(role, role)
    if leaf in ("ffn_up", "ffn_down") and not has("ffn_gate"):
        return {"up": "mlp_in", "down": "mlp_out"}.get(role, role)
    return role
