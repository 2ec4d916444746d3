"""The Marchenko-Pastur law, and a fit of its one parameter that spikes do not move.

Units: mean eigenvalue 1 (λ·count/Σλ), γ = m/n ≤ 1. For W with independent entries of variance v the
law has σ² = v·n in those units, edges σ²(1 ± √γ)². q = 1 is the same law as any other q.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np
from jaxtyping import Float64, Int

from zoo.columns import COUNT, LAMBDA, ONE, Group
from zoo.spectral.arrays import ArrayLike, Doubles, Indices, Vector
from zoo.spectral.inputs import aspect_ratio, check_law, real_array, spectrum_of
from zoo.spectral.tracy_widom import johnstone, tw1_quantile

_SPIKE_LEVEL = 0.01
"""An eigenvalue counts as a spike, not as bulk, where it would be as large by chance in this share
of random matrices (family-wise, over all slices of a layer)."""
_MEDIAN_POINTS = 1024
"""Points of the distribution function between which its median is interpolated."""
_COMPARED_RANKS = np.linspace(0.0, 1.0, 64)
"""Relative ranks of the eigenvalues at which the fits are compared with them."""


@dataclass(frozen=True, slots=True)
class MpFit:
    """The bulk of one spectrum, mean-1 units."""

    sigma: float
    """Standard deviation of the law, > 0; at most about 1, lower the more trace the spikes carry.
    """
    edge_lower: float
    """σ²(1 − √γ)²."""
    edge_upper: float
    """σ²(1 + √γ)²."""
    num_spikes: int
    """Eigenvalues beyond the upper edge plus its Tracy-Widom margin."""


@dataclass(frozen=True, slots=True)
class Bulk(Group):
    """The fit in the units of the eigenvalues."""

    mp_sigma: Annotated[float, ONE]
    """Marchenko-Pastur σ of the layer's own bulk, mean-1 units; NULL without a bulk."""
    mp_edge_lower: Annotated[float, LAMBDA]
    """Lower edge of the fitted law."""
    mp_edge_upper: Annotated[float, LAMBDA]
    """Upper edge of the fitted law."""
    mp_num_spikes: Annotated[int, COUNT]
    """Eigenvalues beyond the upper edge and its Tracy-Widom margin."""
    mp_softrank: Annotated[float, ONE]
    """mp_edge_upper/λ_max."""


def edges(sigma: float, gamma: float) -> tuple[float, float]:
    """σ²(1 − √γ)² and σ²(1 + √γ)². ArgumentError unless σ > 0 and 0 < γ ≤ 1."""
    check_law(sigma=sigma, gamma=gamma)
    root = math.sqrt(gamma)
    return (sigma * (1.0 - root)) ** 2, (sigma * (1.0 + root)) ** 2


