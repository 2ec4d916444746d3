"""How well two orders of the same models agree: rank correlations with their intervals. Knows no table.

Intervals are by Fisher's z with the standard errors of Bonett and Wright (2000), which hold from small
samples on; of a perfect agreement the interval is that of half a step less, or it would have no width.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

MIN_MODELS = 5
"""Fewer models give no interval: every order of four is likely by chance."""
_Z = 1.959963984540054
"""97.5 % point of the normal law."""


@dataclass(frozen=True, slots=True)
class Correlation:
    """A rank correlation and its 95 % interval."""

    value: float
    """In [-1, 1]."""
    low: float | None
    high: float | None
    """None for fewer than five models."""


def spearman(x: Sequence[float], y: Sequence[float]) -> Correlation | None:
    """Spearman's rho, equal values having their mean rank; None where one side has one value alone."""
    a, b = _ranks(x), _ranks(y)
    num = len(a)
    mean = (num - 1) / 2
    spread = math.sqrt(
        math.fsum((v - mean) ** 2 for v in a) * math.fsum((v - mean) ** 2 for v in b)
    )
    if num < 2 or not spread:
        return None
    value = math.fsum((p - mean) * (q - mean) for p, q in zip(a, b, strict=True)) / spread
    step = 12 / (num * (num**2 - 1))
    variance = (1 + value**2 / 2) / (num - 3) if num >= MIN_MODELS else None
    return _with_interval(value, variance, step)


def kendall(x: Sequence[float], y: Sequence[float]) -> Correlation | None:
    """Kendall's tau-b, which takes ties into account; None where one side has one value alone."""
    num = len(x)
    pairs = math.comb(num, 2)
    tied_x, tied_y, tied = (_tied(values) for values in (x, y, list(zip(x, y, strict=True))))
    if pairs in (tied_x, tied_y):
        return None
    swapped, seen = 0, list[float]()
    for _, value in sorted(zip(x, y, strict=True)):
        swapped += len(seen) - bisect_right(seen, value)
        insort(seen, value)
    agreeing = pairs - tied_x - tied_y + tied - 2 * swapped
    value = agreeing / math.sqrt((pairs - tied_x) * (pairs - tied_y))
    variance = 0.437 / (num - 4) if num >= MIN_MODELS else None
    return _with_interval(value, variance, 2 / pairs)


def _with_interval(value: float, variance: float | None, step: float) -> Correlation:
    """`step`: by how much the next best order falls short of a perfect one."""
    value = max(-1.0, min(1.0, value))
    if variance is None:
        return Correlation(value, None, None)
    most = 1 - step / 2
    z, width = math.atanh(max(-most, min(most, value))), _Z * math.sqrt(variance)
    low, high = math.tanh(z - width), math.tanh(z + width)
    return Correlation(value, min(low, value), max(high, value))


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 0; equal values get their mean rank."""
    ordered = sorted(values)
    first = {value: place for place, value in reversed(list(enumerate(ordered)))}
    count = Counter(values)
    return [first[value] + (count[value] - 1) / 2 for value in values]


def _tied(values: Sequence[object]) -> int:
    """Pairs of equal values."""
    return sum(math.comb(number, 2) for number in Counter(values).values())
