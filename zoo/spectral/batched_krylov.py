"""The top of many spectra at once: largest eigenvalues of equal Gram matrices and their eigenvectors.

Block Krylov iteration with full re-orthogonalisation, as in `krylov`, on a batch of float64 Gram matrices where they
lie. A pass is a dozen calls for the whole batch, and waits for the device only where the estimates are looked at,
every third pass. Blocks are made orthonormal by their Cholesky factor, twice (CholeskyQR2), which an accelerator does
in a tenth of the time of a QR; directions that are lost in rounding become zero and change nothing. What does not
converge, or breaks down, is solved in full by the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64

from zoo.spectral.arrays import Doubles, Indices, NDArray, Vector
from zoo.spectral.batched_solve import symmetric_eigenvalues_of, symmetric_eigenvectors_of

_MAX_BASIS_VECTORS = 1024
"""The basis grows no larger."""
_FIRST_PASSES = 64
"""The basis has room for so many vectors at first, and for twice as many whenever it is full."""
_ROUNDING_LENGTH = 1e-13
"""A new direction shorter than this share of the vector it was made from is rounding."""
_DEPENDENT = 1e-6
"""A direction that has less than this share of its own beside those before it in its block is dropped."""
_SHIFT = 1e-13
"""Added to the diagonal of unit blocks, so that the factor exists where directions depend on each other."""
_COMPACT_BELOW = 0.5
"""Matrices that are done leave the batch when no more than this share of it is left."""

Wanted = Callable[[Float64[Doubles, "k estimates"], Indices], NDArray[np.intp]]
"""From descending estimates (lower bounds) of some matrices and their numbers: how many of each must converge."""


@dataclass(frozen=True, slots=True)
class Top:
    """The largest eigenvalues of one matrix, and the eigenvectors of those that were wanted."""

    evals: Vector
    """Descending; the first `num_wanted` have converged, the others are lower bounds."""
    num_wanted: int
    """At least 1."""
    is_converged: bool
    vectors: Float64[torch.Tensor, "order wanted"] | None
    """Unit eigenvectors of the first ones, on the device; None where none was asked for, or nothing converged."""


@dataclass(slots=True)
class _Search:
    """The matrices that are still searched: everything has them as its first axis."""

    numbers: Indices
    grams: Float64[torch.Tensor, "k order order"]
    basis: Float64[torch.Tensor, "k room order"]
    projected: Float64[torch.Tensor, "k room room"]
    fresh: Float64[torch.Tensor, "k width order"]
    broken: Float64[torch.Tensor, " k"]

    def keep(self, left: Indices) -> None:
        """Drop all but the matrices at these positions."""
        index = torch.as_tensor(left, device=self.grams.device)
        self.numbers = self.numbers[left]
        self.grams, self.basis = self.grams[index], self.basis[index]
        self.projected, self.fresh = self.projected[index], self.fresh[index]
        self.broken = self.broken[index]

    def make_room(self, wanted: int, limit: int) -> None:
        """See that `wanted` vectors fit the basis."""
        k, room, order = self.basis.shape
        if wanted <= room:
            return
        larger = min(limit, max(2 * room, wanted))
        basis, projected = (
            self.basis.new_zeros((k, larger, order)),
            self.projected.new_zeros((k, larger, larger)),
        )
        basis[:, :room], projected[:, :room, :room] = self.basis, self.projected
        self.basis, self.projected = basis, projected


def tops_of(
    grams: Float64[torch.Tensor, "k order order"],
    start: Float64[torch.Tensor, "k width order"],
    *,
    wanted: Wanted,
    num_vectors: Callable[[int], int],
    tolerance: float,
    max_passes: int,
    looks: tuple[int, int] = (8, 3),
    unconverged_too: bool = False,
) -> list[Top]:
    """The largest eigenvalues of every Gram matrix.

    `start`: first block, a vector a row, any lengths. `wanted`: see `Wanted`. `num_vectors(num_wanted)`: eigenvectors
    that are given back. An eigenvalue has converged when it changed by less than `tolerance` times the smallest wanted
    one since the look before. `looks`: the first pass after which the estimates are looked at, and how many later
    again. `unconverged_too`: give the vectors that the last pass had, where they have not converged.
    """
    k, order = grams.shape[:2]
    width = start.shape[1]
    limit = min(order, _MAX_BASIS_VECTORS, max_passes * width)
    room = min(limit, max(_FIRST_PASSES, width))
    fresh, broken = _orthonormal(start, torch.linalg.vector_norm(start, dim=2))
    search = _Search(
        np.arange(k),
        grams,
        grams.new_zeros((k, room, order)),
        grams.new_zeros((k, room, room)),
        fresh,
        broken,
    )
    done: dict[int, Top] = {}
    before: Doubles | None = None
    size, next_look = 0, looks[0]
    for number in range(1, max_passes + 1):
        added = min(width, limit - size)
        search.make_room(size + added, limit)
        new, size = slice(size, size + added), size + added
        known, block = search.basis[:, :size], search.fresh[:, :added]
        search.basis[:, new] = block
        image = torch.bmm(block, search.grams)
        cross = torch.bmm(known, image.mT)
        search.projected[:, :size, new] = cross
        search.projected[:, new, :size] = cross.mT
        is_last = number == max_passes or size >= limit
        if number < next_look and not is_last:
            search.fresh = _new_directions(search, known, image, cross)
            continue
        next_look = number + looks[1]
        evals, is_broken = _estimates(search, size)
        counts = np.clip(wanted(evals, search.numbers), 1, size)
        settled = np.zeros(counts.size, dtype=bool)
        if before is not None:
            for position, count in enumerate(counts.tolist()):
                if count <= before.shape[1]:
                    change = np.abs(evals[position, :count] - before[position, :count])
                    limit_of = tolerance * evals[position, count - 1]
                    settled[position] = bool((change <= limit_of).all())
        settled |= size >= order
        settled &= ~is_broken
        leave = settled | is_broken | is_last
        leaving = [
            position
            for position in np.flatnonzero(leave).tolist()
            if int(search.numbers[position]) not in done
        ]
        given = [
            position
            for position in leaving
            if settled[position] or (unconverged_too and not is_broken[position])
        ]
        asked = {p: min(num_vectors(int(counts[p])), int(counts[p])) for p in given}
        vectors = _vectors(search, {p: count for p, count in asked.items() if count > 0}, size)
        for position in leaving:
            done[int(search.numbers[position])] = Top(
                evals[position],
                int(counts[position]),
                bool(settled[position]),
                vectors.get(position),
            )
        if len(done) == k:
            break
        left = np.flatnonzero([int(n) not in done for n in search.numbers])
        before = evals
        if left.size <= _COMPACT_BELOW * search.numbers.size:
            search.keep(left)
            before, image, cross = before[left], image[left], cross[left]
            known = search.basis[:, :size]
        search.fresh = _new_directions(search, known, image, cross)
    return [done[number] for number in range(k)]


def _estimates(search: _Search, size: int) -> tuple[Doubles, NDArray[np.bool_]]:
    """Descending eigenvalues of the projections, and which matrices have broken down; one wait for the device."""
    values, _ = symmetric_eigenvalues_of(search.projected[:, :size, :size].clone())
    told: Doubles = torch.cat((values, search.broken[:, None]), dim=1).cpu().numpy()
    evals = np.ascontiguousarray(told[:, -2::-1])
    is_broken = (told[:, -1] > 0.0) | ~np.isfinite(evals).all(axis=1)
    return np.nan_to_num(evals), is_broken


def _vectors(
    search: _Search, asked: Mapping[int, int], size: int
) -> dict[int, Float64[torch.Tensor, "order wanted"]]:
    """Unit eigenvectors of the largest eigenvalues as columns: `asked[position]` of them."""
    if not asked:
        return {}
    index = torch.tensor(list(asked), device=search.grams.device)
    rows = symmetric_eigenvectors_of(search.projected[index, :size, :size].contiguous())
    found: dict[int, torch.Tensor] = {}
    for weights, (position, count) in zip(rows, asked.items(), strict=True):
        inner = search.basis[position, :size].mT @ weights.flip(0)[:count].mT
        found[position] = inner / torch.linalg.vector_norm(inner, dim=0)
    return found


def _new_directions(
    search: _Search,
    known: Float64[torch.Tensor, "k size order"],
    image: Float64[torch.Tensor, "k added order"],
    cross: Float64[torch.Tensor, "k size added"],
) -> Float64[torch.Tensor, "k added order"]:
    """Orthonormal rows of what `image` adds to the basis, re-orthogonalised twice."""
    lengths = torch.linalg.vector_norm(image, dim=2)
    fresh = torch.baddbmm(image, cross.mT, known, alpha=-1.0)
    fresh = torch.baddbmm(fresh, torch.bmm(fresh, known.mT), known, alpha=-1.0)
    fresh, broken = _orthonormal(fresh, lengths)
    fresh = torch.baddbmm(fresh, torch.bmm(fresh, known.mT), known, alpha=-1.0)
    fresh, again = _orthonormal(fresh, torch.ones_like(lengths))
    search.broken = torch.maximum(search.broken, torch.maximum(broken, again))
    return fresh


def _orthonormal(
    rows: Float64[torch.Tensor, "k width order"], lengths: Float64[torch.Tensor, "k width"]
) -> tuple[Float64[torch.Tensor, "k width order"], Float64[torch.Tensor, " k"]]:
    """Orthonormal rows spanning `rows`, zero where a direction is lost in rounding of `lengths`; and 1 for a matrix
    whose block has no factor."""
    products = torch.bmm(rows, rows.mT)
    squares = products.diagonal(dim1=1, dim2=2)
    is_alive = squares > (_ROUNDING_LENGTH * lengths) ** 2
    inverse = torch.where(is_alive, squares, 1.0).rsqrt() * is_alive
    units = products * inverse[:, :, None] * inverse[:, None, :]
    units.diagonal(dim1=1, dim2=2).add_((~is_alive).to(rows.dtype) + _SHIFT)
    factor, info = torch.linalg.cholesky_ex(units)
    own = factor.diagonal(dim1=1, dim2=2)
    identity = torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device).expand_as(factor)
    turn = torch.linalg.solve_triangular(factor, identity, upper=False)
    turn = turn * inverse[:, None, :] * (is_alive & (own > _DEPENDENT))[:, :, None]
    return torch.bmm(turn, rows), (info != 0).to(rows.dtype)
