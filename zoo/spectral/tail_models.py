"""Alternatives to the power law beyond a fixed xmin, with likelihood-ratio tests.

With y = x/xmin and u = ln y ≥ 0 the power law, the truncated power law and the lognormal are one
family,

    p(u) ∝ exp(−r·u − b·h(u)),  b ≥ 0,   h = e^u (truncated power law) or u² (lognormal),

a power law when b = 0. Its log-likelihood is concave in (r, b), so there is one optimum and it is
found by two nested root searches on exact moments (Gauss-Legendre quadrature in u): no starting
values, no local optima. Clauset, Shalizi and Newman (2009), section 5; Vuong (1989). Knows nothing
of layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

Vector = NDArray[np.float64]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_PANELS = 64
_DEPTH = 46.0
"""Densities are cut where they are e^−46 (1e-20) of their peak."""
_LOG_B = (-60.0, 60.0)
"""Range of ln b searched; beyond it the cut-off is out of reach of any data."""


@dataclass(frozen=True, slots=True)
class TailModels:
    """Four models of the values ≥ xmin. A ratio > 0 favours the power law, < 0 the alternative.

    `*_ratio` is Σ ln p(power law) − ln p(alternative); `*_p_value` the probability of one so far
    from 0 when both are equally good: above 0.1 the data do not decide.
    """

    power_law_log_likelihood: float
    tpl_alpha: float
    """Exponent of x^−alpha·e^(−rate·x); any real number, equal to the power law's when the rate is
    0."""
    tpl_rate: float
    """Exponential cut-off rate, in 1/λ; 0 when no cut-off improves the fit."""
    tpl_ratio: float
    """≤ 0, since the power law is the case rate = 0."""
    tpl_p_value: float
    """χ²₁ probability of −2·ratio (conservative: rate ≥ 0 is a boundary)."""
    lognormal_mu: float | None
    """Mean of ln λ before truncation; None when the best lognormal is a power law."""
    lognormal_sigma: float | None
    """Standard deviation of ln λ before truncation; None likewise."""
    lognormal_ratio: float
    lognormal_p_value: float
    """Vuong's normal probability."""
    exponential_rate: float
    """Rate of e^(−rate·(x − xmin)), in 1/λ."""
    exponential_ratio: float
    exponential_p_value: float
    """Vuong's normal probability."""


@dataclass(frozen=True, slots=True)
class _Bend:
    """What bends the family away from the power law: h(u), convex and increasing in u ≥ 0."""

    h: Callable[[Vector], Vector]
    peak: Callable[[float, float], float]
    """Where −r·u − b·h(u) is largest over u ≥ 0, for given r and b > 0."""
    power_law_mean: Callable[[float], float]
    """Mean of h under the power law, density r·e^(−r·u)."""
    growth: float
    """h(u) grows at most like e^(growth·u)."""


_CUT_OFF = _Bend(
    h=np.exp,
    peak=lambda r, b: math.log(-r / b) if -r > b else 0.0,
    power_law_mean=lambda r: r / (r - 1.0) if r > 1.0 else math.inf,
    growth=1.0,
)
_LOGNORMAL = _Bend(
    h=np.square,
    peak=lambda r, b: max(-r / (2.0 * b), 0.0),
    power_law_mean=lambda r: 2.0 / r**2,
    growth=0.0,
)


@dataclass(frozen=True, slots=True)
class _Member:
    """A fitted member of the family in u: parameters and log of the normaliser."""

    r: float
    b: float
    log_normaliser: float


def fit_tail_models(tail: Vector) -> TailModels:
    """Fit all models to ascending `tail` ≥ xmin = tail[0].

    Raises ValueError for fewer than two values or a constant tail: a `TailFit` never has such a
    tail.
    """
    if tail.size < 2 or not tail[0] < tail[-1]:
        raise ValueError(f"got {tail.size} values without spread; wanted the tail of a TailFit")
    xmin = float(tail[0])
    u = np.log1p((tail - xmin) / xmin)
    y = tail / xmin
    log_x = math.log(xmin) + u  # densities in x are densities in u divided by x
    alpha = 1.0 + 1.0 / float(u.mean())
    power_law = math.log(alpha - 1.0) - (alpha - 1.0) * u - log_x

    cut = _fit_member(u, _CUT_OFF)
    truncated = -cut.r * u - cut.b * y - cut.log_normaliser - log_x
    bent = _fit_member(u, _LOGNORMAL)
    lognormal = -bent.r * u - bent.b * u**2 - bent.log_normaliser - log_x
    rate = 1.0 / float(np.mean(tail - xmin))
    exponential = math.log(rate) - rate * (tail - xmin)

    # nested, so > 0 is rounding
    tpl_ratio = min(float(np.sum(power_law - truncated)), 0.0) if cut.b > 0.0 else 0.0
    lognormal_ratio, lognormal_p = _vuong(power_law - lognormal)
    exponential_ratio, exponential_p = _vuong(power_law - exponential)
    variance = 0.5 / bent.b if bent.b > 0.0 else None
    return TailModels(
        power_law_log_likelihood=float(power_law.sum()),
        tpl_alpha=1.0 + cut.r,
        tpl_rate=cut.b / xmin,
        tpl_ratio=tpl_ratio,
        tpl_p_value=math.erfc(math.sqrt(-tpl_ratio)),  # χ²₁ survival at −2·ratio
        lognormal_mu=None if variance is None else math.log(xmin) - bent.r * variance,
        lognormal_sigma=None if variance is None else math.sqrt(variance),
        lognormal_ratio=lognormal_ratio,
        lognormal_p_value=lognormal_p,
        exponential_rate=rate,
        exponential_ratio=exponential_ratio,
        exponential_p_value=exponential_p,
    )


