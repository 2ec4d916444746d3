"""All eigenvalues of a symmetric matrix, and afterwards a few of its eigenvectors for next to nothing.

A = Q T Qᵀ with T tridiagonal (LAPACK sytrd) and the eigenvalues of T (sterf): what `syevd` does
when no vectors are wanted, to the bit. Kept, Q and T give the vectors of the largest eigenvalues in
O(m²) each, a tenth of a search for them. Solves in float32 or float64, whichever it is given.
Knows nothing of the matrices behind A.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float64
from scipy.linalg import eigh_tridiagonal, lapack

from zoo.spectral.arrays import Doubles, Reals
from zoo.spectral.two_stage import two_stage_eigenvalues
from zoo.spectral.unlocked import reduced, tridiagonal_eigenvalues

_PANEL_COLUMNS = 32
"""Columns that LAPACK reduces at a time. Its wrapper's default workspace allows one column, which is
twice as slow."""
_TWO_STAGE_ABOVE = 2048
"""Matrices of a larger order are solved in two stages, where this machine can (`two_stage`)."""
_SAFE_EXPONENT = 40
"""A float32 matrix whose trace lies within 2^±40 needs no scaling: every product stays in range."""
NOT_FINITE = "the matrix holds NaN or Inf; wanted finite entries, reject the layer first"
"""The message for a matrix that cannot be solved."""


@dataclass(frozen=True, slots=True)
class Reduction:
    """A symmetric matrix of order m in tridiagonal form; holds m² numbers."""

    reflectors: Float[Reals, "m m"]
    """Householder vectors below the first subdiagonal, as `sytrd` leaves them."""
    factors: Float[Reals, " m-1"]
    """The scalar factors of the reflectors, LAPACK's `tau`."""
    diagonal: Float64[Doubles, " m"]
    """Diagonal of the tridiagonal matrix."""
    off_diagonal: Float64[Doubles, " m-1"]
    """First subdiagonal of the tridiagonal matrix."""

    def leading(self, count: int) -> Float64[Doubles, "m {count}"]:
        """Unit eigenvectors of the `count` largest eigenvalues as columns, largest first."""
        order = self.diagonal.size
        _, inner = eigh_tridiagonal(
            self.diagonal,
            self.off_diagonal,
            select="i",
            select_range=(order - count, order - 1),
            check_finite=False,
            lapack_driver="stemr",
        )
        if order < 3:  # already tridiagonal
            return np.asarray(inner[:, ::-1])
        ormqr = lapack.sormqr if self.reflectors.dtype == np.float32 else lapack.dormqr
        turned = np.asfortranarray(inner[:, ::-1], dtype=self.reflectors.dtype)
        # Q is the identity in the first row and column and a product of reflectors, as of a QR, in the others
        moved, _, info = ormqr(
            "L", "N", self.reflectors[1:, :-1], self.factors, turned[1:], max(64 * count, 1)
        )
        _check(info, "ormqr", order)
        turned[1:] = moved
        return np.asarray(turned, dtype=np.float64)


def symmetric_eigenvalues(
    lower: Float[Reals, "m m"], *, keep: bool = False
) -> tuple[Float64[Doubles, " m"], Reduction | None]:
    """Ascending eigenvalues ≥ 0 of a positive semidefinite matrix given by its lower triangle.

    `lower`, Fortran order, float32 or float64, is overwritten. `keep`: return the reduction
    too, for `Reduction.leading`. Raises ValueError when an entry is not finite.
    """
    order = len(lower)
    trace = float(np.trace(lower))
    if not math.isfinite(trace):
        raise ValueError(NOT_FINITE)
    exponent = _exponent(trace, lower.dtype)
    if exponent:
        lower *= lower.dtype.type(2.0**-exponent)
    if order == 1:
        values = np.maximum(lower[0].astype(np.float64), 0.0)
        return np.ldexp(values, exponent), None
    if order > _TWO_STAGE_ABOVE and not keep and lower.dtype == np.float64:
        evals = two_stage_eigenvalues(np.asarray(lower, dtype=np.float64))
        if evals is not None:
            return np.asarray(np.maximum(evals, 0.0)), None
    reflectors, diagonal, off_diagonal, factors, info = reduced(lower, panel=_PANEL_COLUMNS)
    _check(info, "sytrd", order)
    values, info = tridiagonal_eigenvalues(diagonal, off_diagonal)
    _check(info, "sterf", order)
    evals = np.maximum(values.astype(np.float64), 0.0)  # rounding makes zeros slightly negative
    if exponent:
        evals = np.ldexp(evals, exponent)
    if not keep:
        return evals, None
    reduction = Reduction(
        reflectors, factors, diagonal.astype(np.float64), off_diagonal.astype(np.float64)
    )
    return evals, reduction


def _exponent(trace: float, dtype: np.dtype[Any]) -> int:
    """Power of two that brings a float32 matrix to a trace of about 1, where it is far from that."""
    exponent = math.frexp(trace)[1]
    return 0 if dtype != np.float32 or abs(exponent) <= _SAFE_EXPONENT else exponent


def _check(info: int, routine: str, order: int) -> None:
    """Raises ArithmeticError where LAPACK reports a failure."""
    if info != 0:
        raise ArithmeticError(f"LAPACK {routine} failed (info {info}) on a matrix of order {order}")
