"""The HTSR phase of one layer, by a written rule.

Martin and Mahoney name the phases of training by the law that fits a spectrum best (JMLR 2021;
SETOL, table 1): Marchenko-Pastur, Marchenko-Pastur and spikes, or a power law of some exponent.
They give no thresholds; the ones here were set on planted spectra (tests) and are ours. Composes
the tail fit and the bulk fit; knows nothing of layers.

The rule, first match wins:

- `rank_collapse`: at least half of the eigenvalues are numerically zero;
- `random_like`: the bulk is Marchenko-Pastur and no eigenvalue lies outside it;
- `bulk_spikes`: the bulk is Marchenko-Pastur, at most a tenth of the eigenvalues lie outside, and
  the power law was fitted to bulk rather than to spikes (num_tail > 2·spikes), or there is no fit;
- `weakly_heavy`: alpha > 6; `very_heavy`: alpha < 2; `heavy`: 2 ≤ alpha ≤ 6.

"The bulk is Marchenko-Pastur": the Kolmogorov-Smirnov distance between the eigenvalues that are not
spikes and the fitted law is at most 0.04 + 2/m (random matrices: about 2/m; power laws from 0.1
up). None: fewer than 20 eigenvalues, or no power-law fit where the rule needs alpha.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from zoo.columns import TEXT, Group
from zoo.spectral.arrays import ArrayLike, Vector
from zoo.spectral.erg import mean_one
from zoo.spectral.inputs import spectrum_of
from zoo.spectral.mp import MpFit, ks_distance
from zoo.spectral.tails import (
    MIN_EVALS,
    OVER_TRAINED_BELOW,
    UNDER_TRAINED_ABOVE,
    NoTail,
    TailFit,
)

Phase = Literal[
    "random_like", "bulk_spikes", "weakly_heavy", "heavy", "very_heavy", "rank_collapse"
]
"""The phases, by the rule above."""


@dataclass(frozen=True, slots=True)
class HtsrPhase(Group):
    """The phase as a column."""

    htsr_phase: Annotated[Phase | None, TEXT]
    """`random_like`, `bulk_spikes`, `weakly_heavy`, `heavy`, `very_heavy` or `rank_collapse`, by the
    rule of docs/science.md; NULL below 20 eigenvalues, or without a fit where the rule needs alpha."""


MAX_SPIKE_SHARE = 0.1
"""Largest share of the eigenvalues that may lie outside the bulk in the phase `bulk_spikes`."""
MAX_BULK_DISTANCE = 0.04
"""Largest Kolmogorov-Smirnov distance, without the term 2/m, of a bulk that is Marchenko-Pastur."""


def htsr_phase(
    evals: ArrayLike,
    *,
    n: int,
    m: int,
    matrix_rank: int,
    tail: TailFit | NoTail,
    bulk: MpFit | None,
    mean_one_evals: Vector | None = None,
) -> Phase | None:
    """The phase of the eigenvalues of an n×m matrix (or pooled slices); rule in the module.

    `bulk`: the Marchenko-Pastur fit of the same eigenvalues in mean-1 units, None without a bulk.
    `mean_one_evals`: `mean_one(evals)`, where it is at hand.
    """
    evals = spectrum_of(evals)
    if evals.size < MIN_EVALS:
        return None
    if 2 * matrix_rank <= evals.size:
        return "rank_collapse"
    candidate = None if bulk is None else _bulk_phase(bulk, evals.size, tail)
    if bulk is not None and candidate is not None:  # the distance is what costs
        distance = bulk_distance(evals, n=n, m=m, bulk=bulk, mean_one_evals=mean_one_evals)
        if distance <= MAX_BULK_DISTANCE + 2.0 / m:
            return candidate
    if isinstance(tail, NoTail):
        return None
    if tail.alpha > UNDER_TRAINED_ABOVE:
        return "weakly_heavy"
    return "very_heavy" if tail.alpha < OVER_TRAINED_BELOW else "heavy"


def _bulk_phase(bulk: MpFit, count: int, tail: TailFit | NoTail) -> Phase | None:
    """The phase of `count` eigenvalues if their bulk is Marchenko-Pastur; None when it would be
    neither `random_like` nor `bulk_spikes` even so."""
    if bulk.num_spikes == 0:
        return "random_like"
    few = bulk.num_spikes <= MAX_SPIKE_SHARE * count
    if few and (isinstance(tail, NoTail) or tail.num_tail > 2 * bulk.num_spikes):
        return "bulk_spikes"
    return None


def bulk_distance(
    evals: ArrayLike,
    *,
    n: int,
    m: int,
    bulk: MpFit,
    mean_one_evals: Vector | None = None,
) -> float:
    """Kolmogorov-Smirnov distance of the eigenvalues that are not spikes to the fitted law."""
    mean_one_evals = mean_one(evals) if mean_one_evals is None else mean_one_evals
    inside = mean_one_evals[: mean_one_evals.size - bulk.num_spikes]
    return ks_distance(inside, sigma=bulk.sigma, gamma=m / n)
