"""Modes of traps for many matrices at once, where they lie: singular vectors, and modes carried back.

The computations of `trap_modes` on a device. Gram matrices give the vectors of the smaller side, one product with the
matrix those of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Real

from zoo.spectral import philox
from zoo.spectral.arrays import Doubles, Indices, NDArray, Vector
from zoo.spectral.batch_sizes import BLOCK_BYTES
from zoo.spectral.batched_krylov import Top, tops_of
from zoo.spectral.batched_solve import grams, scaled_blocks, symmetric_eigenvectors_of
from zoo.spectral.krylov import block_width
from zoo.spectral.localisation import Mode, Sector
from zoo.spectral.shuffle import Permutation
from zoo.spectral.trap_modes import CARRIED_PASSES, CARRIED_TOLERANCE, SECTOR_VECTORS

_SOLVED_UP_TO = 512
"""Order up to which all eigenvectors of a batch cost an accelerator less than a search for a few."""
_EXACT = 1e-8
"""Change of an eigenvalue between two looks at which its vector counts as found: the vector is then good to the
square root of it over the gap."""
_PASSES = 60
"""Passes at most of a search for a given number of vectors."""
_START_BIT = 1 << 41
"""Sets the numbers of a first block apart from those of the permutation of the same seed."""


@dataclass(frozen=True, slots=True)
class Carried:
    """The leading singular pair of a trap's mode that was carried back to the original places."""

    left: Vector
    right: Vector
    share: float
    """Its share of Σs²."""


def shuffle_stack(
    stack: Real[torch.Tensor, "k rows cols"], permutations: Sequence[Permutation]
) -> Real[torch.Tensor, "k rows cols"]:
    """Every matrix of a contiguous stack with its entries permuted; same type."""
    shuffled = torch.empty_like(stack)
    flat, out = stack.reshape(len(stack), -1), shuffled.view(len(stack), -1)
    for index, permutation in enumerate(permutations):
        moves = philox.order(permutation.seed, permutation.size, stack.device)
        torch.index_select(flat[index], 0, moves, out=out[index])
    return shuffled


def first_blocks(
    seeds: Sequence[int], order: int, device: torch.device
) -> Float64[torch.Tensor, "k width {order}"]:
    """A first block of vectors for each seed, the same on every device."""
    width = block_width(order)
    blocks = [philox.uniform(seed ^ _START_BIT, width * order, device) for seed in seeds]
    return torch.stack(blocks).view(len(seeds), width, order)


def leading_of(
    products: Float64[torch.Tensor, "k m m"], counts: Sequence[int], seeds: Sequence[int]
) -> list[Float64[torch.Tensor, "m wanted"]]:
    """Unit eigenvectors of the `counts[i]` largest eigenvalues of Gram matrix i, as columns.

    `products` may be overwritten.
    """
    if products.shape[1] <= _SOLVED_UP_TO:
        rows = symmetric_eigenvectors_of(products)
        return [vectors.flip(0)[:count].mT for vectors, count in zip(rows, counts, strict=True)]
    asked = np.array(counts, dtype=np.intp)

    def wanted(_: Doubles, numbers: Indices) -> NDArray[np.intp]:
        chosen: NDArray[np.intp] = asked[numbers]
        return chosen

    tops = tops_of(
        products,
        first_blocks(seeds, products.shape[1], products.device),
        wanted=wanted,
        num_vectors=lambda count: count,
        tolerance=_EXACT,
        max_passes=_PASSES,
        looks=(12, 6),
    )
    return [
        _by_full_solve(products[index], counts[index]) if top.vectors is None else top.vectors
        for index, top in enumerate(tops)
    ]


def _by_full_solve(
    product: Float64[torch.Tensor, "m m"], count: int
) -> Float64[torch.Tensor, "m {count}"]:
    return symmetric_eigenvectors_of(product[None])[0].flip(0)[:count].mT


