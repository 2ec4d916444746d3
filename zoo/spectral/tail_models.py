"""Alternatives to the power law beyond a fixed xmin, with likelihood-ratio tests.

With u = ln(x/xmin) ≥ 0 and v = u/mean(u), the power law, the truncated power law and the lognormal
are one family,

    p(v) ∝ exp(−ρ·v − β·h(v)),  β ≥ 0,

with convex h: (e^u − 1 − u)/mean(u)² for the truncated power law, v² for the lognormal. β = 0 is
the power law. The log-likelihood is concave in (ρ, β), so there is one optimum; it is found by two
nested root searches on exact moments (Gauss-Legendre quadrature): no starting values, no local
optima. In these units tails of any width are equally well conditioned. Clauset, Shalizi and Newman
(2009), section 5; Vuong (1989). Knows nothing of layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from zoo.columns import LN_LAMBDA, LN_LAMBDA_SPREAD, NAT, ONE, PER_LAMBDA, Group
from zoo.errors import ArgumentError
from zoo.spectral.arrays import ArrayLike, Vector
from zoo.spectral.inputs import tail_of

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
"""Nodes and weights of Gauss-Legendre quadrature on [−1, 1]."""
_PANELS = 64
"""Equal pieces of the range of integration, each with all the nodes."""
_MAX_NEWTON_STEPS = 200
"""Steps of Newton's method after which the last ρ is taken."""
_LOG_DEPTH = 46.0
"""Densities are cut off where they are e^−46 (1e-20) of their peak."""
_LOG_BETA_RANGE = (-60.0, 60.0)
"""Range of ln β that is searched; beyond it the cut-off is out of reach of any data."""


@dataclass(frozen=True, slots=True)
class TailModels(Group):
    """Four models of the values ≥ xmin. A ratio > 0 favours the power law, < 0 the alternative.

    `*_ratio` is Σ ln p(power law) − ln p(alternative); `*_p_value` the probability of one so far
    from 0 when both are equally good: above 0.1 the data do not decide.
    """

    power_law_log_likelihood: float
    tpl_alpha: Annotated[float, ONE]
    """Exponent of λ^−alpha·e^(−rate·λ), any real number, the power law's when the rate is 0; NULL unless
    [tail] alternatives, as all to `exponential_p_value`."""
    tpl_rate: Annotated[float, PER_LAMBDA]
    """Its cut-off rate; 0 when no cut-off improves the fit."""
    tpl_ratio: Annotated[float, NAT]
    """Log-likelihood of the power law minus this one's; ≤ 0, since the power law is the case rate = 0."""
    tpl_p_value: Annotated[float, ONE]
    """χ²₁ probability of −2·tpl_ratio; conservative, as rate ≥ 0 is a boundary."""
    lognormal_mu: Annotated[float | None, LN_LAMBDA]
    """Mean of ln λ before truncation; NULL when the best lognormal is a power law."""
    lognormal_sigma: Annotated[float | None, LN_LAMBDA_SPREAD]
    """Standard deviation of ln λ before truncation; NULL likewise."""
    lognormal_ratio: Annotated[float, NAT]
    """Log-likelihood ratio; > 0 favours the power law."""
    lognormal_p_value: Annotated[float, ONE]
    """Vuong's probability: above 0.1 the data do not decide."""
    exponential_rate: Annotated[float, PER_LAMBDA]
    """Rate of e^(−rate·(λ − xmin))."""
    exponential_ratio: Annotated[float, NAT]
    """Log-likelihood ratio; > 0 favours the power law."""
    exponential_p_value: Annotated[float, ONE]
    """Vuong's probability."""


@dataclass(frozen=True, slots=True)
class _Bend:
    """What bends the family away from the power law: h(v), convex, 0 at v = 0."""

    h: Callable[[Vector], Vector]
    h_at: Callable[[float], float]
    """h at one point."""
    peak: Callable[[float, float], float]
    """Where −ρ·v − β·h(v) is largest over v ≥ 0, for given ρ and β > 0."""
    power_law_mean: float
    """Mean of h under the power law, density e^−v."""
    growth: float
    """h(v) grows at most like e^(growth·v)."""


