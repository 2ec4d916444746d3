"""FARMS: alpha averaged over submatrices of one aspect ratio, free of the bias of q.

Hu et al., "Eigenspectrum analysis of neural networks without aspect ratio bias" (ICML 2025).
Composes `hill` and `tails`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from zoo.columns import ONE, Group
from zoo.errors import ArgumentError
from zoo.spectral.arrays import ArrayLike, Tensor
from zoo.spectral.hill import alpha_hill
from zoo.spectral.inputs import stack_of
from zoo.spectral.scalars import above_tolerance
from zoo.spectral.tails import TailFit, fit_data

MAX_WINDOWS = 16
"""Windows taken from one slice, evenly spaced; more columns than this many sides are sampled."""


@dataclass(frozen=True, slots=True)
class Farms(Group):
    """Tail exponents over square submatrices; None when no window has one."""

    farms_alpha: Annotated[float | None, ONE]
    """Mean of the maximum-likelihood alpha over square submatrices; NULL unless [tail] farms."""
    farms_alpha_hill: Annotated[float | None, ONE]
    """Mean of the Hill estimate at the median over square submatrices, the estimator of the paper; NULL
    unless [tail] farms."""
    num_windows: int
    """Windows of one slice; no column."""


def farms(matrices: Tensor | ArrayLike, *, storage_bits: int) -> Farms:
    """Average alpha over square m×m windows of `matrices` [k, rows, cols].

    The windows slide along the longer side, as many as cover it with least overlap, at most 16 a
    slice. The paper fixes the ratio (1 here, so that a square matrix is its own window) and leaves
    the size free; its code pools the windows' eigenvalues for dense layers and averages alpha for
    convolutions. We average for both, and pool the k slices of a convolution at each window as the
    layer itself does. One matrix [rows, cols] will do. Raises ArgumentError for NaN and Inf.
    """
    import torch  # here: the class above is read without it, in no time

    matrices = stack_of(matrices)
    k, rows, cols = matrices.shape
    side, longest = min(rows, cols), max(rows, cols)
    if k == 0 or side == 0:
        return Farms(None, None, 0)
    axis = 1 if rows >= cols else 2
    starts = window_starts(longest, side)
    fits: list[float] = []
    hills: list[float] = []
    for start in starts:
        window = matrices.detach().narrow(axis, start, side).to(torch.float64)
        if not bool(torch.isfinite(window).all()):
            raise ArgumentError("the matrix holds NaN or Inf; wanted finite entries")
        sigma = torch.linalg.svdvals(window).reshape(-1).cpu().numpy()
        sigma = np.ldexp(sigma, -math.frexp(float(sigma.max()))[1])  # its squares fit at any scale
        data = above_tolerance(np.sort(sigma**2), m=side, storage_bits=storage_bits)
        hill = alpha_hill(data)
        if hill is not None:
            hills.append(hill)
        fit = fit_data(data, evals=data)
        if isinstance(fit, TailFit):
            fits.append(fit.alpha)
    return Farms(_mean(fits), _mean(hills), len(starts))


def window_starts(longest: int, side: int) -> tuple[int, ...]:
    """First rows (or columns) of the windows: both ends covered, evenly spaced."""
    count = min(MAX_WINDOWS, -(-longest // side))
    if count == 1:
        return (0,)
    return tuple(round(i * (longest - side) / (count - 1)) for i in range(count))


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
