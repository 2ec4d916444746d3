"""Names of experts: which number a path gives to an expert stored by itself, and which paths hold all.

Conventions of `transformers`, Megatron, DeepSpeed, Tutel, unsloth, llama.cpp and of the releases
of Mixtral, Switch, NLLB, Grok and DBRX. A shared expert is no expert of this kind.
"""

from __future__ import annotations

import re
from typing import Final

_NUMBERED: Final = tuple(
    re.compile(pattern)
    for pattern in (
        # mlp.experts.3.w1, experts.expert_3, local_experts.3, deepspeed_experts.3
        r"(?:^|\.)(?!shared)(?:(?:\w+_)?experts|expert)[._](?:experts?_)?(?P<number>[0-9]{1,9})(?=\.|$)",
        # unsloth: experts.gate_up_projs.3
        r"(?:^|\.)(?!shared)(?:(?:\w+_)?experts|expert)\.(?P<leaf>[a-z]\w*)\.(?P<number>[0-9]{1,9})$",
        # Megatron's grouped matrices: experts.linear_fc1.weight3
        r"(?:^|\.)(?!shared)(?:(?:\w+_)?experts|expert)\.(?P<leaf>\w+)\.weight(?P<number>[0-9]{1,9})$",
        # llama.cpp before it stacked them: blk.0.ffn_gate.3
        r"(?:^|\.)(?P<leaf>ffn_(?:gate|up|down))\.(?P<number>[0-9]{1,9})$",
        # Grok: moe.3.linear_v
        r"(?:^|\.)\w*moe\w*\.(?P<number>[0-9]{1,9})\.(?P<leaf>\w+)$",
    )
)
"""Ends of module paths that name one expert."""
_STACK: Final = re.compile(
    r"(?:^|\.)(?:(?:\w+_)?experts|expert)\.(?!#)[\w.]*\w$|_(?:ch)?exps$|(?:moe|mlp)\.(?:input|output)_linear$"
    r"|(?:^|\.)switch_(?:mlp|glu)\.\w+$|(?:^|\.)shared_w(?:13|2)_weight$"
)
"""Module paths that say that a tensor holds all experts of a block, one matrix each."""
_PERHAPS_STACK: Final = re.compile(r"(?:^|\.)\w*moe\w*\.\w[\w.]*$|(?:^|\.)(?:mlp|ffn)\.\w+_proj$")
"""Module paths that hold all experts where the config has as many as the tensor has matrices."""


def numbered(module: str) -> tuple[int, str] | None:
    """Number of the expert that a module path names, and the path with `experts.#` in its place."""
    for pattern in _NUMBERED:
        match = pattern.search(module)
        if match is None:
            continue
        leaf = match.groupdict().get("leaf")
        inside = ".experts.#" if leaf is None else f".experts.#.{leaf}"
        path = f"{module[: match.start()]}{inside}{module[match.end() :]}"
        return int(match["number"]), path.lstrip(".")
    return None


def holds_all(module: str) -> bool:
    """True when the path says that a tensor holds all experts of a block."""
    return _STACK.search(module) is not None


def may_hold_all(module: str) -> bool:
    """True when the path leaves it to the config whether a tensor holds all experts."""
    return _PERHAPS_STACK.search(module) is not None