_LOGNORMAL = _Bend(
    h=np.square,
    h_at=lambda v: v * v,
    peak=lambda r, b: max(-r / (2.0 * b), 0.0),
    power_law_mean=2.0,
    growth=0.0,
)
"""The bend of the lognormal, h = v²."""


def _cut_off(mean_u: float) -> _Bend:
    """The bend of the truncated power law, h = (e^u − 1 − u)/mean(u)² with u = v·mean(u)."""

    def h(v: Vector) -> Vector:
        u = v * mean_u
        small = u**2 * (0.5 + u * (1.0 / 6.0 + u / 24.0))  # where e^u − 1 − u cancels
        curved: Vector = np.where(u < 1e-4, small, np.expm1(u) - u) / mean_u**2
        return curved

    def h_at(v: float) -> float:
        u = v * mean_u
        return (
            (math.expm1(u) - u if u > 1e-4 else 0.5 * u**2) / mean_u**2 if u < 700.0 else math.inf
        )

    return _Bend(
        h=h,
        h_at=h_at,
        peak=lambda r, b: math.log1p(-r * mean_u / b) / mean_u if r < 0.0 else 0.0,
        power_law_mean=1.0 / (1.0 - mean_u) if mean_u < 1.0 else math.inf,
        growth=mean_u,
    )


@dataclass(frozen=True, slots=True)
class _Member:
    """A fitted member of the family, p(v) = exp(−ρ·v − β·h(v) − log_normaliser)."""

    rho: float
    beta: float
    """≥ 0."""
    log_normaliser: float


_POWER_LAW = _Member(1.0, 0.0, 0.0)
"""The member that is not bent."""


def fit_tail_models(tail: ArrayLike) -> TailModels:
    """Fit all models to the values `tail`, the smallest of which is xmin > 0.

    Raises ArgumentError for fewer than two values, values ≤ 0 or a constant tail: a `TailFit` never
    has such a tail.
    """
    tail = tail_of(tail, at_least=0)
    if tail.size < 2 or not tail[0] < tail[-1]:
        raise ArgumentError(f"got {tail.size} values without spread; wanted the tail of a TailFit")
    xmin = float(tail[0])
    u = np.log1p((tail - xmin) / xmin)
    mean_u = float(u.mean())
    v = u / mean_u
    log_scale = (
        math.log(mean_u) + math.log(xmin) + u
    )  # densities in x are those in v divided by x·mean(u)
    power_law = -v - log_scale

    bend = _cut_off(mean_u)
    cut = _fit_member(v, bend)
    truncated = -cut.rho * v - cut.beta * bend.h(v) - cut.log_normaliser - log_scale
    bent = _fit_member(v, _LOGNORMAL)
    lognormal = -bent.rho * v - bent.beta * v**2 - bent.log_normaliser - log_scale
    spread = float(np.mean(tail - xmin))
    exponential = -math.log(spread) - (tail - xmin) / spread

    rate = cut.beta / mean_u**2  # of e^(−rate·x/xmin)
    # nested, so > 0 is rounding
    tpl_ratio = min(float(np.sum(power_law - truncated)), 0.0) if cut.beta > 0.0 else 0.0
    lognormal_ratio, lognormal_p = _vuong(power_law - lognormal)
    exponential_ratio, exponential_p = _vuong(power_law - exponential)
    variance = 0.5 / bent.beta if bent.beta > 0.0 else None  # of v, before truncation
    return TailModels(
        power_law_log_likelihood=float(power_law.sum()),
        tpl_alpha=1.0 + cut.rho / mean_u - rate,
        tpl_rate=rate / xmin,
        tpl_ratio=tpl_ratio,
        tpl_p_value=math.erfc(math.sqrt(-tpl_ratio)),  # χ²₁ survival at −2·ratio
        lognormal_mu=None if variance is None else math.log(xmin) - bent.rho * variance * mean_u,
        lognormal_sigma=None if variance is None else math.sqrt(variance) * mean_u,
        lognormal_ratio=lognormal_ratio,
        lognormal_p_value=lognormal_p,
        exponential_rate=1.0 / spread,
        exponential_ratio=exponential_ratio,
        exponential_p_value=exponential_p,
    )


