"""WeightWatcher 0.7.7's Marchenko-Pastur fit and trap count, to the count. For comparison only.

Its recipe (weightwatcher.py `mp_fit`, RMT_Util.py `fit_density_with_range`, `resid_mp`): a
linear-kernel density of bandwidth 0.1 on 1,000 points, squared residuals against the law on a grid
of 195 σ, a Nelder-Mead polish, margin √TW. It rebuilds the density for each σ; here it is built
once, by prefix sums, and the grid is evaluated at once. Its quirks (no σ inside the root at Q = 1,
a margin of 4-11 Tracy-Widom units) are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from zoo.spectral.arrays import ArrayLike, Doubles, NDArray, Vector
from zoo.spectral.inputs import aspect_ratio, spectrum_of

_BANDWIDTH = 0.1
"""Half width of the linear kernel, in mean-1 units."""
_POINTS = 1000
"""Points at which the density is estimated, from 0 to a little beyond the largest value."""
_MIN_DENSITY = 0.01
"""Points of lower density are left out of the fit."""
_PENALTY = 1000.0
"""Residual at every point when the law's edges contradict the density."""
_TOLERANCE = 1e-4
"""The Nelder-Mead polish ends when σ and the sum of squares change by no more than this: the default
of `scipy.optimize.fmin`."""
_MAX_CALLS = 200
"""It also ends after so many evaluations or steps, as `fmin` does in one dimension."""


@dataclass(frozen=True, slots=True)
class IncumbentFit:
    """What WeightWatcher reports for one spectrum (scaled to mean 1)."""

    num_spikes: int
    """Eigenvalues above `threshold`: its `num_spikes`, or `num_traps` of a shuffled spectrum."""
    sigma: float
    """WeightWatcher's `sigma_mp`; the sign is without meaning."""
    bulk_max: float
    """Upper edge (σ(1 + 1/√Q))², mean-1 units."""
    threshold: float
    """Edge plus √TW, mean-1 units."""


def incumbent_fit(evals: ArrayLike, *, n: int, m: int) -> IncumbentFit | None:
    """Fit eigenvalues of n×m matrices, n ≥ m (replicates and slices pooled), any units.

    None where WeightWatcher reports −1: no positive eigenvalue, or no point of sufficient density.
    """
    evals = spectrum_of(evals)
    aspect_ratio(n=n, m=m)  # refuses sides the wrong way round
    if evals.size == 0 or evals[-1] <= 0.0:
        return None
    relative = evals / evals[-1]
    mean_one_evals = relative * (evals.size / float(relative.sum()))
    ratio = n / m
    objective = _objective(mean_one_evals, ratio)
    if objective is None:
        return None
    sigma = _fit_sigma(mean_one_evals, ratio, objective)
    bulk_max = (sigma * (1.0 + 1.0 / math.sqrt(ratio))) ** 2
    margin = 1.0 / math.sqrt(ratio) * bulk_max ** (2 / 3) * m ** (-2 / 3)
    threshold = bulk_max + math.sqrt(margin)
    num_spikes = evals.size - int(np.searchsorted(mean_one_evals, threshold, side="right"))
    return IncumbentFit(num_spikes, sigma, bulk_max, threshold)


def linear_density(
    data: Float64[Doubles, " values"], x: Float64[Doubles, " points"], bandwidth: float
) -> Float64[Doubles, " points"]:
    """Kernel density of ascending `data` at `x`, kernel 1 − |d|/h on |d| < h; by prefix sums."""
    sums = np.concatenate(([0.0], np.cumsum(data)))
    low = np.searchsorted(data, x - bandwidth)
    middle = np.searchsorted(data, x)
    high = np.searchsorted(data, x + bandwidth)
    left = (sums[middle] - sums[low]) - (middle - low) * (x - bandwidth)
    right = (high - middle) * (x + bandwidth) - (sums[high] - sums[middle])
    density: Vector = (left + right) / (data.size * bandwidth**2)
    return density


@dataclass(frozen=True, slots=True)
class _Objective:
    """Sum of squared residuals as a function of σ: at one value, and over a whole grid."""

    at: Callable[[float], float]
    over: Callable[[Vector], Vector]


def _objective(mean_one_evals: Vector, ratio: float) -> _Objective | None:
    """The objective of eigenvalues in mean-1 units; None without a point of sufficient density."""
    data = np.sqrt(mean_one_evals) if ratio == 1.0 else mean_one_evals
    x = np.linspace(0.0, float(data[-1]) + 0.5, _POINTS)
    density = linear_density(data, x, _BANDWIDTH)
    kept = density > _MIN_DENSITY
    if not kept.any():
        return None
    x, density = x[kept], density[kept]
    if ratio == 1.0:
        return _quarter_circle(x, density)
    return _marchenko_pastur(x, density, ratio)