def mp_pdf(x: ArrayLike, *, sigma: float, gamma: float) -> Float64[Doubles, " ..."]:
    """Density √((b − x)(x − a)) / (2πγσ²x) on the bulk [a, b], 0 outside; of the shape of `x`."""
    x = real_array(x, what="x")
    a, b = edges(sigma, gamma)
    inside = np.maximum((b - x) * (x - a), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        density = np.sqrt(inside) / (2.0 * math.pi * gamma * sigma**2 * x)
    return np.asarray(np.where(inside > 0.0, density, 0.0))


def mp_cdf(x: ArrayLike, *, sigma: float, gamma: float) -> Float64[Doubles, " ..."]:
    """Distribution function of the law, in closed form; of the shape of `x`.

    It has no atom at 0 for γ ≤ 1.
    """
    x = real_array(x, what="x")
    if x.ndim == 0:
        return np.asarray(mp_cdf(x[None], sigma=sigma, gamma=gamma)[0])
    check_law(sigma=sigma, gamma=gamma)
    a, b = edges(1.0, gamma)
    t = _within(x / sigma**2, a, b)
    root = 2.0 * math.sqrt(gamma)
    total = b - t
    total *= t - a
    np.maximum(total, 0.0, out=total)
    np.sqrt(total, out=total)
    angle = t - 1.0
    angle -= gamma
    angle /= root
    np.arcsin(_within(angle, -1.0, 1.0), out=angle)
    angle *= 1.0 + gamma
    total += angle
    if gamma < 1.0:  # then t ≥ a > 0; else the term vanishes
        np.multiply(t, 1.0 + gamma, out=angle)
        angle -= (1.0 - gamma) ** 2
        t *= root
        angle /= t
        np.arcsin(_within(angle, -1.0, 1.0), out=angle)
        angle *= 1.0 - gamma
        total -= angle
    total /= 2.0 * math.pi * gamma
    total += 0.5
    return _within(total, 0.0, 1.0)


def ks_distance(evals: ArrayLike, *, sigma: float, gamma: float) -> float:
    """Kolmogorov-Smirnov distance of mean-1 `evals` (`erg.mean_one`) to the law, in [0, 1]."""
    evals = spectrum_of(evals)
    law = mp_cdf(evals, sigma=sigma, gamma=gamma)
    steps = np.arange(evals.size + 1) / evals.size
    return float(max((steps[1:] - law).max(), (law - steps[:-1]).max()))


def _within(x: Float64[Doubles, "*shape"], low: float, high: float) -> Float64[Doubles, "*shape"]:
    """`np.clip` of `x` itself, which is overwritten, in a third of the time on short arrays."""
    np.maximum(x, low, out=x)
    return np.minimum(x, high, out=x)


@lru_cache(maxsize=1024)
def mp_median(gamma: float) -> float:
    """Median of the law at σ = 1."""
    a, b = edges(1.0, gamma)
    x = (
        a + (b - a) * np.sin(np.linspace(0.0, 0.5 * math.pi, _MEDIAN_POINTS)) ** 2
    )  # dense at both edges
    return float(np.interp(0.5, mp_cdf(x, sigma=1.0, gamma=gamma), x))


def slice_level(level: float, num_slices: int) -> float:
    """Level of one slice such that `num_slices` independent ones keep the family-wise `level`
    (Šidák).
    """
    return -math.expm1(math.log1p(-level) / num_slices)


def fit_bulk(evals: ArrayLike, *, n: int, m: int) -> MpFit | None:
    """Fit σ to mean-1 `evals` (`erg.mean_one`), k·m of them for k pooled n×m slices, n ≥ m.

    Starts from the median, which no minority of spikes moves; then in turn sets aside the s
    eigenvalues beyond edge and margin, and takes σ² from the trace of the rest as that of an
    (n−s)×(m−s) matrix, until s is stable. On a spectrum that follows no such law this wanders
    down; so unless the stable one fits within the Kolmogorov-Smirnov scale 1/√count, the best
    fitting of all σ met on the way is taken. None when half of the eigenvalues are zero (there is
    no bulk). In other units σ and the edges are in those; the spikes are the same.
    """
    evals, gamma = spectrum_of(evals), aspect_ratio(n=n, m=m)
    count = evals.size
    centre = float(evals[(count - 1) // 2] + evals[count // 2]) / 2 if count else 0.0
    if count == 0 or centre <= 1e-12 * float(evals[-1]):
        return None
    k = count / m
    quantile = tw1_quantile(slice_level(_SPIKE_LEVEL, max(1, round(k))))
    sums, values = evals.cumsum().tolist(), evals.tolist()  # lists: cheaper to look into one by one

    def spikes_of(variance: float, aside: int) -> int:
        """Eigenvalues beyond edge and margin of the law that `aside` spikes leave."""
        threshold = variance * _relative_threshold(n, m, aside / k, quantile)
        return min(count - bisect_right(values, threshold), count // 2)

    def variance_without(aside: int) -> float:
        """σ² from the trace without the `aside` largest eigenvalues."""
        freedom = k * (m - aside / k) * (1.0 - aside / k / n)
        return float(sums[count - aside - 1]) / freedom

    variance = centre / mp_median(gamma)
    tried: dict[int, float] = {}  # variance by the number of eigenvalues set aside for it
    aside = spikes_of(variance, 0)
    while aside not in tried:
        tried[aside] = variance = variance_without(aside)
        aside = spikes_of(variance, aside)
    sizes = np.array([count - s for s in tried])
    distances = _bulk_distances(evals, sizes, np.array(list(tried.values())), gamma)
    numbers = list(tried)
    if variance != tried[aside] or distances[numbers.index(aside)] > count**-0.5:
        aside = numbers[int(distances.argmin())]
    sigma = math.sqrt(tried[aside])
    return MpFit(sigma, *edges(sigma, gamma), spikes_of(tried[aside], aside))


def bulk_of(fit: MpFit, evals: Vector) -> Bulk:
    """The columns of `fit`, which is in mean-1 units, in the units of the ascending `evals`."""
    mean = float(evals.mean())
    return Bulk(
        mp_sigma=fit.sigma,
        mp_edge_lower=fit.edge_lower * mean,
        mp_edge_upper=fit.edge_upper * mean,
        mp_num_spikes=fit.num_spikes,
        mp_softrank=fit.edge_upper * mean / float(evals[-1]),
    )


def _bulk_distances(
    evals: Vector,
    sizes: Int[Indices, " fits"],
    variances: Float64[Doubles, " fits"],
    gamma: float,
) -> Float64[Doubles, " fits"]:
    """Kolmogorov-Smirnov distance of the lowest `sizes[i]` eigenvalues to the law of
    `variances[i]`, at 64 ranks."""
    ranks = ((sizes[:, None] - 1) * _COMPARED_RANKS).astype(np.intp)
    law = mp_cdf(evals.take(ranks) / variances[:, None], sigma=1.0, gamma=gamma)
    law -= (ranks + 0.5) / sizes[:, None]
    return np.asarray(np.abs(law, out=law).max(axis=1))


def _relative_threshold(n: int, m: int, spikes: float, quantile: float) -> float:
    """Largest plausible bulk eigenvalue over σ²: Johnstone's centre plus `quantile` scales."""
    edge = johnstone(max(n - round(spikes), 1), max(m - round(spikes), 1))
    return (edge.centre + quantile * edge.scale) / n
