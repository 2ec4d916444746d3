"""The calibrated trap test: which eigenvalues of an element-wise shuffled matrix leave the bulk.

A shuffled n×m matrix is compared with white noise of its own variance v: its largest eigenvalue is
about v·(centre + scale·TW1) (Johnstone 2001), moved by v·κ(1 + √γ)²/√γ when the entries have excess
kurtosis κ (science.md), γ = m/n. v is the trace without the traps over (n−s)(m−s), s the number of
traps, or the variance of the bulk of the entries where that is less: before a trap is found, it
raises the former by as much as one Tracy-Widom unit. Each slice of a pooled convolution is tested
against its own v, at a level corrected for their number. Knows nothing of how the eigenvalues were
computed: the top ones and the trace are enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from zoo.columns import LAMBDA, ONE, Group, Since
from zoo.spectral.arrays import Vector
from zoo.spectral.mp import slice_level
from zoo.spectral.tracy_widom import johnstone, tw1_quantile, tw1_sf


@dataclass(frozen=True, slots=True)
class BulkEntries:
    """What the bulk of the entries adds to the trap test."""

    kurtosis: float
    """Excess kurtosis of the entries within the cut, ≥ −2; 0 for constant entries."""
    extreme_share: float
    """Share of Σw² in the entries beyond the cut, in [0, 1)."""


@dataclass(frozen=True, slots=True)
class Trap(Group):
    """One eigenvalue of a shuffled slice beyond the threshold."""

    slice_index: int
    """Position of the slice within the layer, from 0."""
    rank: int
    """0 for the largest eigenvalue of its slice."""
    eigenvalue: Annotated[float, LAMBDA, Since(2, was="lambda")]
    """The eigenvalue of the shuffled matrix."""
    excess_rel: Annotated[float, ONE]
    """lambda/edge − 1, edge = v·n(1 + √γ)² the Marchenko-Pastur one of the slice."""
    p_value: Annotated[float, ONE]
    """Its Tracy-Widom p-value, under the bulk that the larger traps of its slice leave, corrected for
    the number of slices, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class SliceBulk:
    """The bulk of one shuffled slice."""

    variance: float
    """v, variance of an entry of the bulk."""
    threshold: float
    """λ above which an eigenvalue is a trap."""
    edge: float
    """λ₊, the Marchenko-Pastur edge."""
    num_traps: int
    """Eigenvalues above the threshold."""
    max_p_value: float
    """p-value of the largest eigenvalue, corrected for the number of slices."""
    max_standardised: float
    """The largest eigenvalue in Tracy-Widom units."""
    num_traps_tw: int
    """Eigenvalues above the threshold that leaves the kurtosis of the entries out."""
    margins: tuple[float, float]
    """Tracy-Widom units from the threshold down to the largest eigenvalue that is no trap, and up to the
    smallest that is one; ∞ where there is none."""


@dataclass(frozen=True, slots=True)
class ShuffleTest:
    """The trap test of one shuffle of one layer."""

    slices: tuple[SliceBulk, ...]
    """The bulk of every slice, in order."""
    traps: tuple[Trap, ...]
    """Descending in λ."""

    @property
    def variance(self) -> float:
        """Mean over slices of the bulk variance of an entry."""
        return math.fsum(s.variance for s in self.slices) / len(self.slices)

    @property
    def threshold(self) -> float:
        """Threshold of the slice with the largest standardised eigenvalue."""
        return max(self.slices, key=lambda s: s.max_standardised).threshold

    @property
    def p_value(self) -> float:
        """Smallest p-value, corrected for the number of slices."""
        return min(s.max_p_value for s in self.slices)

    @property
    def num_traps_tw(self) -> int:
        """Traps of the same test without the kurtosis shift: the papers' definition, λ₊ + Δ_TW, with a
        margin that is calibrated for Gaussian entries."""
        return sum(s.num_traps_tw for s in self.slices)

    @property
    def lowest_trap_margin(self) -> float:
        """Tracy-Widom units by which the weakest trap passes its threshold; ∞ without a trap."""
        return min(s.margins[1] for s in self.slices)

    @property
    def highest_bulk_margin(self) -> float:
        """Tracy-Widom units by which the strongest eigenvalue that is no trap misses the threshold."""
        return min(s.margins[0] for s in self.slices)

    @property
    def num_wanted(self) -> int:
        """Largest eigenvalues that both counts take in, of all slices, and the first beyond them."""
        return max(max(s.num_traps, s.num_traps_tw) for s in self.slices) + 1


def kurtosis_shift(kurtosis: float, gamma: float) -> float:
    """Shift of λ_max/v by excess kurtosis: κ(1 + √γ)²/√γ."""
    return kurtosis * (1.0 + math.sqrt(gamma)) ** 2 / math.sqrt(gamma)


def trap_threshold(
    *, n: int, m: int, num_traps: int, variance: float, kurtosis: float, quantile: float
) -> float:
    """λ of the Tracy-Widom `quantile` for the bulk that `num_traps` traps leave."""
    law = johnstone(max(n - num_traps, 1), max(m - num_traps, 1))
    return variance * (law.centre + quantile * law.scale + kurtosis_shift(kurtosis, m / n))