def _vuong(differences: Vector) -> tuple[float, float]:
    """Σ d and its two-sided normal probability erfc(|Σ d|/√(2 n Var d)); 1 without spread."""
    total, spread = float(differences.sum()), float(differences.std())
    if spread <= 1e-12:  # the alternative is the power law itself
        return total, 1.0
    return total, math.erfc(abs(total) / (spread * math.sqrt(2.0 * differences.size)))


def _fit_member(u: Vector, bend: _Bend) -> _Member:
    """Maximum likelihood in (r, b) of p(u) ∝ exp(−r·u − b·h(u)) on u ≥ 0.

    At the optimum the model's means of u and h(u) are the data's. For each b the r that matches the
    first is unique; along that path the mean of h falls monotonically in b.
    """
    mean_u, mean_h = float(u.mean()), float(bend.h(u).mean())
    power_law = _Member(1.0 / mean_u, 0.0, math.log(mean_u))
    if mean_h >= bend.power_law_mean(power_law.r):
        return power_law  # the data's tail is heavier than the power law's: b would be negative

    def excess(log_b: float) -> float:
        b = math.exp(log_b)
        return _moments(_match_r(mean_u, b, bend), b, bend)[2] - mean_h

    low = high = 0.0
    step = 1.0
    if excess(0.0) > 0.0:
        while excess(high := min(high + step, _LOG_B[1])) > 0.0 and high < _LOG_B[1]:
            low, step = high, 2.0 * step
    else:
        while excess(low := max(low - step, _LOG_B[0])) <= 0.0:
            if low == _LOG_B[0]:
                return power_law
            high, step = low, 2.0 * step
    b = math.exp(brentq(excess, low, high, xtol=1e-12) if high < _LOG_B[1] else high)
    r = _match_r(mean_u, b, bend)
    return _Member(r, b, _moments(r, b, bend)[0])


def _match_r(mean_u: float, b: float, bend: _Bend) -> float:
    """The r at which the model's mean of u is `mean_u`; the mean falls monotonically in r."""
    high = 1.0 / mean_u  # b > 0 takes weight from the tail, so r is below the power law's
    if _moments(high, b, bend)[1] >= mean_u:
        return high  # b is too small to matter, the rest is rounding
    step = high
    while _moments(low := high - step, b, bend)[1] < mean_u:
        high, step = low, 2.0 * step
    return float(brentq(lambda r: _moments(r, b, bend)[1] - mean_u, low, high, xtol=1e-13))


def _moments(r: float, b: float, bend: _Bend) -> tuple[float, float, float]:
    """ln ∫ exp(−r·u − b·h(u)) du over u ≥ 0, and the means of u and of h(u); b > 0."""

    def level(u: float, rate: float) -> float:
        return -rate * u - b * float(bend.h(np.array([u]))[0])

    top = bend.peak(r, b)
    low = _reach(lambda u: level(u, r), top, -1.0)
    tilted = r - bend.growth  # the integrand of the mean of h reaches further right
    high = _reach(lambda u: level(u, tilted), bend.peak(tilted, b), 1.0)
    edges = np.linspace(max(low, 0.0), high, _PANELS + 1)
    half = 0.5 * (edges[1] - edges[0])
    u = ((edges[:-1] + half)[:, None] + half * _NODES).ravel()
    h = bend.h(u)
    peak_level = level(top, r)
    density = np.exp(-r * u - b * h - peak_level) * np.tile(half * _WEIGHTS, _PANELS)
    total = float(density.sum())
    return math.log(total) + peak_level, float(density @ u) / total, float(density @ h) / total


def _reach(level: Callable[[float], float], top: float, sign: float) -> float:
    """A point on one side of `top`, at most twice as far as where the level is `_DEPTH` lower."""
    goal, step = level(top) - _DEPTH, 1e-9
    while level(top + sign * step) > goal and (sign > 0 or step < top):
        step *= 2.0
    return top + sign * step
