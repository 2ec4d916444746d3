"""The modes of a trap: its singular vectors, and the mode carried back to the original entries.

T = σ u vᵀ is the rank-one part of the shuffled matrix that belongs to a trap. The inverse
permutation moves its entries to where they came from; the result is in general of full rank, and
its shape tells a single large weight from a mean shift or a diffuse mode (papers.md 1.7).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.spectral.arrays import Vector
from zoo.spectral.krylov import (
    DWARFS,
    Operator,
    Top,
    block_width,
    singular_pair,
    sure_top,
    top_of,
)
from zoo.spectral.shuffle import Permutation
from zoo.spectral.symmetric import Reduction

SECTOR = 10
"""Leading singular vectors of W that make its top sector (a tenth of m when that is fewer)."""
_SECTOR_DWARFS = 1000.0
"""λ_max over the last of the sector from which on a tolerance relative to λ_max is too coarse."""
_CARRIED_PASSES = 12
_CARRIED_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Mode:
    """One singular triple of a shuffled matrix."""

    sigma: float
    left: Vector
    """Unit vector, shape (rows,)."""
    right: Vector
    """Unit vector, shape (cols,)."""


@dataclass(frozen=True, slots=True)
class Localisation:
    """Shape of a trap; the fields are columns of `traps`.

    u, v below are the leading singular vectors of the mode carried back, but for `mean_overlap`,
    whose u, v are those of the shuffled mode.
    """

    ipr_left: float
    """Σu⁴, in [1/rows, 1]."""
    ipr_right: float
    """Σv⁴, in [1/cols, 1]."""
    localisation_q: float
    """√(q_left·q_right), q = (IPR − p)/(1 − p) clipped to [0, 1], p = 3/(length + 2) the
    Porter-Thomas value: 0 for a random vector, 1 for a single entry."""
    participation_ratio: float
    """√ of the product of ‖u‖₂/‖u‖₄ and ‖v‖₂/‖v‖₄; 1 for a single entry."""
    top5_mass: float
    """Share of Σ|T| in the largest 5 % of its entries."""
    top10_mass: float
    """Share of Σ|T| in the largest 10 % of its entries."""
    rank1_mass: float
    """s₁²/Σs² of the mode carried back."""
    top_overlap: float
    """√(‖Uᵀu‖²·‖Vᵀv‖²), U and V the top sector of W, in [0, 1]."""
    mean_overlap: float
    """(Σu/√rows · Σv/√cols)²: near 1 for a mere mean, near 0 when large entries make the trap."""


def leading_modes(shuffled: torch.Tensor, count: int, *, rng: np.random.Generator) -> list[Mode]:
    """The `count` largest modes of the shuffled matrix [rows, cols].

    In float64 where the largest dwarfs the smallest: its rounding would be all there is of it.
    """
    top = _leading(shuffled, count, rng=rng, tolerance=1e-7, max_passes=60, dwarfs=DWARFS)
    return modes_of(top, count)


def reduced_modes(
    shuffled: torch.Tensor, reduction: Reduction, evals: Vector, count: int
) -> list[Mode]:
    """As `leading_modes`, from the solve of the Gram matrix; `evals`: its eigenvalues, ascending."""
    left, right = singular_pair(Operator(shuffled), reduction.leading(count))
    sigmas = np.sqrt(evals[::-1][:count])
    return [Mode(float(s), left[:, i], right[:, i]) for i, s in enumerate(sigmas)]


def modes_of(top: Top, count: int) -> list[Mode]:
    """The first `count` modes of a Krylov search that returned vectors."""
    sigmas = np.sqrt(top.evals[:count])
    return [Mode(float(s), top.left[:, i], top.right[:, i]) for i, s in enumerate(sigmas)]


def carry_back(mode: Mode, permutation: Permutation, shape: tuple[int, int]) -> NDArray[np.float32]:
    """The mode σ u vᵀ with its entries where they were before the shuffle; float32 [rows, cols]."""
    outer = np.outer((mode.sigma * mode.left).astype(np.float32), mode.right.astype(np.float32))
    return permutation.invert(outer.reshape(-1)).astype(np.float32, copy=False).reshape(shape)


def localisation(
    mode: Mode, permutation: Permutation, sector: Sector, *, rng: np.random.Generator
) -> Localisation:
    """Every localisation column of one trap of a slice whose own top sector is `sector`."""
    rows, cols = mode.left.size, mode.right.size
    carried = carry_back(Mode(1.0, mode.left, mode.right), permutation, (rows, cols))
    top = top_of(
        torch.from_numpy(carried),
        rng=rng,
        wanted=lambda _: 1,
        vectors=True,
        tolerance=_CARRIED_TOLERANCE,
        max_passes=_CARRIED_PASSES,
        start=_likely(carried),
    )
    u, v = top.left[:, 0], top.right[:, 0]
    ipr_left, ipr_right = float(np.sum(u**4)), float(np.sum(v**4))
    top5, top10 = outer_top_mass(mode.left, mode.right, (0.05, 0.10))
    constant = mode.left.sum() / math.sqrt(rows) * mode.right.sum() / math.sqrt(cols)
    return Localisation(
        ipr_left=ipr_left,
        ipr_right=ipr_right,
        localisation_q=math.sqrt(_centred(ipr_left, rows) * _centred(ipr_right, cols)),
        participation_ratio=(ipr_left * ipr_right) ** -0.125,
        top5_mass=top5,
        top10_mass=top10,
        rank1_mass=min(float(top.evals[0]), 1.0),
        top_overlap=math.sqrt(_inside(sector.left, u) * _inside(sector.right, v)),
        mean_overlap=min(float(constant**2), 1.0),
    )


@dataclass(frozen=True, slots=True)
class Sector:
    """Leading singular vectors of the layer's own matrix."""

    left: Vector
    right: Vector


