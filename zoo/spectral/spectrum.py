"""Eigenvalues of one layer as the catalog stores them.

They are kept as float32 values times one power of two: a number computed from a `Spectrum` is the
number computed from the stored row. Knows nothing of matrices, tails, traps or layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from zoo.spectral.arrays import Vector

_SAFE_EXPONENT = 60
"""A spectrum whose λ_max lies within 2^±60 is stored as it is. Float32 reaches 2^±126, so that its
smallest eigenvalues fit too."""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Eigenvalues λ = evals·2^scale_exponent, ascending; each of `evals` is a float32 value."""

    evals: Vector
    """Ascending, ≥ 0; k·m of them for a stack of k matrices with smaller side m."""
    scale_exponent: int
    """0 unless λ_max leaves 2^±60 (entries of 1e30, or subnormal ones)."""

    @property
    def true_evals(self) -> Vector:
        """λ itself; zero or infinite where λ leaves the range of float64."""
        if self.scale_exponent == 0:
            return self.evals
        with np.errstate(over="ignore", under="ignore"):
            return np.ldexp(self.evals, self.scale_exponent)

    @staticmethod
    def rounded(evals: Vector, exponent: int = 0) -> Spectrum:
        """The spectrum of λ = evals·2^exponent, sorted and rounded to what is stored."""
        ordered = np.sort(evals)
        np.maximum(ordered, 0.0, out=ordered)
        largest = float(ordered[-1]) if ordered.size else 0.0
        shift = math.frexp(largest)[1] if largest > 0.0 else 0
        if largest == 0.0 or abs(shift + exponent) <= _SAFE_EXPONENT:
            shift = -exponent
        with np.errstate(under="ignore"):
            scaled = np.ldexp(ordered, -shift).astype(np.float32)
        return Spectrum(scaled.astype(np.float64), exponent + shift if largest > 0.0 else 0)
