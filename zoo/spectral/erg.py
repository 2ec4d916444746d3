"""The ERG (trace-log, det X = 1) condition: the tail whose product of eigenvalues is one.

Knows nothing of how the power-law tail was fitted; takes its xmin and size.
Units: mean eigenvalue 1, λ·count/Σλ over all eigenvalues.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from zoo.columns import COUNT, NAT, ONE, Group
from zoo.errors import ArgumentError
from zoo.spectral.arrays import ArrayLike, Vector
from zoo.spectral.inputs import spectrum_of


@dataclass(frozen=True, slots=True)
class Erg(Group):
    """Effective correlation space of one spectrum."""

    erg_num: Annotated[int | None, COUNT] = None
    """Eigenvalues in the first tail from the top with Σ ln λ below 0; NULL for a zero or constant
    spectrum."""
    erg_lambda_min: Annotated[float | None, ONE] = None
    """Smallest eigenvalue of that tail, mean-1 units; 0 when it reaches the null space."""
    erg_gap: Annotated[int | None, COUNT] = None
    """erg_num − num_tail; NULL without a tail fit."""
    erg_delta: Annotated[float | None, ONE] = None
    """xmin − erg_lambda_min, both in mean-1 units; NULL without a tail fit."""
    erg_log_ratio: Annotated[float | None, NAT] = None
    """ln(xmin/erg_lambda_min); NULL without a tail fit, or when erg_lambda_min is 0."""


def mean_one(evals: ArrayLike) -> Vector:
    """The eigenvalues in mean-1 units, λ·count/Σλ, ascending. ArgumentError unless λ_max > 0."""
    evals = spectrum_of(evals)
    if evals.size == 0 or evals[-1] <= 0.0:
        raise ArgumentError("got no eigenvalue above 0; wanted λ_max > 0: 0 has no mean-1 units")
    relative = evals / evals[-1]  # first, so that the sum neither over- nor underflows
    mean_one_evals: Vector = relative * (relative.size / relative.sum())
    return mean_one_evals


def erg_size(mean_one_evals: ArrayLike) -> int | None:
    """Size of the smallest top tail of mean-1 eigenvalues whose Σ ln λ is below 0 (SETOL,
    TRACE-LOG).

    Cumulative log sums from the top: exact for any size, where WeightWatcher's plain product over-
    and underflows from some 3,000 eigenvalues on. Like WeightWatcher's it includes the eigenvalue
    that breaks the condition. By Jensen's inequality there is such a tail unless all values are
    equal: None.
    """
    mean_one_evals = spectrum_of(mean_one_evals)
    return _erg_size(mean_one_evals) if mean_one_evals.size else None


def _erg_size(mean_one_evals: Vector) -> int | None:
    if mean_one_evals[0] == mean_one_evals[-1]:
        return None
    positive = mean_one_evals[mean_one_evals.searchsorted(0.0, side="right") :]
    (below,) = (np.log(positive[::-1]).cumsum() < 0.0).nonzero()
    if below.size:
        return int(below[0]) + 1
    # an eigenvalue of 0 brings the sum to −∞; without one Σ ln λ over all is < 0 but for rounding
    return min(int(positive.size) + 1, int(mean_one_evals.size))


def erg(
    evals: ArrayLike,
    *,
    xmin: float | None,
    num_tail: int | None,
    mean_one_evals: Vector | None = None,
) -> Erg:
    """The ERG columns of eigenvalues `evals`, beside a tail fit (None, None without one).

    `xmin` > 0 in the units of `evals`; `mean_one_evals`: `mean_one(evals)`, where it is at hand.
    Raises ArgumentError for values that are no eigenvalues, and for xmin without num_tail.
    """
    evals = spectrum_of(evals)
    if (xmin is None) != (num_tail is None) or (xmin is not None and xmin <= 0.0):
        raise ArgumentError(
            f"got xmin={xmin}, num_tail={num_tail}; wanted both of one tail fit, or neither"
        )
    if evals.size == 0 or evals[-1] <= 0.0:
        return Erg()
    mean_one_evals = mean_one(evals) if mean_one_evals is None else mean_one_evals
    size = _erg_size(mean_one_evals)
    if size is None:
        return Erg()
    smallest = float(mean_one_evals[-size])
    if xmin is None or num_tail is None:
        return Erg(size, smallest)
    mean_one_xmin = float(xmin / evals[-1] * mean_one_evals[-1])
    ratio = math.log(mean_one_xmin / smallest) if smallest > 0.0 else None
    return Erg(
        erg_num=size,
        erg_lambda_min=smallest,
        erg_gap=size - num_tail,
        erg_delta=mean_one_xmin - smallest,
        erg_log_ratio=ratio,
    )
