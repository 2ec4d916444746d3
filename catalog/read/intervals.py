"""How sure a mean over layers is: its bootstrap interval. Knows no table.

The bootstrap asks how far the mean would move if a model had other layers like these. It takes the
layers as they are measured: what one layer's number is worth is said by its own standard error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from operator import itemgetter
from random import Random

NUM_DRAWS = 999
"""Resamples: then the 2.5 % and 97.5 % points are the 25th and the 975th of them."""
MIN_VALUES = 5
"""Fewer values get no interval."""
_MOST_DRAWN = 50
"""More layers than this are not drawn: the limit below is nearer than 999 draws come."""
_Z = 1.959963984540054
"""97.5 % point of the normal law."""


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % percentile interval of the mean of `values` under resampling; None for fewer than five,
    whose few resamples say nothing.

    Up to 50 values are drawn 999 times, with a seed that their number decides, so equal values give
    an equal interval in any order. For more it is the distribution that the draws tend to, by its
    mean, variance, skewness and kurtosis (Cornish and Fisher 1938), which costs nothing.
    """
    num = len(values)
    if num < MIN_VALUES:
        return None
    if num > _MOST_DRAWN:
        return _limit(values)
    ordered = sorted(values)
    draw = _draws(num)
    sums = sorted(math.fsum(taken(ordered)) for taken in draw)
    return sums[24] / num, sums[974] / num


@cache
def _draws(num: int) -> tuple[itemgetter[tuple[float, ...]], ...]:
    """What takes the values of each resample from `num` values; in C, as a board has a million of them."""
    uniform = Random(num).random
    return tuple(itemgetter(*(int(uniform() * num) for _ in range(num))) for _ in range(NUM_DRAWS))


def _limit(values: Sequence[float]) -> tuple[float, float]:
    """The interval by the cumulants of the resampled mean, kept within the values."""
    num = len(values)
    mean = math.fsum(values) / num
    powers = [math.fsum((v - mean) ** k for v in values) / num for k in (2, 3, 4)]
    if powers[0] <= 0:
        return mean, mean
    skewness = powers[1] / powers[0] ** 1.5 / math.sqrt(num)
    kurtosis = (powers[2] / powers[0] ** 2 - 3) / num
    ends = []
    for z in (-_Z, _Z):
        bent = (
            z
            + (z**2 - 1) * skewness / 6
            + (z**3 - 3 * z) * kurtosis / 24
            - (2 * z**3 - 5 * z) * skewness**2 / 36
        )
        ends.append(mean + bent * math.sqrt(powers[0] / num))
    return max(ends[0], min(values)), min(ends[1], max(values))