def _quarter_circle(
    x: Float64[Doubles, " points"], density: Float64[Doubles, " points"]
) -> _Objective:
    """Q = 1: √(4 − x²)/(πσ²) on singular values, σ in the amplitude only."""
    shape = np.sqrt(np.maximum(4.0 - x * x, 0.0))

    def at(sigma: float) -> float:
        return float(np.sum((shape * (1.0 / (math.pi * sigma * sigma)) - density) ** 2))

    def over(sigmas: Vector) -> Vector:
        factors = 1.0 / (math.pi * sigmas * sigmas)
        total = factors**2 * (shape @ shape) - 2.0 * factors * (shape @ density)
        return np.asarray(total + density @ density)

    return _Objective(at, over)


def _marchenko_pastur(
    x: Float64[Doubles, " points"], density: Float64[Doubles, " points"], ratio: float
) -> _Objective:
    """Q > 1: the Marchenko-Pastur density on eigenvalues; a flat penalty where its edges contradict
    the estimated density."""
    root = math.sqrt(1.0 / ratio)
    upper, lower = (1.0 + root) ** 2, (1.0 - root) ** 2
    mode, last = float(x[np.argmax(density)]), float(x[-1])
    penalty = _PENALTY**2 * x.size
    positive = x > 0.0
    inverse = np.divide(1.0, x, out=np.zeros_like(x), where=positive)
    square = x * x
    weighted, inverse_square = density * inverse, inverse * inverse
    norm = float(density @ density)

    def is_contradicted(a: Doubles | float, b: Doubles | float) -> NDArray[np.bool_]:
        return np.asarray((b < mode) | (b > last) | (a > mode))

    def at(sigma: float) -> float:
        variance = sigma * sigma
        a, b = variance * lower, variance * upper
        if is_contradicted(a, b):
            return penalty
        law = np.sqrt(np.maximum((b - x) * (x - a), 0.0))
        law *= inverse
        law *= ratio / (2.0 * math.pi * variance)
        law -= density
        return float(law @ law)

    def over(sigmas: Vector) -> Vector:
        variance = sigmas * sigmas
        a, b = variance * lower, variance * upper
        values = np.full(sigmas.size, penalty)
        fits = np.flatnonzero(~is_contradicted(a, b))
        a, b = a[fits, None], b[fits, None]
        inside = (a + b) * x
        inside -= square
        inside -= a * b
        np.maximum(inside, 0.0, out=inside)
        factor = ratio / (2.0 * math.pi * variance[fits])
        squares = inside @ inverse_square
        np.sqrt(inside, out=inside)
        values[fits] = factor**2 * squares - 2.0 * factor * (inside @ weighted) + norm
        return values

    return _Objective(at, over)


def _fit_sigma(mean_one_evals: Vector, ratio: float, objective: _Objective) -> float:
    """`scipy.optimize.brute` over its grid, then `fmin`."""
    largest = math.sqrt(float(mean_one_evals[-1]) / (1.0 + 1.0 / math.sqrt(ratio)) ** 2)
    start, stop, step = 0.05 * largest, 2.0 * largest, 0.01 * largest
    grid: Vector = start + step * np.arange(math.ceil((stop - start) / step), dtype=np.float64)
    return _nelder_mead(objective.at, float(grid[np.argmin(objective.over(grid))]))


def _nelder_mead(f: Callable[[float], float], start: float) -> float:
    """`scipy.optimize.fmin` in one dimension, step by step, without its bookkeeping."""
    best, worst = start, 1.05 * start if start != 0.0 else 0.00025
    f_best, f_worst = f(best), f(worst)
    calls, iterations = 2, 1
    if f_worst < f_best:
        best, worst, f_best, f_worst = worst, best, f_worst, f_best
    while calls < _MAX_CALLS and iterations < _MAX_CALLS:
        if abs(worst - best) <= _TOLERANCE and abs(f_best - f_worst) <= _TOLERANCE:
            break
        reflected = 2.0 * best - worst
        f_reflected = f(reflected)
        calls += 1
        if f_reflected < f_best:
            expanded = 3.0 * best - 2.0 * worst
            f_expanded = f(expanded)
            calls += 1
            if f_expanded < f_reflected:
                worst, f_worst = expanded, f_expanded
            else:
                worst, f_worst = reflected, f_reflected
        else:
            outside = f_reflected < f_worst
            contracted = 1.5 * best - 0.5 * worst if outside else 0.5 * best + 0.5 * worst
            f_contracted = f(contracted)
            calls += 1
            if f_contracted <= f_reflected if outside else f_contracted < f_worst:
                worst, f_worst = contracted, f_contracted
            else:
                worst = best + 0.5 * (worst - best)
                f_worst = f(worst)
                calls += 1
        iterations += 1
        if f_worst < f_best:
            best, worst, f_best, f_worst = worst, best, f_worst, f_best
    return best