def pair_of(
    matrix: Real[torch.Tensor, "rows cols"],
    inner: Float64[torch.Tensor, "m vectors"],
    exponent: int,
) -> tuple[Float64[Doubles, "rows vectors"], Float64[Doubles, "cols vectors"]]:
    """(left, right) unit singular vectors, from those of the smaller side; the matrix over 2^exponent."""
    is_tall = matrix.shape[0] >= matrix.shape[1]
    tall = matrix if is_tall else matrix.mT
    height = max(1, BLOCK_BYTES // (8 * tall.shape[1]))
    parts = [
        scaled_blocks(block[None], [exponent])[0] @ inner for block in torch.split(tall, height)
    ]
    outer = torch.cat(parts)
    outer = outer / torch.linalg.vector_norm(outer, dim=0).clamp_min_(np.finfo(np.float64).tiny)
    told: Doubles = torch.cat((outer, inner)).cpu().numpy()
    longer, shorter = told[: len(outer)], told[len(outer) :]
    return (longer, shorter) if is_tall else (shorter, longer)


def modes_from(
    matrix: Real[torch.Tensor, "rows cols"],
    inner: Float64[torch.Tensor, "m vectors"],
    evals: Vector,
    exponent: int,
) -> list[Mode]:
    """The modes of the vectors `inner`; `evals`: their eigenvalues, in order."""
    left, right = pair_of(matrix, inner, exponent)
    return [
        Mode(float(s), np.ascontiguousarray(left[:, i]), np.ascontiguousarray(right[:, i]))
        for i, s in enumerate(np.sqrt(evals[: left.shape[1]]))
    ]


def sector_counts(rows: int, cols: int) -> int:
    """Vectors of the top sector of a matrix: min(10, m/10), at least 1."""
    return max(1, min(SECTOR_VECTORS, min(rows, cols) // 10))


def sectors_of(
    stack: Real[torch.Tensor, "k rows cols"], exponents: Sequence[int], seeds: Sequence[int]
) -> list[Sector]:
    """The top sector of every matrix."""
    k, rows, cols = stack.shape
    vectors = leading_of(grams(stack, exponents), [sector_counts(rows, cols)] * k, seeds)
    return [
        Sector(*pair_of(matrix, inner, exponent))
        for matrix, inner, exponent in zip(stack, vectors, exponents, strict=True)
    ]


def carried_back(
    modes: Sequence[tuple[Mode, Permutation]], shape: tuple[int, int], device: torch.device
) -> list[Carried]:
    """The leading singular pair of every mode carried back through its permutation; `shape` (rows, cols)."""
    rows, cols = shape
    step = max(1, 4 * BLOCK_BYTES // (8 * rows * cols + 8 * min(shape) ** 2))
    results: list[Carried] = []
    for start in range(0, len(modes), step):
        results += _carried_back(modes[start : start + step], shape, device)
    return results


def _carried_back(
    modes: Sequence[tuple[Mode, Permutation]], shape: tuple[int, int], device: torch.device
) -> list[Carried]:
    stack = torch.empty((len(modes), *shape), dtype=torch.float32, device=device)
    moves: tuple[Permutation, torch.Tensor] | None = None
    for index, (mode, permutation) in enumerate(modes):
        if moves is None or moves[0] != permutation:
            moves = permutation, philox.order(permutation.seed, permutation.size, device)
        left = torch.from_numpy(mode.left.astype(np.float32)).to(device)
        right = torch.from_numpy(mode.right.astype(np.float32)).to(device)
        stack[index].view(-1).scatter_(0, moves[1], torch.outer(left, right).view(-1))
    exponents = [0] * len(modes)
    tops = tops_of(
        grams(stack, exponents),
        _likely_directions(stack),
        wanted=lambda estimates, _: np.ones(len(estimates), dtype=np.intp),
        num_vectors=lambda _: 1,
        tolerance=CARRIED_TOLERANCE,
        max_passes=CARRIED_PASSES,
        looks=(2, 2),
        unconverged_too=True,
    )
    return [_pair(matrix, top) for matrix, top in zip(stack, tops, strict=True)]


def _pair(matrix: Float[torch.Tensor, "rows cols"], top: Top) -> Carried:
    inner = top.vectors
    if inner is None:
        inner = _by_full_solve(grams(matrix[None], [0])[0], 1)
    left, right = pair_of(matrix, inner, 0)
    return Carried(left[:, 0], right[:, 0], float(top.evals[0]))


def _likely_directions(
    stack: Float[torch.Tensor, "k rows cols"],
) -> Float64[torch.Tensor, "k width order"]:
    """As in `trap_modes`: the longest rows of each carried mode, and the constant one."""
    tall = stack if stack.shape[1] >= stack.shape[2] else stack.mT
    count = block_width(tall.shape[2]) - 1
    lengths = torch.linalg.vector_norm(tall, dim=2)
    longest = torch.argsort(lengths, dim=1, descending=True, stable=True)[:, :count]
    places = torch.arange(len(tall), device=tall.device)[:, None]
    constant = tall.new_ones((len(tall), 1, tall.shape[2]))
    return torch.cat((tall[places, longest], constant), dim=1).to(torch.float64)