def trap_test(
    tops: Sequence[Vector],
    traces: Sequence[float],
    *,
    n: int,
    m: int,
    bulks: Sequence[BulkEntries],
    level: float,
) -> ShuffleTest | None:
    """Test the shuffled slices given by their top eigenvalues and traces.

    `tops[i]`: ascending eigenvalues of slice i, all of them or only the largest; every one above
    the threshold must be there. None when a slice has no trace, or no variance beside its traps.
    """
    quantile = tw1_quantile(slice_level(level, len(tops)))
    slices: list[SliceBulk] = []
    traps: list[Trap] = []
    for index, (top, trace, bulk) in enumerate(zip(tops, traces, bulks, strict=True)):
        outcome = _test_slice(top, trace, bulk, n=n, m=m, quantile=quantile)
        if outcome is None:
            return None
        num_traps, variance, threshold = outcome
        literal = _test_slice(top, trace, replace(bulk, kurtosis=0.0), n=n, m=m, quantile=quantile)
        law = johnstone(max(n - num_traps, 1), max(m - num_traps, 1))
        shift = kurtosis_shift(bulk.kurtosis, m / n)
        edge = variance * (math.sqrt(n) + math.sqrt(m)) ** 2
        largest = (float(top[-1]) / variance - shift - law.centre) / law.scale
        # the one eigenvalue of m = 1 is the trace, which no shuffle moves: never a trap
        p_values = [
            1.0 if m == 1 else _family_wise(tw1_sf(s), len(tops))
            for s in _standardised(top, trace, bulk, num_traps, n=n, m=m)
        ]
        slices.append(
            SliceBulk(
                variance,
                threshold,
                edge,
                num_traps,
                p_values[0],
                largest,
                num_traps_tw=0 if literal is None else literal[0],
                margins=_margins(top, num_traps, threshold, unit=variance * law.scale),
            )
        )
        for rank in range(num_traps):
            value = float(top[-1 - rank])
            traps.append(Trap(index, rank, value, value / edge - 1.0, p_values[rank]))
    traps.sort(key=lambda t: (-t.eigenvalue, t.slice_index))
    return ShuffleTest(tuple(slices), tuple(traps))


def _test_slice(
    top: Vector, trace: float, bulk: BulkEntries, *, n: int, m: int, quantile: float
) -> tuple[int, float, float] | None:
    """(num_traps, variance, threshold) of one slice, None without a bulk.

    Counts the eigenvalues above the threshold, takes them out of the variance, which lowers the
    threshold, and counts again until their number stays the same.
    """
    if top.size == 0 or trace <= 0.0:
        return None
    limit = min(top.size, m // 2) if m > 1 else 0
    num_traps = 0
    while True:
        variance = _variance(top, trace, bulk, num_traps, n=n, m=m)
        if variance <= 1e-12 * trace / (n * m):
            return None
        threshold = trap_threshold(
            n=n,
            m=m,
            num_traps=num_traps,
            variance=variance,
            kurtosis=bulk.kurtosis,
            quantile=quantile,
        )
        above = top.size - int(np.searchsorted(top, threshold, side="right"))
        if above <= num_traps or num_traps >= limit:
            return num_traps, variance, threshold
        num_traps = min(above, limit)


def _variance(
    top: Vector, trace: float, bulk: BulkEntries, num_traps: int, *, n: int, m: int
) -> float:
    """Variance of an entry of the bulk that the `num_traps` largest eigenvalues leave."""
    removed = float(np.cumsum(top[::-1][:num_traps])[-1]) if num_traps else 0.0
    rest = (trace - removed) / ((n - num_traps) * (m - num_traps))
    return min(rest, trace * (1.0 - bulk.extreme_share if m > 1 else 1.0) / (n * m))


def _standardised(
    top: Vector, trace: float, bulk: BulkEntries, num_traps: int, *, n: int, m: int
) -> Iterator[float]:
    """Of every trap, or of λ_max without one: where it lies in the law of the largest eigenvalue of what
    the larger ones leave.

    Itself it is not taken out: that is done because it passed the threshold, and under a variance without
    it a value just beyond would seem ten times less probable than it is.
    """
    shift = kurtosis_shift(bulk.kurtosis, m / n)
    for rank in range(max(num_traps, 1)):
        law = johnstone(max(n - rank, 1), max(m - rank, 1))
        variance = _variance(top, trace, bulk, rank, n=n, m=m)
        yield (float(top[-1 - rank]) / variance - shift - law.centre) / law.scale


def _margins(top: Vector, num_traps: int, threshold: float, *, unit: float) -> tuple[float, float]:
    """`SliceBulk.margins` of a slice with these traps; `unit`: λ of one Tracy-Widom unit."""
    below, above = math.inf, math.inf
    if top.size > num_traps:
        below = (threshold - float(top[-1 - num_traps])) / unit
    if num_traps:
        above = (float(top[-num_traps]) - threshold) / unit
    return below, above


def _family_wise(p_value: float, num_slices: int) -> float:
    """p-value of `p_value` as the smallest of `num_slices` independent ones (Šidák)."""
    return -math.expm1(num_slices * math.log1p(-min(p_value, 1.0 - 1e-16)))
