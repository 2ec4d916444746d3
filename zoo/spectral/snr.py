"""Signal over noise of one spectrum: what lies above the edge of the bulk over what lies below.

In the manner of Spectrum (Hartford et al. 2024, arXiv:2406.06623, section 4): singular values s, summed above
a threshold and below it. Knows nothing of names and of which layers are trained.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from zoo.columns import ONE, Group, Since
from zoo.spectral.arrays import ArrayLike
from zoo.spectral.inputs import aspect_ratio, spectrum_of

_IQR_OF_NORMAL = 1.349
"""Interquartile range of the standard normal law, by which Spectrum takes a range for a deviation."""


@dataclass(frozen=True, slots=True)
class Snr(Group):
    """Both ratios; each is NULL where no singular value is below its threshold."""

    mp_snr: Annotated[float | None, ONE, Since(3)] = None
    """Σ√λ over the eigenvalues above mp_edge_upper over Σ√λ of the others; 0 where none is above. NULL
    without a bulk, and in rows older than this column until a refit."""
    spectrum_snr: Annotated[float | None, ONE, Since(3)] = None
    """The same with Spectrum's threshold σ(1 + √γ), σ the interquartile range of √λ over 1.349. Spectrum
    ranks layers of one kind by this over √λ_max."""


def snr(evals: ArrayLike, *, n: int, m: int, edge: float | None) -> Snr:
    """The ratios of ascending eigenvalues of n×m slices; `edge`: mp_edge_upper in their unit, or None.

    What is rounding in `evals` is to be 0: a matrix of low rank has no noise, and so no ratio.
    """
    values = np.sqrt(spectrum_of(evals))
    total = float(values.sum())
    low, high = np.quantile(values, (0.25, 0.75))
    sigma = float(high - low) / _IQR_OF_NORMAL
    threshold = sigma * (1.0 + math.sqrt(aspect_ratio(n=n, m=m)))

    def ratio(least: float) -> float | None:
        signal = float(values[values > least].sum())
        noise = total - signal if signal < total else 0.0
        return signal / noise if noise > 0.0 else None

    return Snr(None if edge is None else ratio(math.sqrt(edge)), ratio(threshold))
