"""Power-law tail of one spectrum: exponent by maximum likelihood, xmin by Kolmogorov-Smirnov
distance.

The method of Clauset, Shalizi and Newman (2009, section 3) for continuous data, every candidate
xmin considered (`tail_start`). Knows nothing of layers; alternatives to the power law are in
`tail_models`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from zoo.columns import COUNT, LAMBDA, LOG10_LAMBDA_ALPHA, ONE, TEXT, Group, Since
from zoo.errors import ArgumentError
from zoo.spectral.arrays import ArrayLike, Vector
from zoo.spectral.hill import alpha_hill
from zoo.spectral.inputs import spectrum_of, tail_of
from zoo.spectral.scalars import above_tolerance
from zoo.spectral.tail_start import start_of

TailStatus = Literal["ok", "too_few", "constant"]
"""Whether there is a fit, or why there is none."""
TailWarning = Literal["over_trained", "under_trained"]
"""What an exponent outside 2 to 6 says of the layer."""

MIN_EVALS = 20
"""Fewer eigenvalues above the rank tolerance are not fitted."""
OVER_TRAINED_BELOW = 2.0
"""An alpha below it carries the warning `over_trained` (Martin and Mahoney)."""
UNDER_TRAINED_ABOVE = 6.0
"""An alpha above it carries the warning `under_trained`."""


@dataclass(frozen=True, slots=True)
class TailFit(Group):
    """A continuous power law p(λ) ∝ λ^−alpha on λ ≥ xmin."""

    alpha: Annotated[float, ONE]
    """Exponent of the power-law tail, > 1, the same at any scale of W; NULL without a fit."""
    alpha_stderr: Annotated[float, ONE]
    """(alpha − 1)/√num_tail, the asymptotic standard error at fixed xmin."""
    alpha_low: Annotated[float, ONE, Since(2)]
    """Smallest alpha over all starts of the tail whose KS distance is at most 1.1 times the smallest: what
    alpha_stderr, which takes xmin for known, leaves out."""
    alpha_high: Annotated[float, ONE, Since(2)]
    """Largest alpha over these starts."""
    ks_distance: Annotated[float, ONE]
    """Kolmogorov-Smirnov distance of the tail fit, max |1 − (λ/xmin)^(1−alpha) − i/num_tail| over the
    tail, i = 0..num_tail−1, in [0, 1]."""
    xmin: Annotated[float, LAMBDA]
    """Smallest eigenvalue of the tail."""
    xmax: Annotated[float, LAMBDA]
    """Largest eigenvalue that was fitted; below λ_max when fingers are clipped."""
    num_tail: Annotated[int, COUNT]
    """Eigenvalues in the tail, those ≥ xmin; at least 2."""
    alpha_hat: Annotated[float, LOG10_LAMBDA_ALPHA]
    """alpha·log10 λ_max."""
    alpha_hill: Annotated[float | None, ONE]
    """Hill estimate over the upper half of the eigenvalues."""
    log_alpha_norm: Annotated[float, LOG10_LAMBDA_ALPHA]
    """log10 Σ λ^alpha over all eigenvalues."""
    tail_warning: Annotated[TailWarning | None, TEXT]
    """`over_trained` (alpha < 2), `under_trained` (> 6)."""
    tail_status: Annotated[TailStatus, TEXT] = "ok"
    """How the fit ended: `ok`, `too_few` (under 20 eigenvalues above the rank tolerance) or `constant`
    (they are all equal)."""


@dataclass(frozen=True, slots=True)
class NoTail:
    """Why there is no fit; every other tail column is NULL."""

    tail_status: Literal["too_few", "constant"]


def fit_tail(evals: ArrayLike, *, m: int, storage_bits: int) -> TailFit | NoTail:
    """Fit the tail of the eigenvalues `evals` of WᵀW, W with smaller side m, in any order.

    Only eigenvalues above `rank_tolerance` are data, the rest count as zero. `storage_bits`: of the
    weights' stored type. Raises ArgumentError for values that are no eigenvalues (`spectrum_of`).
    """
    evals = spectrum_of(evals)
    return _fit(above_tolerance(evals, m=m, storage_bits=storage_bits), evals)


def fit_data(data: ArrayLike, *, evals: ArrayLike) -> TailFit | NoTail:
    """Fit `data`, some of the `evals`; λ_max and the alpha-norm are those of all `evals`."""
    return _fit(tail_of(data, at_least=0), spectrum_of(evals))


def _fit(data: Vector, evals: Vector) -> TailFit | NoTail:
    if data.size < MIN_EVALS:
        return NoTail("too_few")
    best = start_of(data / data[-1])  # exact under powers of two, safe at any scale
    if best is None:
        return NoTail("constant")
    num_tail = int(data.size) - best.index
    return TailFit(
        alpha=best.alpha,
        alpha_stderr=(best.alpha - 1.0) / math.sqrt(num_tail),
        alpha_low=best.alpha_low,
        alpha_high=best.alpha_high,
        ks_distance=best.ks_distance,
        xmin=float(data[best.index]),
        xmax=float(data[-1]),
        num_tail=num_tail,
        alpha_hat=best.alpha * math.log10(evals[-1]),
        log_alpha_norm=_log_alpha_norm(evals, best.alpha),
        alpha_hill=alpha_hill(data),
        tail_warning=tail_warning(best.alpha),
    )


def log_alpha_norm(evals: ArrayLike, alpha: float) -> float:
    """log10 Σ λ^alpha over the positive eigenvalues, in log space. ArgumentError without any."""
    evals = spectrum_of(evals)
    if evals.size == 0 or evals[-1] <= 0.0:
        raise ArgumentError("got no eigenvalue above 0; wanted λ_max > 0")
    return _log_alpha_norm(evals, alpha)


def _log_alpha_norm(evals: Vector, alpha: float) -> float:
    positive = evals[evals.searchsorted(0.0, side="right") :]
    with np.errstate(under="ignore"):
        relative = ((positive / positive[-1]) ** alpha).sum()
    return alpha * math.log10(positive[-1]) + math.log10(relative)


def tail_warning(alpha: float) -> TailWarning | None:
    """`over_trained` below 2, `under_trained` above 6, else None."""
    if alpha < OVER_TRAINED_BELOW:
        return "over_trained"
    return "under_trained" if alpha > UNDER_TRAINED_ABOVE else None
