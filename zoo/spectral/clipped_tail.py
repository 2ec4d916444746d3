"""Fingers: a few outlying eigenvalues that make a fitted alpha too large, clipped off.

WeightWatcher's `fix_fingers="clip_xmax"` with its slips corrected. Composes
`tails`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from zoo.columns import COUNT, ONE, Group
from zoo.spectral.arrays import ArrayLike
from zoo.spectral.inputs import spectrum_of
from zoo.spectral.scalars import above_tolerance
from zoo.spectral.tails import NoTail, TailFit, fit_data

MAX_FINGERS = 10
"""At most this many of the largest eigenvalues are clipped."""
MIN_ALPHA_DROP = 1.0
"""Clipping is taken when it lowers alpha by more than this."""
STOP_AT_ALPHA = 2.0
"""No more eigenvalues are clipped once alpha is at or below this."""


@dataclass(frozen=True, slots=True)
class Clipping(Group):
    """What clipping did."""

    num_fingers: Annotated[int, COUNT]
    """Largest eigenvalues clipped before the fit, 0 to 10; NULL unless [tail] clip_fingers."""
    raw_alpha: Annotated[float | None, ONE]
    """alpha of the whole spectrum, without clipping; NULL unless [tail] clip_fingers."""


@dataclass(frozen=True, slots=True)
class ClippedFit:
    """A tail fit after clipping; equals the raw fit when no clipping helps."""

    tail: TailFit | NoTail
    clipping: Clipping


def fit_clipped(evals: ArrayLike, *, m: int, storage_bits: int) -> ClippedFit:
    """Clip the k = 1, 2, …, 10 largest eigenvalues until alpha falls by more than 1.

    Stops with the first k that does, or gives the raw fit when none does, when alpha reaches 2 on
    the way, or when fewer eigenvalues than a fit needs would remain. WeightWatcher 0.7.7 never
    tries k = 1, reports k − 1, and ignores the requested maximum in practice.
    """
    evals = spectrum_of(evals)
    data = above_tolerance(evals, m=m, storage_bits=storage_bits)
    raw = fit_data(data, evals=evals)
    if isinstance(raw, NoTail):
        return ClippedFit(raw, Clipping(0, None))
    for k in range(1, MAX_FINGERS + 1):
        clipped = fit_data(data[: data.size - k], evals=evals)
        if isinstance(clipped, NoTail):
            break
        if clipped.alpha + MIN_ALPHA_DROP < raw.alpha:
            return ClippedFit(clipped, Clipping(k, raw.alpha))
        if clipped.alpha <= STOP_AT_ALPHA:
            break
    return ClippedFit(raw, Clipping(0, raw.alpha))
