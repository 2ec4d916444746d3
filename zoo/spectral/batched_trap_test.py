"""How many eigenvalues a search for traps must find, for many slices at once: `trap_test`'s count, in arrays.

The search asks after every few passes, for a whole batch; the test itself is made once, by `trap_test`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from zoo.spectral.arrays import Doubles, NDArray
from zoo.spectral.tracy_widom import tw1_quantile
from zoo.spectral.trap_test import BulkEntries, kurtosis_shift


def nums_wanted(
    tops: Float64[Doubles, "k estimates"],
    traces: Float64[Doubles, " k"],
    bulks: Sequence[BulkEntries],
    *,
    n: int,
    m: int,
    level: float,
) -> NDArray[np.intp]:
    """`ShuffleTest.num_wanted` of every slice by itself; `tops`: descending. 1 where a slice has no bulk."""
    quantile = tw1_quantile(level)
    kurtosis = np.array([bulk.kurtosis for bulk in bulks])
    shares = np.array([bulk.extreme_share for bulk in bulks])
    counts = [
        _count(tops, traces, shares, shift, n=n, m=m, quantile=quantile)
        for shift in (kurtosis, np.zeros_like(kurtosis))
    ]
    return np.maximum(*counts) + 1


def _count(
    tops: Float64[Doubles, "k estimates"],
    traces: Float64[Doubles, " k"],
    shares: Float64[Doubles, " k"],
    kurtosis: Float64[Doubles, " k"],
    *,
    n: int,
    m: int,
    quantile: float,
) -> NDArray[np.intp]:
    """Traps of every slice: counted, taken out of the variance, and counted again until nothing changes."""
    k, size = tops.shape
    limit = min(size, m // 2) if m > 1 else 0
    sums = np.concatenate((np.zeros((k, 1)), np.cumsum(tops, axis=1)), axis=1)
    kept = 1.0 - shares if m > 1 else np.ones(k)
    shift = kurtosis_shift(1.0, m / n) * kurtosis
    found, places = np.zeros(k, dtype=np.intp), np.arange(k)
    is_open = traces > 0.0
    while is_open.any():
        rest = (traces - sums[places, found]) / ((n - found) * (m - found))
        variance = np.minimum(rest, traces * kept / (n * m))
        has_bulk = variance > 1e-12 * traces / (n * m)
        a = np.sqrt(np.maximum(np.maximum(n - found, 1) - 1, 1))
        b = np.sqrt(np.maximum(m - found, 1))
        scale = (a + b) * np.cbrt(1.0 / a + 1.0 / b)
        threshold = variance * ((a + b) ** 2 + quantile * scale + shift)
        above = (tops > threshold[:, None]).sum(axis=1)
        found[is_open & ~has_bulk] = 0
        is_open = is_open & has_bulk & (above > found) & (found < limit)
        found = np.where(is_open, np.minimum(above, limit), found)
    return found
