"""Scalars of one spectrum: norms, ranks and entropy.

Pure functions of eigenvalues. Knows nothing of tails, layers, models or machines.

`evals` everywhere: eigenvalues λ of WᵀW (squared singular values, no 1/N), in any order, in float64
when computed with. A pooled convolution brings m·receptive_field of them. A scalar that has no value for a matrix is
None, never NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from zoo.columns import COUNT, LAMBDA, LOG10_LAMBDA, ONE, Group
from zoo.errors import ArgumentError
from zoo.spectral.arrays import ArrayLike, Vector
from zoo.spectral.inputs import spectrum_of


@dataclass(frozen=True, slots=True)
class Scalars(Group):
    """Norms, ranks and entropy of one spectrum."""

    lambda_max: Annotated[float | None, LAMBDA] = None
    """Largest eigenvalue, the squared spectral norm."""
    lambda_min: Annotated[float | None, LAMBDA] = None
    """Smallest eigenvalue; 0 for a singular matrix."""
    frobenius_norm_sq: Annotated[float | None, LAMBDA] = None
    """Squared Frobenius norm, Σλ over all slices of a convolution."""
    log_norm: Annotated[float | None, LOG10_LAMBDA] = None
    """log10 Σλ; NULL for the zero matrix."""
    log_spectral_norm: Annotated[float | None, LOG10_LAMBDA] = None
    """log10 λ_max; NULL for the zero matrix."""
    stable_rank: Annotated[float | None, ONE] = None
    """Σλ/λ_max, in [1, num_evals]; NULL for the zero matrix."""
    matrix_rank: Annotated[int, COUNT] = 0
    """Eigenvalues above the numerical-rank tolerance; 0 for the zero matrix."""
    matrix_entropy: Annotated[float | None, ONE] = None
    """−Σ p ln p / ln rank with p = λ/Σλ, in [0, 1]; 0 for rank one, NULL for the zero matrix."""


def machine_epsilon(storage_bits: int) -> float:
    """Spacing of the numbers that the matrix was computed in: 2⁻⁵² for float64, else 2⁻²³.

    Stored types below 32 bits hold exact values which are computed with as float32, so they count
    as 32.
    """
    return 2.0**-52 if storage_bits >= 64 else 2.0**-23


def rank_tolerance(lambda_max: float, *, m: int, storage_bits: int) -> float:
    """Eigenvalues at or below `λ_max·(m·ε)²` count as zero: σ ≤ σ_max·m·ε, ε = `machine_epsilon`.

    Relative to λ_max, so that nothing derived from it changes with the scale of W.
    """
    return lambda_max * (m * machine_epsilon(storage_bits)) ** 2


def without_noise(evals: ArrayLike, *, m: int, storage_bits: int) -> Vector:
    """The eigenvalues with those of rounding alone as 0: at or below λ_max·m·2⁻⁵².

    That is how exactly a float64 Gram matrix gives them (`solve.solve`); those of float64
    weights are exact to the square of it. Without any, the array itself.
    """
    evals = spectrum_of(evals)
    if evals.size == 0:
        return evals
    exact = m * 2.0**-52
    floor = evals[-1] * (exact**2 if storage_bits >= 64 else exact)
    return evals if evals[0] > floor else np.where(evals > floor, evals, 0.0)


def above_tolerance(evals: ArrayLike, *, m: int, storage_bits: int) -> Vector:
    """The eigenvalues above `rank_tolerance`, ascending (a view)."""
    return _above_tolerance(spectrum_of(evals), m, storage_bits)


def _above_tolerance(evals: Vector, m: int, storage_bits: int) -> Vector:
    if evals.size == 0 or evals[-1] <= 0.0:
        return evals[:0]
    tolerance = rank_tolerance(float(evals[-1]), m=m, storage_bits=storage_bits)
    return evals[evals.searchsorted(tolerance, side="right") :]


def matrix_entropy(nonzero: ArrayLike) -> float | None:
    """−Σ p ln p / ln r over the r eigenvalues above the rank tolerance, p = λ/Σλ; in [0, 1].

    WeightWatcher's definition without its 1e-10 offsets (which give 1127 for rank one). Rank one:
    0.0, the limit of any spectrum that puts all weight on one eigenvalue; no eigenvalue: None.
    """
    nonzero = spectrum_of(nonzero)
    if nonzero.size and nonzero[0] <= 0.0:
        raise ArgumentError("got an eigenvalue of 0; wanted those of `above_tolerance`")
    return _matrix_entropy(nonzero)


def _matrix_entropy(nonzero: Vector) -> float | None:
    if nonzero.size == 0:
        return None
    if nonzero.size == 1:
        return 0.0
    p = nonzero / nonzero[-1]
    p /= p.sum()
    entropy = -float(p @ np.log(p)) / math.log(p.size)
    return min(entropy, 1.0)  # rounding can exceed the bound by an ulp on a flat spectrum


def scalars(evals: ArrayLike, *, n: int, m: int, storage_bits: int) -> Scalars:
    """Every scalar of the spectrum of an n×m matrix (n ≥ m).

    Defined for the zero, rank-one and constant matrix; a number that leaves the range of float64
    is None. Raises ArgumentError for values that are no eigenvalues (`spectrum_of`): such layers are
    failed before they get here.
    """
    if not 0 <= m <= n:
        raise ArgumentError(f"got n={n}, m={m}; wanted n ≥ m ≥ 0 (n is the larger side)")
    evals = spectrum_of(evals)
    if evals.size == 0:
        return Scalars()
    largest, smallest = float(evals[-1]), float(evals[0])
    nonzero = _above_tolerance(evals, m, storage_bits)
    if largest <= 0.0:
        return Scalars(lambda_max=largest, lambda_min=smallest, frobenius_norm_sq=0.0)
    relative_sum = float((evals / largest).sum())  # divide first: Σλ can overflow
    total = relative_sum * largest
    log_largest = math.log10(largest)
    return Scalars(
        lambda_max=largest,
        lambda_min=smallest,
        frobenius_norm_sq=total if math.isfinite(total) else None,
        log_norm=math.log10(relative_sum) + log_largest,
        log_spectral_norm=log_largest,
        stable_rank=relative_sum,
        matrix_rank=int(nonzero.size),
        matrix_entropy=_matrix_entropy(nonzero),
    )
