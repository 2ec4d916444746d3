"""The start of a power-law tail: the xmin with the smallest Kolmogorov-Smirnov distance.

Clauset, Shalizi and Newman (2009, section 3.3), every candidate xmin considered. Knows nothing of
spectra: its data are positive numbers.

Speed: the distance of a candidate is at least its distance at a few ranks, so all candidates are
first bounded from below at 6 ranks, many survivors again at 24 and those of long spectra at 256, and
what may still win is measured in full in the order of the bounds. The result is that of the full search; of its n²
terms some 3 % are computed for a spectrum that is a power law throughout, far fewer otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int

from zoo.errors import ArgumentError
from zoo.spectral.arrays import ArrayLike, Doubles, Indices, Vector
from zoo.spectral.inputs import real_array, tail_of

_MEASURE_ALL_UP_TO = 64
"""Data of up to so many values have every candidate measured in full: bounds would cost more."""
_COARSE_RANKS = np.linspace(0.0, 1.0, 7)[1:]
"""Relative ranks at which every candidate is bounded."""
_MIDDLE_RANKS = np.linspace(0.0, 1.0, 25)[1:]
"""Relative ranks at which the candidates that survive are bounded again."""
_MEASURE_SURVIVORS_UP_TO = 16
"""Up to so many survivors are measured in full at once: another bound would cost more."""
_FINE_RANKS = np.linspace(0.0, 1.0, 257)[1:]
"""Relative ranks at which those that are left are bounded once more, in long data."""
_SAME_VALUE = 2.0**-20
"""Values closer than this (in ln) are one value: eigenvalues are stored as float32, and those of a
multiple singular value differ by rounding alone, which must not make candidates of them."""
_SLACK = 1e-12
"""A candidate whose bound exceeds the best distance by no more than this, which is rounding, is
still measured."""
NEARLY_AS_GOOD = 1.1
"""Candidates whose distance is at most so many times the smallest are starts that the data do not tell
apart from the best one."""
_BLOCK_ELEMENTS = 1 << 14
"""Array elements held at a time (128 KiB of float64: larger temporaries cost page faults)."""


@dataclass(frozen=True, slots=True)
class Start:
    """The start of the best tail within ascending data."""

    index: int
    """The tail is data[index:]."""
    alpha: float
    """Maximum-likelihood exponent of that tail, > 1 (`tail_alpha`)."""
    ks_distance: float
    """Distance of that tail to its power law, in [0, 1] (`tail_distance`)."""
    alpha_low: float
    """Smallest exponent over the candidates that fit nearly as well (`NEARLY_AS_GOOD`)."""
    alpha_high: float
    """Largest exponent over them."""


def tail_alpha(tail: ArrayLike) -> float:
    """1 + k / Σ ln(x/xmin), the maximum-likelihood exponent of `tail` (CSN 2009, eq. 3.1); > 1.

    xmin is its smallest value. Raises ArgumentError for values ≤ 0 or all equal.
    """
    tail = tail_of(tail, at_least=2)
    if tail[0] == tail[-1]:
        raise ArgumentError(f"got {tail.size} equal tail values; wanted values with a spread")
    return 1.0 + tail.size / float(_log_ratios(tail).sum())


def tail_distance(tail: ArrayLike, alpha: float) -> float:
    """max |1 − (x/xmin)^(1−alpha) − i/k| over `tail`, i = 0..k−1 (lower step of the ECDF); in [0, 1].

    Raises ArgumentError for values ≤ 0, and for alpha ≤ 1, which is no law.
    """
    if not alpha > 1.0:
        raise ArgumentError(f"got alpha={alpha}; wanted an exponent above 1")
    return _distance_to(_log_ratios(tail_of(tail)), alpha)


def _log_ratios(tail: Vector) -> Vector:
    """ln(x/xmin), exact to the last digits where x is near xmin."""
    ratios: Vector = np.log1p((tail - tail[0]) / tail[0])
    return ratios


def _distance_to(ratios: Vector, alpha: float) -> float:
    """`tail_distance` of the tail with these ln(x/xmin)."""
    model = -np.expm1((1.0 - alpha) * ratios)
    return float(np.abs(model - np.arange(ratios.size) / ratios.size).max())


def best_start(data: ArrayLike) -> Start | None:
    """The candidate xmin with the smallest KS distance; ties go to the smallest xmin.

    `data`: positive; `index` counts in ascending order, and data in another order are refused
    (ArgumentError). Candidates are the distinct values (`_SAME_VALUE`) but the largest; None if there are
    none.
    """
    ascending = tail_of(data, at_least=0)
    if ascending is not data and (real_array(data, what="tail values") != ascending).any():
        raise ArgumentError("got data in another order; wanted them ascending: sort them first")
    return start_of(ascending)


def start_of(data: Vector) -> Start | None:
    """`best_start` of data that are known to be ascending and positive."""
    size = data.size
    if size < 2:
        return None
    below = data[:-1]
    gaps = np.log1p((data[1:] - below) / below)  # ln(x_j/x_{j−1}), to full relative accuracy
    weights = np.arange(size - 1, 0, -1, dtype=np.float64)
    # Σ_{j≥i} ln(x_j/x_i) = Σ_{j>i} (n−j)·gap_j: a sum of non-negative terms, nothing cancels
    log_sums = (weights * gaps)[::-1].cumsum()[::-1]
    logs = np.zeros(size)
    gaps.cumsum(out=logs[1:])
    is_candidate = log_sums > 0.0
    is_candidate[1:] &= gaps[:-1] > _SAME_VALUE
    is_candidate &= logs[:-1] < logs[-1] - _SAME_VALUE
    (candidates,) = is_candidate.nonzero()
    if candidates.size == 0:
        return None
    rates = (size - candidates) / log_sums[candidates]  # alpha − 1
    best, bounds = _smallest_distance(logs, candidates, rates)
    winner = int(candidates[best])
    ratios = _log_ratios(data[winner:])
    alpha = 1.0 + ratios.size / float(ratios.sum())
    distance = _distance_to(ratios, alpha)
    low, high = _rate_range(logs, candidates, rates, bounds, NEARLY_AS_GOOD * distance)
    return Start(
        winner, alpha, distance, min(1.0 + low, alpha), max(1.0 + high, alpha)
    )  # alpha itself is summed anew, to the last digit


def _rate_range(
    logs: Vector,
    candidates: Int[Indices, " candidates"],
    rates: Float64[Doubles, " candidates"],
    bounds: Float64[Doubles, " candidates"],
    limit: float,
) -> tuple[float, float]:
    """Smallest and largest rate over the candidates whose KS distance is at most `limit`.

    `bounds`: lower bounds of the distances. At least one candidate is within the limit.
    """
    (alive,) = (bounds <= limit).nonzero()
    if logs.size > _MEASURE_ALL_UP_TO and alive.size > _MEASURE_SURVIVORS_UP_TO:
        bounds = _lower_bounds(logs, candidates[alive], rates[alive], _MIDDLE_RANKS)
        alive = alive[bounds <= limit]
    order = alive[rates[alive].argsort(kind="stable")]
    low = _first_within(logs, candidates[order], rates[order], limit)
    high = _first_within(logs, candidates[order[::-1]], rates[order[::-1]], limit)
    return low, high


def _first_within(
    logs: Vector,
    candidates: Int[Indices, " candidates"],
    rates: Float64[Doubles, " candidates"],
    limit: float,
) -> float:
    """Rate of the first candidate whose KS distance is at most `limit`."""
    start, width = 0, 4
    while start < candidates.size:
        block = slice(start, start + width)
        (within,) = (_distances(logs, candidates[block], rates[block]) <= limit + _SLACK).nonzero()
        if within.size:
            return float(rates[start + int(within[0])])
        start += width
        width = max(4, min(2 * width, _BLOCK_ELEMENTS // logs.size))
    raise AssertionError("the best candidate is within the limit")


def _smallest_distance(
    logs: Vector, candidates: Int[Indices, " candidates"], rates: Float64[Doubles, " candidates"]
) -> tuple[int, Float64[Doubles, " candidates"]]:
    """Position in `candidates` of the first smallest KS distance, and lower bounds of all distances.

    `logs`: ln of the data over the smallest; `rates`: alpha − 1 of each candidate's tail.
    """
    if logs.size <= _MEASURE_ALL_UP_TO:
        distances = _distances(logs, candidates, rates)
        return int(distances.argmin()), distances
    coarse = _lower_bounds(logs, candidates, rates, _COARSE_RANKS)
    bounds = coarse.copy()
    best = int(bounds.argmin())
    best_distance = _distance(logs, int(candidates[best]), float(rates[best]))
    bounds[best] = np.inf  # measured
    (alive,) = (bounds <= best_distance + _SLACK).nonzero()
    bounds = bounds[alive]
    if alive.size > _MEASURE_SURVIVORS_UP_TO:
        bounds = _lower_bounds(logs, candidates[alive], rates[alive], _MIDDLE_RANKS)
        (kept,) = (bounds <= best_distance + _SLACK).nonzero()
        alive, bounds = alive[kept], bounds[kept]
        if logs.size > 4 * _FINE_RANKS.size:
            bounds = _lower_bounds(logs, candidates[alive], rates[alive], _FINE_RANKS)
    order = bounds.argsort(kind="stable")
    bounds, alive = bounds[order], alive[order]
    start, width = 0, 1
    while start < alive.size and bounds[start] <= best_distance + _SLACK:
        block = alive[start : start + width]
        starts, factors = candidates[block], rates[block]
        if width == 1:
            measured = [_distance(logs, int(starts[0]), float(factors[0]))]
        else:
            measured = _distances(logs, starts, factors).tolist()
        for position, distance in zip(block.tolist(), measured, strict=True):
            if distance < best_distance or (distance == best_distance and position < best):
                best_distance, best = distance, position
        start += width
        remaining = int(np.searchsorted(bounds, best_distance + _SLACK, side="right")) - start
        width = max(1, min(remaining, 2 * width, _BLOCK_ELEMENTS // logs.size))
    return best, coarse


def _lower_bounds(
    logs: Vector,
    candidates: Int[Indices, " candidates"],
    rates: Float64[Doubles, " candidates"],
    fractions: Vector,
) -> Float64[Doubles, " candidates"]:
    """The KS distance of every candidate over the ranks `fractions` of its tail alone."""
    bounds = np.empty(candidates.size)
    rows = max(1, _BLOCK_ELEMENTS // fractions.size)
    for a in range(0, candidates.size, rows):
        starts = candidates[a : a + rows, None]
        lengths = logs.size - starts
        steps = (fractions * (lengths - 1)).astype(np.intp)
        residual = logs.take(starts) - logs.take(starts + steps)
        residual *= rates[a : a + rows, None]
        np.exp(residual, out=residual)  # expm1 would take ten times as long
        residual += steps / lengths - 1.0
        bounds[a : a + rows] = np.abs(residual, out=residual).max(axis=1)
    return bounds


def _distance(logs: Vector, start: int, rate: float) -> float:
    """The full KS distance of one candidate: what `_distances` gives, in a third of its time."""
    size = logs.size - start
    residual = logs[start] - logs[start:]
    residual *= rate
    np.exp(residual, out=residual)
    residual += np.arange(size) / size - 1.0
    return float(np.abs(residual, out=residual).max())


def _distances(
    logs: Vector, candidates: Int[Indices, " candidates"], rates: Float64[Doubles, " candidates"]
) -> Float64[Doubles, " candidates"]:
    """The full KS distance of a few candidates at once."""
    low = int(candidates.min())
    starts = candidates[:, None]
    steps = np.arange(low, logs.size) - starts  # negative before the tail: made zero, distance zero
    residual = logs[starts] - logs[low:]
    np.minimum(residual, 0.0, out=residual)
    residual *= rates[:, None]
    np.exp(residual, out=residual)
    residual += np.maximum(steps, 0) / (logs.size - starts) - 1.0
    np.abs(residual, out=residual)
    distances: Doubles = residual.max(axis=1)
    return distances
