"""The modes of a trap: its singular vectors, and the mode carried back to the original entries.

T = σ u vᵀ is the rank-one part of the shuffled matrix that belongs to a trap. The inverse
permutation moves its entries to where they came from; the result is in general of full rank, and
its shape tells a single large weight from a mean shift or a diffuse mode (docs/science.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64, Real

from zoo.spectral.arrays import Doubles, Singles, Vector
from zoo.spectral.krylov import (
    FLOAT64_ABOVE_RATIO,
    Operator,
    TopSpectrum,
    block_width,
    resolved_top_spectrum,
    singular_pair,
    top_spectrum,
)
from zoo.spectral.shuffle import Permutation
from zoo.spectral.symmetric import Reduction

SECTOR_VECTORS = 10
"""Leading singular vectors of W that make its top sector (a tenth of m when that is fewer)."""
_SECTOR_FLOAT64_ABOVE_RATIO = 1000.0
"""The top sector is searched for in float64 where λ_max is more than this many times its last
eigenvalue: a tolerance relative to λ_max is too coarse for the last ones then."""
_CARRIED_PASSES = 12
"""Passes after which the search for the leading pair of a carried-back mode ends in any case."""
_CARRIED_TOLERANCE = 1e-5
"""Change of its eigenvalue in one pass, relative to that eigenvalue, at which the search ends."""


@dataclass(frozen=True, slots=True)
class Mode:
    """One singular triple of a shuffled matrix."""

    sigma: float
    """Singular value, ≥ 0."""
    left: Float64[Doubles, " rows"]
    """Unit vector."""
    right: Float64[Doubles, " cols"]
    """Unit vector."""


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
    """Every localisation column of one trap of a slice whose own top sector is `sector`."""
    rows, cols = mode.left.size, mode.right.size
    carried = carry_back(Mode(1.0, mode.left, mode.right), permutation, (rows, cols))
    top = top_spectrum(
        torch.from_numpy(carried),
        rng=rng,
        wanted=lambda _: 1,
        vectors=True,
        tolerance=_CARRIED_TOLERANCE,
        max_passes=_CARRIED_PASSES,
        start=_likely_directions(carried),
    )
    u, v = top.left[:, 0], top.right[:, 0]
    ipr_left, ipr_right = float(np.sum(u**4)), float(np.sum(v**4))  # inverse participation ratios
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
    """Leading singular vectors of the layer's own matrix, as unit columns."""

    left: Float64[Doubles, "rows vectors"]
    right: Float64[Doubles, "cols vectors"]


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


def outer_top_mass(u: Vector, v: Vector, shares: tuple[float, ...]) -> list[float]:
    """For each of `shares`, the part of Σ|u_i v_j| that lies in that share of the largest products.

    The products are not formed: a bisection finds the cut, because for each |u_i| the sorted |v|
    tell how many products exceed it and their sum. Good to 1e-9; a permutation of the entries does
    not change it.
    """
    a, b = np.abs(u[u != 0.0]), np.sort(np.abs(v))
    tails = np.concatenate((np.cumsum(b[::-1])[::-1], [0.0]))
    total = float(a.sum() * b.sum())
    masses = []
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
        masses.append(min((float(a @ tails[start]) + missing * high) / total, 1.0))
    return masses


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


def _centred(ipr: float, length: int) -> float:
    """IPR rescaled: 0 at the Porter-Thomas value of a random vector, 1 for a single entry."""
    if length == 1:
        return 0.0
    random = 3.0 / (length + 2)
    return min(max((ipr - random) / (1.0 - random), 0.0), 1.0)


def _inside(
    sector: Float64[Doubles, "length vectors"], vector: Float64[Doubles, " length"]
) -> float:
    """Share of the unit `vector` that lies in the span of the columns of `sector`, in [0, 1]."""
    return min(float(np.sum((sector.T @ vector) ** 2)), 1.0)
