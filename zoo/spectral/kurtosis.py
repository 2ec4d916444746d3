"""Excess kurtosis of a matrix's entries that a few planted entries cannot raise.

The trap test moves its threshold with the kurtosis of the bulk of the entries. An entry large
enough to make a trap would raise the plain kurtosis, and with it the threshold above itself; so
entries beyond what an exponential tail explains are left out.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_SAMPLE = 1 << 14
_FAR, _NEAR = 1e-3, 1e-2
"""Shares of entries beyond the two quantiles that fix the exponential tail."""
_EXPECTED = 0.01
"""Entries expected beyond the cut in the whole matrix if the tail were exponential."""


def bulk_kurtosis(
    shuffled: NDArray[np.floating], *, max_abs: float, kurtosis: float | None = None
) -> float:
    """Excess kurtosis of the entries within the cut (`tail_cut`), at least −2; 0 for constant
    entries.

    `shuffled`: 1-D, in random order, so that its start is a fair sample. `kurtosis`: of all
    entries, where it is known; used when no entry (`max_abs`) is beyond the cut.
    """
    if not 0.0 < max_abs < math.inf:
        return 0.0
    cut = tail_cut(shuffled)
    if max_abs <= cut or cut <= 0.0:
        return _excess(shuffled / max_abs) if kurtosis is None else kurtosis
    kept = np.abs(shuffled) <= cut
    return _excess(shuffled[kept] / cut)


def tail_cut(shuffled: NDArray[np.floating]) -> float:
    """|w| beyond which 0.01 entries are expected, extrapolated exponentially from two upper
    quantiles.
    """
    sample = np.abs(shuffled[:_SAMPLE])
    size = sample.size
    far = max(round(_FAR * size), 4)
    near = max(round(_NEAR * size), 20)
    if size <= near:
        return math.inf
    ordered = np.partition(sample, (size - near, size - far))
    low, high = float(ordered[size - near]), float(ordered[size - far])
    decay = (high - low) / math.log(near / far)
    return high + decay * math.log(far / size * shuffled.size / _EXPECTED)


def _excess(entries: NDArray[np.floating]) -> float:
    centred = entries.astype(np.float64, copy=False) - entries.mean(dtype=np.float64)
    squares = centred * centred
    second = float(squares.mean())
    if second <= 0.0:
        return 0.0
    return max(float(squares @ squares) / squares.size / second**2 - 3.0, -2.0)
