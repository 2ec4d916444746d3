"""How many of a model's parameters are embeddings, and how many are used for one token.

From names, shapes and the config alone. What is counted is what is stored, as in the total: numbers that
are packed into fewer are counted as they are packed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Final

from zoo.layers.expert_names import holds_all, may_hold_all
from zoo.layers.settings import Settings, settings_for
from zoo.layers.tensor_names import Place, place

_EMBEDDINGS: Final = frozenset({"embedding", "position_embedding", "type_embedding"})
"""Roles of tables in which a token, a position or a segment is looked up."""
_CHOSEN: Final = (
    "num_experts_per_tok", "num_experts_per_token", "experts_per_token", "num_selected_experts",
    "moe_topk", "moe_top_k", "top_k_experts", "num_experts_to_select", "router_top_k", "expert_used_count",
)  # fmt: skip
"""What configs call the number of experts that a token goes through."""


@dataclass(frozen=True, slots=True)
class ParamCounts:
    """Parts of the total."""

    embedding: int
    """Numbers in tables of tokens, positions and segments; an output head that is stored too is not one."""
    active: int | None
    """Used for one token: all but the experts that it is not sent to. None where there are experts and
    the config does not say how many, or how many a token goes through."""


def param_counts(
    shapes: Mapping[str, tuple[int, ...]], config: Mapping[str, object]
) -> ParamCounts:
    """The counts of a model with these stored tensors."""
    total = embedding = 0
    idle = 0.0
    is_known = True
    for name, shape in shapes.items():
        numbers = prod(shape)
        total += numbers
        where = place(name)
        if where.role in _EMBEDDINGS:
            embedding += numbers
            continue
        settings = settings_for(name, config)
        if not _is_of_experts(where, shape, settings):
            continue
        share = _share_used(settings)
        if share is None:
            is_known = False
        else:
            idle += numbers * (1.0 - share)
    return ParamCounts(embedding, total - round(idle) if is_known else None)


def _is_of_experts(where: Place, shape: tuple[int, ...], settings: Settings) -> bool:
    """True for a tensor of one routed expert, or of all of a block; never of a shared one."""
    if where.expert is not None:
        return True
    if "shared" in where.module or where.role in ("router", "shared_router"):
        return False
    if holds_all(where.module):
        return True
    return bool(shape) and shape[0] in settings.expert_counts and may_hold_all(where.module)


def _share_used(settings: Settings) -> float | None:
    """Experts that a token goes through over experts of a block; None where the config does not tell."""
    used = settings.count(*_CHOSEN)
    if used is None:
        return None
    counts = settings.expert_counts - {
        used
    }  # `num_selected_experts` reads like a number of experts
    if len(counts) > 1:
        return None
    return min(used / next(iter(counts), used), 1.0)
