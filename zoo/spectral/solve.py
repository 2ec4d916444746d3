"""Eigenvalues of WᵀW for one matrix or a pooled stack of equal ones.

The Gram matrix of the smaller side is accumulated by blocks of rows, so a matrix of any height needs
no copy in another precision, and solved in place. Knows nothing of tails, traps or layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Real

from zoo.machine.device import GRAM_DTYPE
from zoo.spectral.arrays import ArrayLike, Doubles, Reals
from zoo.spectral.batched_solve import Solver, grams, symmetric_eigenvalues_of
from zoo.spectral.inputs import stack_of
from zoo.spectral.symmetric import NOT_FINITE, Reduction, symmetric_eigenvalues
from zoo.spectral.unlocked import add_products

CPU = torch.device("cpu")
"""Where matrices are solved unless a device is named."""

_BLOCK_BYTES = 2 << 20
"""Bytes of a block of rows that is copied into the precision of the product. No other copy of the
matrix is made."""
_FLOAT64_ABOVE_RATIO = 100.0
"""A float32 solve is done again in float64 where λ_max is more than this many times the median
eigenvalue: the errors of float32, 1e-6·λ_max, would blur the bulk."""
_KEPT_BYTES = 16 << 20
"""The reductions of all slices of a layer are kept while they take no more than this together;
otherwise the few eigenvectors that are wanted are searched for anew."""
_ONE_CALL_UP_TO = 64
"""Smaller side up to which a stack of matrices is solved in one call."""
_KEPT_ORDER = 1024
"""Reductions of a larger order are not kept: beside such a solve, a search for a few eigenvectors
costs little."""
SVD_BELOW = 1e-9
"""Float64 data whose smallest λ is below this share of λ_max needs an SVD: from a float64 Gram
matrix λ comes to six digits at this share, and to fewer below it."""


@dataclass(frozen=True, slots=True)
class Solved:
    """Eigenvalues of a stack of matrices, and what gives a few of their singular vectors."""

    evals: Float64[Doubles, "k m"]
    """A row a slice, ascending, in units of 4^exponent, not rounded."""
    reductions: tuple[Reduction | None, ...]
    """Reductions of the Gram matrices of the smaller side, one a slice; None where not kept."""
    solver: Solver = "lapack"
    """What computed the eigenvalues."""


def eigenvalues(
    matrices: torch.Tensor | ArrayLike,
    *,
    storage_bits: int,
    exponent: int = 0,
    product: torch.dtype = GRAM_DTYPE,
    device: torch.device = CPU,
) -> Float64[Doubles, "k m"]:
    """All eigenvalues of each `matrices[i]` [k, rows, cols] (`solve`)."""
    return solve(
        matrices, storage_bits=storage_bits, exponent=exponent, product=product, device=device
    ).evals


def solve(
    matrices: torch.Tensor | ArrayLike,
    *,
    storage_bits: int,
    exponent: int = 0,
    product: torch.dtype = GRAM_DTYPE,
    keep: bool = False,
    device: torch.device = CPU,
) -> Solved:
    """All eigenvalues of each `matrices[i]` [k, rows, cols] or of one matrix, in units of 4^exponent.

    `exponent` divides the entries by 2^exponent first (`entry_exponent`). Eigenvalues of float64
    data are as exact as float64 allows (an SVD is made when the spectrum spans more than nine
    decades); others are exact to 1e-15·λ_max, or 1e-6·λ_max when `product` is float32, unless one
    eigenvalue is far larger than the others (then float64 is taken). `keep`: keep the reductions of
    small matrices.
    Raises ValueError for non-finite entries.
    """
    matrices = stack_of(matrices)
    k, rows, cols = matrices.shape
    m = min(rows, cols)
    not_kept: tuple[Reduction | None, ...] = (None,) * k
    if device.type == "cuda":
        evals, solver = _eigenvalues_on(matrices, exponent=exponent, device=device)
        if storage_bits == 64 and m > 1:
            for index in np.flatnonzero(evals[:, 0] < SVD_BELOW * evals[:, -1]).tolist():
                evals[index] = svd_eigenvalues(matrices[index], exponent=exponent)
        return Solved(evals, not_kept, solver)
    if k > 1 and m <= _ONE_CALL_UP_TO and storage_bits != 64:
        return Solved(_eigenvalues_small(matrices, exponent=exponent), not_kept)
    keep = keep and m <= _KEPT_ORDER and 8 * k * m * m <= _KEPT_BYTES
    evals, reductions = np.empty((k, m)), list(not_kept)
    for index in range(k):
        lower = gram(matrices[index], exponent=exponent, product=product)
        evals[index], reductions[index] = symmetric_eigenvalues(lower, keep=keep)
        if product != GRAM_DTYPE and evals[index, m // 2] < evals[index, -1] / _FLOAT64_ABOVE_RATIO:
            lower = gram(matrices[index], exponent=exponent)
            evals[index], reductions[index] = symmetric_eigenvalues(lower, keep=keep)
        if storage_bits == 64 and m > 1 and evals[index, 0] < SVD_BELOW * evals[index, -1]:
            evals[index] = svd_eigenvalues(matrices[index], exponent=exponent)
    return Solved(evals, tuple(reductions))


def entry_exponent(max_abs: float) -> int:
    """The power of two that brings entries to about 1; 0 while they lie within 2^±40.

    Float64 sums of squares would need it much later, but Krylov products are float32.
    """
    if max_abs == 0.0 or 2.0**-40 < max_abs < 2.0**40:
        return 0
    return math.frexp(max_abs)[1]


def divided(matrix: Real[torch.Tensor, "*shape"], exponent: int) -> Real[torch.Tensor, "*shape"]:
    """The matrix over 2^exponent, exact; in two steps, because 2^exponent may not be a float32."""
    if exponent == 0:
        return matrix
    half = exponent // 2
    return (matrix * 2.0**-half) * 2.0 ** (half - exponent)


def gram(
    matrix: Real[torch.Tensor, "rows cols"],
    *,
    exponent: int = 0,
    product: torch.dtype = GRAM_DTYPE,
) -> Float[Reals, "m m"]:
    """Lower triangle of the m×m Gram matrix of `matrix`, in Fortran order; m is the smaller side.

    The upper triangle is left undefined. Entries are divided by 2^exponent. `product` is the
    precision of products, sums and result.
    """
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    m = tall.shape[1]
    total: Reals | None = None
    for block in _blocks(tall, exponent, product):
        is_turned = not block.flags.c_contiguous
        total = add_products(block if is_turned else block.T, total, is_turned=is_turned)
        del block  # before the next one is made
    return np.zeros((m, m), order="F") if total is None else total


def _eigenvalues_small(
    matrices: Real[torch.Tensor, "k rows cols"], *, exponent: int
) -> Float64[Doubles, "k m"]:
    """A stack of small matrices in one batched product and one batched solve."""
    stack = np.ldexp(matrices.detach().cpu().to(GRAM_DTYPE).numpy(), -exponent)
    if not np.isfinite(stack).all():
        raise ValueError(NOT_FINITE)
    turned = stack.transpose(0, 2, 1)
    tall = stack.shape[1] >= stack.shape[2]
    values: Doubles = np.linalg.eigvalsh(turned @ stack if tall else stack @ turned)
    return np.maximum(values, 0.0, out=values)


def _blocks(
    tall: Real[torch.Tensor, "rows cols"], exponent: int, dtype: torch.dtype
) -> Iterator[Reals]:
    """Blocks of rows of a tall matrix, C- or Fortran-contiguous, divided by 2^exponent."""
    rows, cols = tall.shape
    is_dense = tall.is_contiguous() or tall.T.is_contiguous()
    is_copied = exponent != 0 or tall.dtype != dtype or tall.device.type != "cpu" or not is_dense
    most = max(1, _BLOCK_BYTES // (8 * max(cols, 1)), cols // 4) if is_copied else max(rows, 1)
    height = -(-rows // -(-rows // most))  # equal blocks
    for start in range(0, rows, height):
        yield _dense(divided(tall[start : start + height].detach().cpu(), exponent).to(dtype))


def _dense(block: Float[torch.Tensor, "rows cols"]) -> Float[Reals, "rows cols"]:
    """A C- or Fortran-contiguous array; a copy only where the tensor is neither."""
    is_dense = block.is_contiguous() or block.T.is_contiguous()
    array: Reals = (block if is_dense else block.contiguous()).numpy()
    return array


def svd_eigenvalues(
    matrix: Real[torch.Tensor, "rows cols"], *, exponent: int
) -> Float64[Doubles, " m"]:
    """Ascending squares of the singular values, exact to the square of float64's rounding."""
    array = np.ldexp(matrix.detach().cpu().to(torch.float64).numpy(), -exponent)
    sigma: Doubles = np.linalg.svd(array, compute_uv=False)
    return sigma[::-1] ** 2


def _eigenvalues_on(
    matrices: Real[torch.Tensor, "k rows cols"], *, exponent: int, device: torch.device
) -> tuple[Float64[Doubles, "k m"], Solver]:
    """The whole stack in one batched product and one solve on an accelerator, and what solved it."""
    products = grams(matrices.to(device), [exponent] * len(matrices))
    if not bool(torch.isfinite(products.diagonal(dim1=1, dim2=2)).all()):
        raise ValueError(NOT_FINITE)
    values, solver = symmetric_eigenvalues_of(products)
    evals: Doubles = values.cpu().numpy()
    return evals, solver