def _vuong(differences: Vector) -> tuple[float, float]:
    """Σ d and its two-sided normal probability erfc(|Σ d|/√(2 n Var d)); 1 without spread."""
    total, spread = float(differences.sum()), float(differences.std())
    if spread <= 1e-12:  # the alternative is the power law itself
        return total, 1.0
    return total, math.erfc(abs(total) / (spread * math.sqrt(2.0 * differences.size)))


def _fit_member(v: Vector, bend: _Bend) -> _Member:
    """Maximum likelihood in (ρ, β) of p(v) ∝ exp(−ρ·v − β·h(v)) on v ≥ 0; `v` has mean 1.

    At the optimum the model's means of v and h(v) are the data's. For each β the ρ that matches the
    first is unique; along that path the mean of h falls monotonically in β.
    """
    mean_h = float(bend.h(v).mean())
    if mean_h >= bend.power_law_mean:
        return _POWER_LAW  # the data's tail is heavier than the power law's: β would be negative

    rho = 1.0

    def excess(log_beta: float) -> float:
        nonlocal rho
        beta = math.exp(log_beta)
        rho = _match_rho(beta, bend, rho)
        return _moments(rho, beta, bend)[2] - mean_h

    low = high = 0.0
    step = 1.0
    if excess(0.0) > 0.0:
        while (
            excess(high := min(high + step, _LOG_BETA_RANGE[1])) > 0.0 and high < _LOG_BETA_RANGE[1]
        ):
            low, step = high, 2.0 * step
    else:
        while excess(low := max(low - step, _LOG_BETA_RANGE[0])) <= 0.0:
            if low == _LOG_BETA_RANGE[0]:
                return _POWER_LAW
            high, step = low, 2.0 * step
    from scipy.optimize import brentq  # here: the class above is read without it, in no time

    beta = math.exp(brentq(excess, low, high, xtol=1e-11) if high < _LOG_BETA_RANGE[1] else high)
    rho = _match_rho(beta, bend, rho)
    return _Member(rho, beta, _moments(rho, beta, bend)[0])


def _match_rho(beta: float, bend: _Bend, start: float) -> float:
    """The ρ at which the model's mean of v is 1, by safeguarded Newton; the mean falls in ρ."""
    low, high, rho = -math.inf, math.inf, start
    for _ in range(_MAX_NEWTON_STEPS):
        _, mean, _, variance = _moments(rho, beta, bend)
        low, high = (rho, high) if mean > 1.0 else (low, rho)
        step = (mean - 1.0) / variance  # dE[v]/dρ = −Var[v]
        if abs(step) <= 1e-13 * (1.0 + abs(rho)):
            break
        step = math.copysign(min(abs(step), 4.0 * (1.0 + abs(rho))), step)
        rho = rho + step if low < rho + step < high else 0.5 * (low + high)
    return rho


def _moments(rho: float, beta: float, bend: _Bend) -> tuple[float, float, float, float]:
    """ln ∫ exp(−ρ·v − β·h(v)) dv over v ≥ 0, the means of v and h(v), the variance of v; β > 0."""

    def level(v: float, rate: float) -> float:
        return -rate * v - beta * bend.h_at(v)

    top = bend.peak(rho, beta)
    low = _reach(lambda v: level(v, rho), top, -1.0)
    tilted = rho - bend.growth  # the integrand of the mean of h reaches further right
    high = _reach(lambda v: level(v, tilted), bend.peak(tilted, beta), 1.0)
    edges = np.linspace(max(low, 0.0), high, _PANELS + 1)
    half = 0.5 * (edges[1] - edges[0])
    v = ((edges[:-1] + half)[:, None] + half * _NODES).ravel()
    h = bend.h(v)
    peak_level = level(top, rho)
    density = np.exp(-rho * v - beta * h - peak_level) * np.tile(half * _WEIGHTS, _PANELS)
    total = float(density.sum())
    density /= total
    mean = float(density @ v)
    variance = float(density @ (v - mean) ** 2)
    return math.log(total) + peak_level, mean, float(density @ h), variance


def _reach(level: Callable[[float], float], top: float, sign: float) -> float:
    """A point on one side of `top`, at most twice as far as where the level is lower by
    `_LOG_DEPTH`."""
    goal, step = level(top) - _LOG_DEPTH, 1e-9
    while level(top + sign * step) > goal and (sign > 0 or step < top):
        step *= 2.0
    return top + sign * step
