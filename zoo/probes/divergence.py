"""Jensen-Shannon divergence between the outputs of a network and of its ablated twin, in nats."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float


def jensen_shannon(
    logits: Float[torch.Tensor, "probes classes"],
    others: Float[torch.Tensor, "probes classes"],
    *,
    temperature: float,
) -> Float[torch.Tensor, " probes"]:
    """JS(softmax(z/τ), softmax(z'/τ)) of each probe, natural logarithm: in [0, ln 2]; NaN where a
    logit is NaN or +∞.

    Prakash and Martin 2026, section 6, equation 13: the divergence itself, not its square root.
    """
    p = torch.log_softmax(logits.float() / temperature, dim=-1)
    q = torch.log_softmax(others.float() / temperature, dim=-1)
    middle = torch.logaddexp(p, q) - math.log(2)
    # of one size and opposite sign where p and q are close: added class by class first
    return 0.5 * (_weighed(p, middle) + _weighed(q, middle)).sum(dim=-1).clamp(min=0)


def kullback_leibler(
    logits: Float[torch.Tensor, "probes classes"],
    others: Float[torch.Tensor, "probes classes"],
    *,
    temperature: float,
) -> Float[torch.Tensor, " probes"]:
    """KL(softmax(z/τ) ‖ softmax(z'/τ)) of each probe in nats, ≥ 0; +∞ where z' excludes a class of z, NaN
    where a logit is NaN or +∞."""
    p = torch.log_softmax(logits.float() / temperature, dim=-1)
    q = torch.log_softmax(others.float() / temperature, dim=-1)
    return _weighed(p, q).sum(dim=-1).clamp(min=0)


def _weighed(log_p: torch.Tensor, log_middle: torch.Tensor) -> torch.Tensor:
    """p·ln(p/m); 0 for a class that a network excludes by a logit of −∞."""
    return torch.where(log_p == -math.inf, 0.0, log_p.exp() * (log_p - log_middle))