def top_sector(
    matrix: torch.Tensor, reduction: Reduction | None = None, *, rng: np.random.Generator
) -> Sector:
    """The top sector of `matrix` [rows, cols]: min(10, m/10) leading singular vectors, at least 1.

    From the solve of its Gram matrix where that was kept, else searched for.
    """
    count = max(1, min(SECTOR, min(matrix.shape) // 10))
    if reduction is not None:
        return Sector(*singular_pair(Operator(matrix), reduction.leading(count)))
    top = _leading(matrix, count, rng=rng, tolerance=1e-3, max_passes=30, dwarfs=_SECTOR_DWARFS)
    return Sector(top.left, top.right)


def _leading(
    matrix: torch.Tensor,
    count: int,
    *,
    rng: np.random.Generator,
    tolerance: float,
    max_passes: int,
    dwarfs: float,
) -> Top:
    """The `count` leading singular triples of `matrix`, in float64 where float32 cannot see them."""

    def search(dtype: torch.dtype) -> Top:
        return top_of(
            matrix,
            rng=rng,
            wanted=lambda _: count,
            vectors=True,
            tolerance=tolerance,
            max_passes=max_passes,
            dtype=dtype,
        )

    return sure_top(search, dwarfs=dwarfs)


def outer_top_mass(u: Vector, v: Vector, shares: tuple[float, ...]) -> list[float]:
    """Share of Σ|u_i v_j| in the largest `shares` of all products, without forming them.

    A bisection for the cut: for each |u_i|, sorted |v| tell how many products exceed it and their
    sum. Good to 1e-9; a permutation of the entries does not change it.
    """
    a, b = np.abs(u[u != 0.0]), np.sort(np.abs(v))
    tails = np.concatenate((np.cumsum(b[::-1])[::-1], [0.0]))
    total = float(a.sum() * b.sum())
    result = []
    for share in shares:
        wanted = max(1, round(share * u.size * v.size))
        low, high = 0.0, float(a.max() * b[-1])
        for _ in range(30):
            cut = 0.5 * (low + high)
            start = np.searchsorted(b, cut / a, side="right")
            if int((b.size - start).sum()) > wanted:
                low = cut
            else:
                high = cut
        start = np.searchsorted(b, high / a, side="right")
        missing = wanted - int((b.size - start).sum())
        result.append(min((float(a @ tails[start]) + missing * high) / total, 1.0))
    return result


def _likely(carried: NDArray[np.float32]) -> NDArray[np.float32]:
    """Directions in which the leading one of a carried-back mode likely lies: those of its longest
    rows, where large entries are, and the constant one; halves the search for a localised trap."""
    tall = carried if carried.shape[0] >= carried.shape[1] else carried.T
    count = block_width(tall.shape[1]) - 1
    lengths = np.einsum("ij,ij->i", tall, tall)
    longest = np.argsort(-lengths, kind="stable")[:count]
    constant = np.ones((1, tall.shape[1]), dtype=np.float32)
    return np.concatenate((tall[longest], constant)).T


def _centred(ipr: float, length: int) -> float:
    """q of [1.7]: 0 at the Porter-Thomas value of a random vector, 1 for a single entry."""
    if length == 1:
        return 0.0
    random = 3.0 / (length + 2)
    return min(max((ipr - random) / (1.0 - random), 0.0), 1.0)


def _inside(sector: Vector, vector: Vector) -> float:
    return min(float(np.sum((sector.T @ vector) ** 2)), 1.0)
