"""The modes of a trap: its singular vectors, and the mode carried back to the original entries.

T = σ u vᵀ is the rank-one part of the shuffled matrix that belongs to a trap. The inverse
permutation moves its entries to where they came from; the result is in general of full rank. What its
shape says is in `localisation`.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float32, Real

from zoo.spectral.arrays import Singles, Vector
from zoo.spectral.krylov import (
    FLOAT64_ABOVE_RATIO,
    Operator,
    TopSpectrum,
    block_width,
    resolved_top_spectrum,
    singular_pair,
    top_spectrum,
)
from zoo.spectral.localisation import Localisation, Mode, Sector, localised
from zoo.spectral.shuffle import Permutation
from zoo.spectral.symmetric import Reduction

SECTOR_VECTORS = 10
"""Leading singular vectors of W that make its top sector (a tenth of m when that is fewer)."""
_SECTOR_FLOAT64_ABOVE_RATIO = 1000.0
"""The top sector is searched for in float64 where λ_max is more than this many times its last
eigenvalue: a tolerance relative to λ_max is too coarse for the last ones then."""
CARRIED_PASSES = 12
"""Passes after which the search for the leading pair of a carried-back mode ends in any case."""
CARRIED_TOLERANCE = 1e-5
"""Change of its eigenvalue in one pass, relative to that eigenvalue, at which the search ends."""


def leading_modes(
    shuffled: Real[torch.Tensor, "rows cols"], count: int, *, rng: np.random.Generator
) -> list[Mode]:
    """The `count` largest modes of the shuffled matrix.

    In float64 where the largest is far larger than the smallest, of which float32 would give
    nothing but rounding.
    """
    top = _leading(
        shuffled,
        count,
        rng=rng,
        tolerance=1e-7,
        max_passes=60,
        max_ratio=FLOAT64_ABOVE_RATIO,
    )
    return modes_of(top, count)


def reduced_modes(
    shuffled: Real[torch.Tensor, "rows cols"], reduction: Reduction, evals: Vector, count: int
) -> list[Mode]:
    """As `leading_modes`, from the solve of the Gram matrix; `evals`: its eigenvalues, ascending."""
    left, right = singular_pair(Operator(shuffled), reduction.leading(count))
    sigmas = np.sqrt(evals[::-1][:count])
    return [Mode(float(s), left[:, i], right[:, i]) for i, s in enumerate(sigmas)]


def modes_of(top: TopSpectrum, count: int) -> list[Mode]:
    """The first `count` modes of a Krylov search that returned vectors."""
    sigmas = np.sqrt(top.evals[:count])
    return [Mode(float(s), top.left[:, i], top.right[:, i]) for i, s in enumerate(sigmas)]


def carry_back(
    mode: Mode, permutation: Permutation, shape: tuple[int, int]
) -> Float32[Singles, "rows cols"]:
    """The mode σ u vᵀ with its entries where they were before the shuffle; `shape` (rows, cols)."""
    outer = np.outer((mode.sigma * mode.left).astype(np.float32), mode.right.astype(np.float32))
    return permutation.invert(outer.reshape(-1)).astype(np.float32, copy=False).reshape(shape)


def localisation(
    mode: Mode, permutation: Permutation, sector: Sector, *, rng: np.random.Generator
) -> Localisation:
    """Shape of one trap of a slice whose own top sector is `sector`."""
    rows, cols = mode.left.size, mode.right.size
    carried = carry_back(Mode(1.0, mode.left, mode.right), permutation, (rows, cols))
    top = top_spectrum(
        torch.from_numpy(carried),
        rng=rng,
        wanted=lambda _: 1,
        vectors=True,
        tolerance=CARRIED_TOLERANCE,
        max_passes=CARRIED_PASSES,
        start=_likely_directions(carried),
    )
    u, v, share = top.left[:, 0], top.right[:, 0], float(top.evals[0])
    return localised(mode, u, v, rank1_mass=share, sector=sector)


def top_sector(
    matrix: Real[torch.Tensor, "rows cols"],
    reduction: Reduction | None = None,
    *,
    rng: np.random.Generator,
) -> Sector:
    """The top sector of `matrix`: its min(10, m/10) leading singular vectors, at least 1.

    They come from the solve of its Gram matrix where that was kept, else they are searched for.
    """
    count = max(1, min(SECTOR_VECTORS, min(matrix.shape) // 10))
    if reduction is not None:
        return Sector(*singular_pair(Operator(matrix), reduction.leading(count)))
    top = _leading(
        matrix,
        count,
        rng=rng,
        tolerance=1e-3,
        max_passes=30,
        max_ratio=_SECTOR_FLOAT64_ABOVE_RATIO,
    )
    return Sector(top.left, top.right)


def _leading(
    matrix: Real[torch.Tensor, "rows cols"],
    count: int,
    *,
    rng: np.random.Generator,
    tolerance: float,
    max_passes: int,
    max_ratio: float,
) -> TopSpectrum:
    """The `count` leading singular triples of `matrix`, in float64 where float32 cannot see them."""

    def search(dtype: torch.dtype) -> TopSpectrum:
        return top_spectrum(
            matrix,
            rng=rng,
            wanted=lambda _: count,
            vectors=True,
            tolerance=tolerance,
            max_passes=max_passes,
            dtype=dtype,
        )

    return resolved_top_spectrum(search, max_ratio=max_ratio)


def _likely_directions(
    carried: Float32[Singles, "rows cols"],
) -> Float32[Singles, "order vectors"]:
    """Directions in which the leading one of a carried-back mode likely lies, one a column.

    Those of its longest rows, where large entries are, and the constant one. Starting from them
    halves the search for a localised trap.
    """
    tall = carried if carried.shape[0] >= carried.shape[1] else carried.T
    count = block_width(tall.shape[1]) - 1
    lengths = np.einsum("ij,ij->i", tall, tall)
    longest = np.argsort(-lengths, kind="stable")[:count]
    constant = np.ones((1, tall.shape[1]), dtype=np.float32)
    return np.concatenate((tall[longest], constant)).T
