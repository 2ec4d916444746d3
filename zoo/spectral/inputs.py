"""What a caller hands to a formula, made what the formula is written for, or refused by name.

The formulas are called by the pipeline, which keeps eigenvalues ascending in float64, and from
notebooks, where `np.linalg.svd` gives singular values in descending order, torch gives tensors and
Python gives lists. A fit of descending values would be nonsense without a word, so each public
formula passes its input through here; what already fits comes back as the same object, for a
microsecond.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Float64, Shaped

from zoo.errors import ArgumentError
from zoo.spectral.arrays import ArrayLike, Doubles, NDArray, Tensor, Vector

_ROUNDING = 1e-6
"""Negative eigenvalues down to this share of the largest are rounding of a float32 solver: they count
as 0."""


def spectrum_of(values: ArrayLike, *, what: str = "eigenvalues") -> Vector:
    """Eigenvalues of WᵀW in any order and any real type, as an ascending float64 array, shape (N,).

    The same object when it is one already. Raises ArgumentError for matrices, NaN, Inf, complex
    numbers and values below zero by more than rounding: those are no eigenvalues of WᵀW.
    """
    if type(values) is np.ndarray and values.dtype == np.float64 and values.ndim == 1:
        ordered = np.count_nonzero(values[1:] >= values[:-1]) >= values.size - 1  # no NaN either
        if ordered and (values.size == 0 or (values[0] >= 0.0 and values[-1] < math.inf)):
            return values
    numbers = real_array(values, what=what)
    if numbers.ndim != 1:
        raise ArgumentError(
            f"got {what} of shape {list(numbers.shape)}; wanted a list of numbers. "
            "Of a matrix W they are np.linalg.svd(W, compute_uv=False) ** 2"
        )
    if not np.isfinite(numbers).all():
        raise ArgumentError(f"{what} hold NaN or Inf; wanted finite values, reject the layer first")
    ascending = np.sort(numbers)
    if ascending.size and ascending[0] < 0.0:
        if ascending[0] < -_ROUNDING * ascending[-1]:
            raise ArgumentError(
                f"got {what} down to {ascending[0]:g}; wanted those of WᵀW, squared singular values, "
                "which are never negative"
            )
        np.maximum(ascending, 0.0, out=ascending)
    return ascending


def tail_of(values: ArrayLike, *, at_least: int = 1) -> Vector:
    """`spectrum_of` for the values of a tail: all positive, `at_least` so many of them."""
    tail = spectrum_of(values, what="tail values")
    if tail.size < at_least:
        raise ArgumentError(f"got {tail.size} tail values; wanted at least {at_least}")
    if tail.size and tail[0] <= 0.0:
        raise ArgumentError("got a tail value of 0; wanted only those ≥ xmin > 0")
    return tail


def real_array(values: ArrayLike, *, what: str) -> Float64[Doubles, " ..."]:
    """Numbers, lists, arrays or tensors of any shape as float64. ArgumentError for anything else.

    The same object when it is such an array already.
    """
    if type(values) is np.ndarray and values.dtype == np.float64:
        return values
    if hasattr(values, "detach"):  # a tensor, without importing torch: on any device, of any type
        tensor: Any = values
        if tensor.is_complex():
            raise ArgumentError(f"got complex {what}; wanted real numbers")
        return np.asarray(tensor.detach().cpu().double().numpy())
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of unequal lengths
        raise ArgumentError(f"got {what} that are no array: {error}") from error
    if array.size == 0:
        return array.astype(np.float64)
    if array.dtype.kind not in "fiub":
        raise ArgumentError(f"got {what} of type {array.dtype}; wanted real numbers")
    return array.astype(np.float64)


def stack_of(matrices: Tensor | ArrayLike) -> Shaped[Tensor, "k rows cols"]:
    """A matrix, or a stack of equal ones, as a tensor [k, rows, cols]; shares memory where it can.

    Raises ArgumentError for other shapes and for complex or non-numeric entries.
    """
    import torch

    if not isinstance(matrices, torch.Tensor):
        array = np.asarray(matrices)
        if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
            raise ArgumentError(f"got a matrix of type {array.dtype}; wanted real numbers")
        matrices = torch.from_numpy(np.array(array) if _is_awkward(array) else array)
    if matrices.is_complex():
        raise ArgumentError(f"got a matrix of type {matrices.dtype}; wanted real numbers")
    if matrices.ndim == 2:
        return matrices.unsqueeze(0)
    if matrices.ndim != 3:
        raise ArgumentError(
            f"got an array of shape {list(matrices.shape)}; wanted a matrix [rows, cols] or a stack "
            "[k, rows, cols]"
        )
    return matrices


def _is_awkward(array: NDArray[np.generic]) -> bool:
    """True for what torch can't share: read-only memory, and strides that run backwards."""
    return not array.flags.writeable or any(stride < 0 for stride in array.strides)


def aspect_ratio(*, n: int, m: int) -> float:
    """γ = m/n of n×m matrices, in (0, 1]. Raises ArgumentError unless n ≥ m ≥ 1."""
    if not 1 <= m <= n:
        raise ArgumentError(f"got n={n}, m={m}; wanted n ≥ m ≥ 1 (n is the larger side)")
    return m / n


def check_law(*, sigma: float, gamma: float) -> None:
    """Raises ArgumentError unless σ > 0 and 0 < γ ≤ 1: other values are no Marchenko-Pastur law."""
    if not 0.0 < sigma < math.inf:
        raise ArgumentError(f"got sigma={sigma}; wanted a finite standard deviation above 0")
    if not 0.0 < gamma <= 1.0:
        raise ArgumentError(f"got gamma={gamma}; wanted m/n in (0, 1], m the smaller side (1/q)")
