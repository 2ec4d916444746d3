"""What a matrix does in its model, read from the path of its name by tables.

The vocabulary is `ROLES`, the tables are those of `role_rules.py`.
"""

from __future__ import annotations

import re
from collections.abc import Container
from functools import lru_cache
from typing import Final

from zoo.layers.role_rules import RULES, WEAK_RULES

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
    "o_a": "output down-projection of latent attention, by groups of heads",
    "o_b": "output up-projection of latent attention",
    "attn_gate": "gate on what an attention or linear-attention block gives out",
    "sampling": "where deformable attention reads and how it weighs what it finds",
    "indexer": "scores that pick the keys which sparse attention reads (DeepSeek-V3.2)",
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
    "mlp_hidden": "projection between the first and the last of an MLP of more than two layers",
    "mlp_gate": "receptance of RWKV's channel mixing",
    "shared_gate": "gate of the shared expert",
    "shared_up": "up projection of the shared expert",
    "shared_down": "down projection of the shared expert",
    "shared_gate_up": "fused gate and up projection of the shared expert",
    "router": "scores of the experts",
    "shared_router": "gate of the shared expert as a whole",
    "decay": "rates of decay and update of a linear attention (RWKV, gated delta nets)",
    "ssm_in": "input projection of a state-space block (Mamba) or short convolution",
    "ssm_x": "projection to time step and state matrices (Mamba)",
    "ssm_dt": "time-step projection (Mamba)",
    "ssm_out": "output projection of a state-space block",
    "ssm_conv": "causal depthwise convolution of a state-space or linear-attention block",
    "rnn_in": "input weights of a recurrent layer",
    "rnn_hidden": "hidden-to-hidden weights of a recurrent layer",
    "rnn_proj": "output projection of an LSTM",
    "embedding": "token embedding",
    "position_embedding": "absolute position embedding",
    "type_embedding": "segment embedding",
    "relative_position": "relative position biases or embeddings, and their projections",
    "lm_head": "projection to the vocabulary",
    "head_dense": "dense layer before the vocabulary projection",
    "pooler": "pooler of the first token",
    "classifier": "classification head",
    "head": "any other head: boxes, masks, scores, durations",
    "projection": "projection between spaces (modalities, widths)",
    "patch_embedding": "image patches to tokens",
    "conv": "convolution",
    "modulation": "scales, shifts and gates that a condition sets (adaptive normalisation)",
    "parameter": "learned tokens, prompts and other matrices that are no linear map",
    "dense": "any other dense matrix",
}
"""Every role and what it means."""

_CROSS: Final = re.compile(
    r"(?:encoder_attn|second_sub_layer|encdecattention|crossattention|cross_attn|cross_attention"
    r"|multihead_attn|attn2)(?:\.|$)|cross_attn_[qkvo]$|(?:^|\.)ca_\w+$",
    re.IGNORECASE,
)
"""Words of a path that say cross-attention."""
_SHARED: Final = re.compile(r"(?:shared?_experts?|shared_mlp|shared_expert_mlp)\.|_shexp$")
"""Words of a path that say shared expert."""
_ATTENTION: Final = {"q", "k", "v", "o", "qkv", "kv"}
"""Roles that become `cross_*` in cross-attention."""
_GATED: Final = {"gate", "up", "down", "gate_up"}
"""Roles that become `shared_*` in a shared expert."""

_GATES: Final = ("gate_proj", "gate_up_proj", "up_gate_proj", "linear_gate", "gate_and_up_proj")
"""Names that say that the MLP in which they are is gated."""
_OUTPUTS: Final = frozenset({"out_proj", "o_proj", "proj", "output_proj", "out", "projection"})
"""Names of what reads the heads of an attention, where queries or keys are stored beside it."""
_NUMBERED_MLP: Final = re.compile(
    r"((?:.*\.)?(?:\w*mlps?|ffn?|feed_forward)\.(?:\d+\.)?(?:layers\.|net\.|layer_?|fc|ff)?)"
    r"(\d{1,3})"
)
"""Layers of an MLP that is a list."""
_MAX_GAP: Final = 5
"""Layers without weights between two of a list: norm, activation, dropout."""
_WRAPPED: Final = re.compile(r"\.(?:linear|lin|dense|inner|module|layer)$")
"""Ends of paths of modules that hold one matrix: the name of the projection comes before."""


def _compiled(rules: tuple[tuple[str, str], ...]) -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple(
        (re.compile(rf"(?:^|\.)(?:{pattern})$", re.IGNORECASE), role) for pattern, role in rules
    )


_TABLE: Final = _compiled(RULES)
"""The rules, compiled."""
_WEAK_TABLE: Final = _compiled(WEAK_RULES)
"""The weaker rules, compiled."""


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
    inside = _WRAPPED.sub("", path)
    return role_of(inside) if inside != path else None


@lru_cache(maxsize=65_536)
def weak_role_of(path: str) -> str | None:
    """Role of a path that `role_of` does not know, if it is that of a matrix and no kernel."""
    return next((role for pattern, role in _WEAK_TABLE if pattern.search(path)), None)


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
    if leaf in ("w1", "w2", "c_proj") and has("c_proj") and has("w2"):  # Qwen 1
        return {"w1": "up", "w2": "gate", "c_proj": "down"}[leaf]
    if leaf in ("w1", "w2") and not has("w3", "v1"):
        return {"gate": "mlp_in", "down": "mlp_out"}.get(role, role)
    if leaf in ("up_proj", "down_proj") and not has(*_GATES):
        return {"up": "mlp_in", "down": "mlp_out"}.get(role, role)
    if leaf in ("ffn_up", "ffn_down") and not has("ffn_gate"):
        return {"up": "mlp_in", "down": "mlp_out"}.get(role, role)
    if leaf in ("wo", "out_proj") and has("wqkv", "Wqkv"):
        return "o"
    if leaf in ("fc1", "fc2") and has("fc3"):
        return {"mlp_in": "gate", "mlp_out": "down"}.get(role, role)
    if leaf == "fc2" and has("fc11"):
        return "down"
    if role in ("dense", "projection") and has("q_proj", "k_proj", "query", "to_q", "q", "qkv"):
        return "o" if leaf in _OUTPUTS else role
    if role in ("dense", "projection", "mlp_in", "mlp_out"):
        return _in_list(module, modules) or role
    return role


def _in_list(module: str, modules: Container[str]) -> str | None:
    """Role in an MLP whose layers are numbered: the first, the last or one in between."""
    match = _NUMBERED_MLP.fullmatch(module)
    if match is None:
        return None
    before, number = match[1], int(match[2])
    if f"{before.removesuffix('layers.')}proj_in" in modules:
        return "mlp_hidden"  # SAM: proj_in, layers, proj_out
    is_first = not any(f"{before}{i}" in modules for i in range(number))
    is_last = not any(f"{before}{i}" in modules for i in range(number + 1, number + _MAX_GAP))
    if is_first and is_last:
        return None
    return "mlp_in" if is_first else "mlp_out" if is_last else "mlp_hidden"
