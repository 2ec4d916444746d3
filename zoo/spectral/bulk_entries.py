"""Variance and kurtosis of the bulk of a matrix's entries, which a few planted ones cannot raise.

The trap test moves its threshold with both. An entry large enough to make a trap would raise the
plain moments, and with them the threshold above itself; so entries beyond what an exponential tail
explains are set aside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Real

from zoo.spectral.arrays import Vector
from zoo.spectral.trap_test import BulkEntries

SAMPLE_ENTRIES = 1 << 14
"""Entries from which the cut is estimated."""
_NEAR_SHARE = 1e-2
"""Share of the entries beyond the first of the two quantiles that fix the exponential tail."""
_FAR_SHARE = 1e-3
"""Share of the entries beyond the second of them."""
_MIN_FAR_ENTRIES = 12
"""In a small sample so many entries lie beyond the second quantile, however small a share they should
be. Fewer planted entries than that cannot move it: five in 2,500 used to hide one another."""
_MAX_FAR_SHARE = 1 / 64
"""These are no more than this share of the sample, however few that makes."""
_EXPECTED_BEYOND = 0.01
"""Entries expected beyond the cut in the whole matrix if its tail were exponential."""
_BLOCK_ENTRIES = 1 << 15
"""Entries converted to float64 at a time: 256 KiB, which stay in the cache."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Moments of all entries, where they are known."""

    mean: float
    variance: float
    """Variance of the population, > 0."""
    kurtosis: float
    """Excess kurtosis, ≥ −2."""


def bulk_entries(
    shuffled: Real[torch.Tensor, " entries"], *, max_abs: float, moments: Moments | None
) -> BulkEntries:
    """Moments of the entries within the cut (`tail_cut`).

    `shuffled` are all entries in random order, so that its start is a fair sample; `max_abs` is the
    largest |w|. `moments`: of all entries, where they are known; then only the entries beyond the
    cut are looked at.
    """
    if not 0.0 < max_abs < math.inf:
        return BulkEntries(0.0, 0.0)
    sample = shuffled[:SAMPLE_ENTRIES].to(torch.float64).numpy() / max_abs
    cut = min(tail_cut(sample, size=shuffled.numel()), 1.0)
    if moments is not None:
        rest = _without_extremes(shuffled, moments, beyond=cut * max_abs) if cut < 1.0 else None
        if cut >= 1.0 or rest is not None:
            return rest or BulkEntries(moments.kurtosis, 0.0)
    return _moments(shuffled, scale=max_abs, cut=cut, shift=float(sample.mean()))


def _without_extremes(
    entries: Real[torch.Tensor, " entries"], moments: Moments, *, beyond: float
) -> BulkEntries | None:
    """The moments less those of the entries with |w| > `beyond`; None when little would remain.

    The mean is kept: a few entries move it by less than 1e-3 standard deviations.
    """
    large: Vector = entries[entries.abs() > beyond].to(torch.float64).numpy()
    return without_extremes(large, entries.numel(), moments)


def without_extremes(large: Vector, count: int, moments: Moments) -> BulkEntries | None:
    """The moments of `count` entries less those of the `large` ones; None when little would remain."""
    second = count * moments.variance
    fourth = count * moments.variance**2 * (moments.kurtosis + 3.0)
    squares = (large - moments.mean) ** 2
    rest, rest_fourth = second - float(squares.sum()), fourth - float(squares @ squares)
    if large.size > 1e-3 * count or rest < 0.01 * second or rest_fourth < 1e-6 * fourth:
        return None
    left = count - large.size
    kurtosis = max(left * rest_fourth / rest**2 - 3.0, -2.0)
    return BulkEntries(kurtosis, float(large @ large) / (second + count * moments.mean**2))


def tail_cut(sample: Vector, *, size: int) -> float:
    """|w| beyond which 0.01 of `size` entries are expected.

    Two upper quantiles of the sample are extrapolated exponentially. Infinite for samples of 20 or
    fewer, and where the quantiles are 0.
    """
    places = quantile_places(sample.size)
    if places is None:
        return math.inf
    far, near = places
    ordered = np.partition(np.abs(sample), (sample.size - near, sample.size - far))
    low, high = float(ordered[sample.size - near]), float(ordered[sample.size - far])
    return cut_beyond(low, high, far=far, near=near, sampled=sample.size, size=size)


def quantile_places(sampled: int) -> tuple[int, int] | None:
    """(far, near): of so many sampled |w| the far-th and the near-th largest fix the tail; None for too few."""
    at_least = min(_MIN_FAR_ENTRIES, int(_MAX_FAR_SHARE * sampled))
    far = max(round(_FAR_SHARE * sampled), at_least, 4)
    near = max(round(_NEAR_SHARE * sampled), 5 * far)
    return None if sampled <= near else (far, near)


def cut_beyond(low: float, high: float, *, far: int, near: int, sampled: int, size: int) -> float:
    """`tail_cut` from the near-th (`low`) and the far-th (`high`) largest of `sampled` entries."""
    if high <= 0.0:
        return math.inf
    decay = (high - low) / math.log(near / far)
    return high + decay * math.log(far / sampled * size / _EXPECTED_BEYOND)


def _moments(
    entries: Real[torch.Tensor, " entries"], *, scale: float, cut: float, shift: float
) -> BulkEntries:
    """Moments of the entries with |w| ≤ cut·scale; `shift`·scale is near their mean."""
    count, sums, extreme, inside = 0, np.zeros(4), 0.0, 0.0
    for part in torch.split(entries, _BLOCK_ENTRIES):
        block: Vector = part.to(torch.float64, copy=True).numpy()
        block /= scale
        if cut < 1.0:
            beyond = np.flatnonzero(np.abs(block) > cut)
            extreme += float(block[beyond] @ block[beyond])
            block[beyond] = 0.0
            count -= beyond.size
        inside += float(block @ block)
        block -= shift
        if cut < 1.0:
            block[beyond] = 0.0  # set aside: adds nothing to any sum
        squares = block * block
        count += block.size
        sums += (block.sum(), block @ block, squares @ block, squares @ squares)
    return bulk_from_sums(count, sums, extreme=extreme, inside=inside, shift=shift)


def bulk_from_sums(
    count: int, sums: Vector, *, extreme: float, inside: float, shift: float
) -> BulkEntries:
    """The bulk from Σd, Σd², Σd³, Σd⁴ of the `count` entries within the cut, d their distance from `shift`,
    and from Σw² beyond and within it."""
    mean, second, third, fourth = sums / max(count, 1)
    variance = second - mean**2
    if variance <= 1e-14 * (second + shift**2):
        return BulkEntries(0.0, 0.0)
    central = fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4
    kurtosis = max(float(central / variance**2) - 3.0, -2.0)
    return BulkEntries(kurtosis, extreme / (extreme + inside))
