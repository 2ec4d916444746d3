"""The top of a spectrum without the rest: largest eigenvalues of WᵀW and their singular vectors.

Block Krylov iteration with full re-orthogonalisation and Rayleigh-Ritz on the smaller side, in
float32 unless told otherwise. A block of vectors costs a pass over W little more than one vector
does, and finds equal eigenvalues. Knows nothing of traps or shuffles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64

from zoo.machine.device import KRYLOV_DTYPE
from zoo.spectral.arrays import Doubles, Matrix, Reals, Vector

Block = Float[Reals, "_ _"]
"""Vectors that are multiplied together, one a column; float32 or float64."""

_BLOCK_VECTORS = 8
"""Vectors multiplied in one pass over W, for matrices whose smaller side is below `_WIDE_FROM`."""
_WIDE_BLOCK_VECTORS = 16
"""Vectors a pass for wider matrices, where reading W is what a pass costs."""
_WIDE_FROM = 1024
"""Smaller side from which on the wide block is used."""
_MAX_BASIS_VECTORS = 1024
"""The basis grows no larger: its re-orthogonalisation costs the square of its size."""
_CONVERTED_BYTES = 64 << 20
"""A matrix stored in another type is converted in blocks of rows of about this many bytes."""
FLOAT64_ABOVE_RATIO = 30.0
"""The search for traps is done in float64 where λ_max is more than this many times the smallest
eigenvalue asked for: float32 products are exact to a share of λ_max only, which would blur it."""
_STEADY_PASSES = 1
"""An eigenvalue has converged when so many passes in a row changed it by less than the tolerance."""
_ROUNDING_LENGTH = {4: 1e-5, 8: 1e-13}
"""A new direction shorter than this share of the vector it was made from is rounding and is dropped;
by the bytes of a number (4: float32, 8: float64)."""


@dataclass(frozen=True, slots=True)
class TopSpectrum:
    """The largest eigenvalues of WᵀW and the singular vectors of those that were wanted."""

    evals: Float64[Doubles, " estimates"]
    """Descending; only the first `num_wanted` have converged, the others are lower bounds."""
    left: Float64[Doubles, "rows wanted"]
    """Left singular vectors as unit columns; no columns when vectors were not asked for."""
    right: Float64[Doubles, "cols wanted"]
    """Right singular vectors, likewise."""
    num_wanted: int
    """Number of largest eigenvalues that were wanted, at least 1."""
    is_converged: bool
    """True when those that were wanted have stopped changing."""


def block_width(order: int) -> int:
    """Vectors a pass for a matrix whose smaller side is `order`."""
    return min(_BLOCK_VECTORS if order < _WIDE_FROM else _WIDE_BLOCK_VECTORS, order)


class Operator:
    """Products of one matrix, seen from its longer side, with blocks of vectors."""

    def __init__(
        self, matrix: Float[torch.Tensor, "rows cols"], dtype: torch.dtype = KRYLOV_DTYPE
    ) -> None:
        self._dtype = dtype
        self.kind = np.float64 if dtype == torch.float64 else np.float32
        """Type of the blocks."""
        self.is_tall = matrix.shape[0] >= matrix.shape[1]
        self._tall = matrix.detach() if self.is_tall else matrix.detach().T
        self.order = int(self._tall.shape[1])
        """Smaller side of the matrix."""

    def gram_times(self, block: Block) -> Block:
        """WᵀW·block for a tall W; `block` and result [order, vectors]."""
        total = np.zeros_like(block)
        if self._tall.is_cuda:
            return self._cuda(block, lambda rows, x: rows.T @ (rows @ x), joined=False)
        for rows in self._row_blocks():
            total += rows.T @ (rows @ block)
        return total

    def times(self, block: Block) -> Block:
        """W·block for a tall W; `block` [order, vectors], result [longer side, vectors]."""
        if self._tall.is_cuda:
            return self._cuda(block, lambda rows, x: rows @ x, joined=True)
        return np.concatenate([rows @ block for rows in self._row_blocks()])

    def _row_blocks(self) -> Iterator[Block]:
        """The rows as arrays: at once when they are stored so, else converted in blocks."""
        if self._tall.dtype == self._dtype:
            yield self._tall.numpy()
            return
        for rows in torch.split(self._tall, self._height()):
            yield rows.to(self._dtype).numpy()

    def _cuda(
        self,
        block: Block,
        product: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        *,
        joined: bool,
    ) -> Block:
        x = torch.from_numpy(block).to(self._tall.device)
        parts = [product(r.to(self._dtype), x) for r in torch.split(self._tall, self._height())]
        whole = torch.cat(parts) if joined else torch.stack(parts).sum(dim=0)
        result: Block = whole.cpu().numpy()
        return result

    def _height(self) -> int:
        return max(1, _CONVERTED_BYTES // (4 * self.order))


def top_spectrum(
    matrix: Float[torch.Tensor, "rows cols"],
    *,
    rng: np.random.Generator,
    wanted: Callable[[Vector], int],
    vectors: bool,
    tolerance: float,
    max_passes: int,
    start: Block | None = None,
    dtype: torch.dtype = KRYLOV_DTYPE,
) -> TopSpectrum:
    """The largest eigenvalues of WᵀW for `matrix`.

    `wanted(evals)` says, from the present descending estimates (lower bounds), how many eigenvalues
    must converge: change by less than `tolerance`·λ_max in a pass. `rng` draws the first block,
    unless `start` [smaller side, vectors] is a better guess. `dtype` is that of all products; in
    float64 the tolerance is relative to the smallest eigenvalue that is wanted, which float32 cannot
    promise.
    """
    operator = Operator(matrix, dtype)
    order = operator.order
    if start is None:
        start = rng.standard_normal((order, block_width(order)), dtype=np.float32)
    start = start.astype(operator.kind, copy=False)
    limit = min(order, _MAX_BASIS_VECTORS, max_passes * start.shape[1])
    basis = np.empty((order, limit), dtype=operator.kind, order="F")
    image = np.empty_like(basis)
    projected = np.zeros((limit, limit))
    fresh = _orthonormal(start, np.linalg.norm(start, axis=0))
    size, steady, count = 0, 0, 1
    evals, before = np.zeros(0), np.zeros(0)
    for _ in range(max_passes):
        width = min(fresh.shape[1], limit - size)
        new = slice(size, size + width)
        basis[:, new] = fresh[:, :width]
        image[:, new] = operator.gram_times(np.ascontiguousarray(fresh[:, :width]))
        size += width
        cross = basis[:, :size].T @ image[:, new]
        projected[:size, new], projected[new, :size] = cross, cross.T
        before, evals = evals, np.maximum(_eigvals(projected[:size, :size]), 0.0)
        count = min(max(wanted(evals), 1), size)
        change = tolerance * float(evals[count - 1 if operator.kind == np.float64 else 0])
        steady = steady + 1 if _has_settled(before, evals, count, change) else 0
        if steady >= _STEADY_PASSES or size >= limit:
            break
        fresh = _new_directions(basis[:, :size], image[:, new])
        if fresh.shape[1] == 0:  # an invariant subspace: nothing larger is left
            steady = _STEADY_PASSES
            break
    converged = steady >= _STEADY_PASSES or size >= order
    if not vectors:
        no_vectors = np.zeros((0, 0))
        return TopSpectrum(evals, no_vectors, no_vectors, count, converged)
    _, weights = np.linalg.eigh(projected[:size, :size])
    inner = basis[:, :size] @ weights[:, ::-1][:, :count].astype(operator.kind)
    left, right = singular_pair(operator, inner.astype(np.float64))
    return TopSpectrum(evals, left, right, count, converged)


def resolved_top_spectrum(
    search: Callable[[torch.dtype], TopSpectrum], *, max_ratio: float, places_after: int = 0
) -> TopSpectrum:
    """The result of `search` in float32, or in float64 where float32 cannot resolve what is wanted.

    Float64 is taken where λ_max is more than `max_ratio` times the last eigenvalue that was wanted,
    or the one that comes `places_after` it.
    """
    top = search(KRYLOV_DTYPE)
    smallest = top.evals[min(top.num_wanted - 1 + places_after, top.evals.size - 1)]
    return top if top.evals[0] <= max_ratio * smallest else search(torch.float64)


def singular_pair(
    operator: Operator, inner: Float64[Doubles, "order vectors"]
) -> tuple[Float64[Doubles, "rows vectors"], Float64[Doubles, "cols vectors"]]:
    """(left, right) unit singular vectors, from those of the smaller side: the columns of `inner`."""
    unit: Matrix = inner / np.linalg.norm(inner, axis=0).astype(np.float64)
    outer: Matrix = operator.times(unit.astype(operator.kind)).astype(np.float64)
    lengths = np.linalg.norm(outer, axis=0).astype(np.float64)
    outer = outer / np.maximum(lengths, float(np.finfo(np.float64).tiny))
    return (outer, unit) if operator.is_tall else (unit, outer)


def _eigvals(projected: Float64[Doubles, "size size"]) -> Float64[Doubles, " size"]:
    values: Vector = np.linalg.eigvalsh(projected)[::-1].astype(np.float64)
    return values


def _has_settled(before: Vector, evals: Vector, count: int, change: float) -> bool:
    if before.size < count:
        return False
    return bool(np.all(np.abs(evals[:count] - before[:count]) <= change))


def _new_directions(basis: Block, image: Block) -> Block:
    """Orthonormal basis of what `image` adds to `basis`, re-orthogonalised twice."""
    lengths = np.linalg.norm(image, axis=0)
    fresh: Block = image - basis @ (basis.T @ image)
    fresh -= basis @ (basis.T @ fresh)
    fresh = _orthonormal(fresh, lengths)
    fresh -= basis @ (basis.T @ fresh)
    return _orthonormal(fresh, np.ones(fresh.shape[1]))


def _orthonormal(
    block: Float[Reals, "order vectors"], lengths: Float[Reals, " vectors"]
) -> Float[Reals, "order independent"]:
    """Orthonormal columns spanning `block`, but for directions lost in rounding of `lengths`."""
    q, r = np.linalg.qr(block)
    return q[:, np.abs(np.diagonal(r)) > _ROUNDING_LENGTH[block.itemsize] * lengths]
