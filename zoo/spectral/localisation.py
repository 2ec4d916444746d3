"""The shape of a trap, carried back to where the entries were: one large weight, or a diffuse mode.

T = σ u vᵀ is the rank-one part of the shuffled matrix that belongs to a trap (`trap_modes` finds it and
carries it back). Pure functions of singular vectors (docs/science.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from jaxtyping import Float64

from zoo.columns import COUNT, ONE, Group, Since
from zoo.spectral.arrays import Doubles, Vector

MADE_BY_MEAN = 0.5
"""`mean_overlap` from which a trap counts as made by the mean of the entries. Observed values lie near 0 or 1."""


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
class Sector:
    """Leading singular vectors of the layer's own matrix, as unit columns."""

    left: Float64[Doubles, "rows vectors"]
    right: Float64[Doubles, "cols vectors"]


@dataclass(frozen=True, slots=True)
class TrapCauses(Group):
    """The traps of a layer by what makes them: the two causes mean different things for the model."""

    num_traps_mean: Annotated[float, COUNT, Since(2)]
    """Traps that a mean of the entries which is not zero makes (mean_overlap at least 1/2), mean over the
    replicates: perhaps innocuous. NULL unless [traps] modes; traps whose mode was not computed are in
    neither of the two counts."""
    num_traps_entries: Annotated[float, COUNT, Since(2)]
    """The other traps, which a few large entries make, mean over the replicates; NULL likewise."""


@dataclass(frozen=True, slots=True)
class Localisation(Group):
    """Shape of a trap.

    u, v below are the leading singular vectors of the mode carried back, but for `mean_overlap`,
    whose u, v are those of the shuffled mode.
    """

    ipr_left: Annotated[float, ONE]
    """Inverse participation ratio Σu⁴, in [1/rows, 1]; u, v: leading singular vectors of the mode carried
    back to the original places. NULL, as all below, where the mode was not computed."""
    ipr_right: Annotated[float, ONE]
    """Inverse participation ratio Σv⁴, in [1/cols, 1]."""
    localisation_q: Annotated[float, ONE]
    """√(q_left·q_right), q = (IPR − p)/(1 − p) clipped to [0, 1], p = 3/(length + 2) the Porter-Thomas
    value: 0 for a random vector, 1 for a single entry."""
    participation_ratio: Annotated[float, ONE]
    """√ of the product of ‖u‖₂/‖u‖₄ and ‖v‖₂/‖v‖₄; 1 for a single entry."""
    top5_mass: Annotated[float, ONE]
    """Share of Σ|T| in the largest 5 % of the mode's entries."""
    top10_mass: Annotated[float, ONE]
    """Share of Σ|T| in the largest 10 % of them."""
    rank1_mass: Annotated[float, ONE]
    """s₁²/Σs² of the mode carried back."""
    top_overlap: Annotated[float, ONE]
    """Overlap with W's own top singular sector, √(‖Uᵀu‖²·‖Vᵀv‖²), in [0, 1]."""
    mean_overlap: Annotated[float, ONE]
    """(Σu/√rows · Σv/√cols)² of the shuffled mode: near 1 when the trap is nothing but a non-zero mean,
    near 0 when large entries make it."""


def localised(
    mode: Mode, u: Vector, v: Vector, *, rank1_mass: float, sector: Sector
) -> Localisation:
    """The shape of `mode`; u, v and `rank1_mass`: leading singular vectors of the mode carried back, and
    their share of its Σs²; `sector`: the top one of the layer's own matrix."""
    rows, cols = mode.left.size, mode.right.size
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
        rank1_mass=min(rank1_mass, 1.0),
        top_overlap=math.sqrt(_inside(sector.left, u) * _inside(sector.right, v)),
        mean_overlap=min(float(constant**2), 1.0),
    )


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
