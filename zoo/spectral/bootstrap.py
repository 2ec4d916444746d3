"""Goodness of fit of a power-law tail, by semi-parametric bootstrap.

Clauset, Shalizi and Newman (2009), section 4.1. Composes `tails`; the random numbers are the
caller's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from zoo.columns import ONE, Group
from zoo.errors import ArgumentError
from zoo.spectral.arrays import ArrayLike
from zoo.spectral.scalars import above_tolerance
from zoo.spectral.tail_start import best_start
from zoo.spectral.tails import TailFit


@dataclass(frozen=True, slots=True)
class GoodnessOfFit(Group):
    """How often data that are a power law beyond xmin fit worse than the spectrum does."""

    gof_p_value: Annotated[float, ONE]
    """Goodness of fit by semi-parametric bootstrap, the share of synthetic sets with a KS distance ≥
    the observed: below 0.1 the power law is ruled out; NULL unless [tail] bootstrap."""
    gof_stderr: Annotated[float, ONE]
    """Monte Carlo standard error of gof_p_value, √(p(1−p)/draws), at least 1/(2·draws)."""
    num_draws: int


def goodness_of_fit(
    evals: ArrayLike,
    fit: TailFit,
    *,
    m: int,
    storage_bits: int,
    num_draws: int,
    rng: np.random.Generator,
) -> GoodnessOfFit:
    """The p-value of `fit` (from `fit_tail` on the same arguments) from `num_draws` synthetic sets.

    Each set has as many values as the data; each value is, with the observed share of the tail, a
    draw from the fitted law, else a draw from the values below xmin. Every set is fitted anew,
    xmin included.
    """
    if num_draws < 1:
        raise ArgumentError(f"got num_draws={num_draws}; wanted at least 1 (0 means: do not call)")
    data = above_tolerance(evals, m=m, storage_bits=storage_bits) / fit.xmin
    body = data[: data.size - fit.num_tail]
    worse = 0
    for _ in range(num_draws):
        in_tail = int(rng.binomial(data.size, fit.num_tail / data.size))
        tail = np.exp(rng.standard_exponential(in_tail) / (fit.alpha - 1.0))
        rest = body[rng.integers(body.size, size=data.size - in_tail)] if body.size else body
        start = best_start(np.sort(np.concatenate((rest, tail))))
        worse += start is None or start.ks_distance >= fit.ks_distance
    p = worse / num_draws
    return GoodnessOfFit(p, max(math.sqrt(p * (1 - p) / num_draws), 0.5 / num_draws), num_draws)
