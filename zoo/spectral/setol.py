"""SETOL layer quality: log10 of Q̄² under five models of the R-transform.

Over the effective correlation space (ECS): the `erg_num` largest eigenvalues λ̃_1..λ̃_M̃ in mean-1
units, λ_min the smallest of them. The student-teacher overlap of a layer is (SETOL section 5.4,
from Tanaka's large-N HCIZ integral)

    Q̄² = Σ_i G(λ̃_i),    G(λ) = Re ∫_{λ_min}^{λ} R(z) dz.

The paper's tables also print leading-order estimates of the same sums; they contradict the
integrals in places. The reading here: the exact integral of the printed R, summed
over the ECS, unless a docstring says otherwise. Values compare layers under one model, not models
with each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from zoo.columns import Group, Unit
from zoo.errors import ArgumentError
from zoo.spectral.arrays import ArrayLike, Vector
from zoo.spectral.erg import mean_one
from zoo.spectral.inputs import spectrum_of

_LOG10 = Unit("log10")
"""Logarithms of pure numbers."""


@dataclass(frozen=True, slots=True)
class Quality(Group):
    """log10 Q̄² of one layer under each model; None where Q̄² is not positive or not defined."""

    quality_discrete: Annotated[float | None, _LOG10] = None
    """log10 Q̄² of the discrete R-transform model; NULL unless Q̄² > 0, as all four below."""
    quality_free_cauchy: Annotated[float | None, _LOG10] = None
    """log10 Q̄² of the free Cauchy model."""
    quality_inverse_mp: Annotated[float | None, _LOG10] = None
    """log10 Q̄² of the inverse Marchenko-Pastur model; NULL without a tail fit."""
    quality_levy_wigner: Annotated[float | None, _LOG10] = None
    """log10 Q̄² of the Lévy-Wigner model, derived for alpha < 2 and computed for any; NULL without a
    tail fit."""
    quality_r_transform: Annotated[float | None, _LOG10] = None
    """log10 Q̄² from free cumulants κ1..κ5."""


def quality(
    evals: ArrayLike,
    *,
    erg_num: int | None,
    alpha: float | None,
    mean_one_evals: Vector | None = None,
) -> Quality:
    """All five for eigenvalues, the ERG tail size (`erg`) and the fitted exponent.

    `mean_one_evals`: `mean_one(evals)`, where it is at hand. ArgumentError for values that are no
    eigenvalues, and unless 1 ≤ erg_num ≤ their number.
    """
    if erg_num is None:
        return Quality()
    mean_one_evals = mean_one(evals) if mean_one_evals is None else mean_one_evals
    if not 1 <= erg_num <= mean_one_evals.size:
        raise ArgumentError(
            f"got erg_num={erg_num}; wanted 1 to {mean_one_evals.size}, the number of eigenvalues"
        )
    ecs = mean_one_evals[mean_one_evals.size - erg_num :]
    return Quality(
        quality_discrete=_log10(_discrete(ecs)),
        quality_free_cauchy=_log10(_free_cauchy(ecs)),
        quality_inverse_mp=None if alpha is None else _log10(_inverse_mp(ecs, alpha)),
        quality_levy_wigner=None if alpha is None else _log10_levy_wigner(ecs, alpha),
        quality_r_transform=_log10(_r_transform(ecs)),
    )


def discrete(ecs: ArrayLike) -> float:
    """Bulk and spikes: R(z) = Σ λ̃_j, so Q̄² = (Σ λ̃_j)·Σ_i (λ̃_i − λ_min).

    SETOL 5.5, eqn. spikes_model_2 and _3. The text then drops λ_min (spikes_model_4, Q̄² ≈ (Σ
    λ̃)²); it is kept here, being 0.2 to 0.5 of the mean in practice. The R table's prefactor 1/M̃
    contradicts the derivation, which has none: none here.
    """
    return _discrete(_ecs_of(ecs))


def _discrete(ecs: Vector) -> float:
    return float(ecs.sum() * (ecs - ecs[0]).sum())


def free_cauchy(ecs: ArrayLike) -> float:
    """Free Cauchy, alpha = 2: R(z) = a + iγ, so Q̄² = a·Σ_i (λ̃_i − λ_min), with a = 1.

    SETOL 5.5, R table and G table (real part). The location a is not given; 1 is the mean
    eigenvalue in these units. The summary's log Q = log λ_max replaces the same sum by its largest
    term.
    """
    return _free_cauchy(_ecs_of(ecs))


def _free_cauchy(ecs: Vector) -> float:
    return float((ecs - ecs[0]).sum())


def inverse_mp(ecs: ArrayLike, *, alpha: float) -> float:
    """Inverse Marchenko-Pastur: R(z) = (κ − √(κ(κ − 2z)))/z, κ = alpha/2.

    SETOL 5.5 (eqn. IW_model_1) and appendix A8. Past the branch point κ/2 the root is imaginary, Re
    R = κ/z and G = κ ln(λ/λ_min), the paper's form; it expects λ_min ≥ κ/2. Where the ECS starts
    lower, the real integral F(z) = 2κ ln(κ + s) − 2s − κ ln 2κ, s = √(κ² − 2κz), continues it
    exactly. κ from alpha = 2κ (text); the summary's factor 2·alpha contradicts it, and drafts that
    take the modulus of G instead of its real part are not followed.
    """
    if not alpha > 0.0:
        raise ArgumentError(f"got alpha={alpha}; wanted a fitted exponent, above 0")
    return _inverse_mp(_ecs_of(ecs), alpha)


def _inverse_mp(ecs: Vector, alpha: float) -> float:
    kappa = alpha / 2.0
    branch = int(ecs.searchsorted(kappa / 2.0))  # from here on λ ≥ κ/2
    potential = np.empty_like(ecs)
    potential[branch:] = kappa * np.log(ecs[branch:])
    if branch:
        root = np.sqrt(np.maximum(kappa * kappa - 2.0 * kappa * ecs[:branch], 0.0))
        real = 2.0 * kappa * np.log(kappa + root) - 2.0 * root - kappa * math.log(2.0 * kappa)
        potential[:branch] = real
    return float((potential - potential[0]).sum())


def log10_levy_wigner(ecs: ArrayLike, *, alpha: float) -> float | None:
    """Lévy-Wigner, very heavy tails: log10 of Q̄² = (1/M̃)·Σ_i λ̃_i^(alpha−1), in log space.

    SETOL 5.5, eqn. LW_model_2: the integral of R = b·z^(alpha_l−1) with alpha_l = alpha − 1 (R
    table) and b = alpha − 1, from λ_min ≈ 0 and averaged over the ECS, as printed there. The G
    table's exponent alpha − 2 contradicts the integral and is not used. None for alpha ≤ 1.
    """
    return _log10_levy_wigner(_ecs_of(ecs), alpha)


def _log10_levy_wigner(ecs: Vector, alpha: float) -> float | None:
    if alpha <= 1.0:
        return None
    with np.errstate(under="ignore"):
        relative = float(((ecs / ecs[-1]) ** (alpha - 1.0)).mean())
    return (alpha - 1.0) * math.log10(ecs[-1]) + math.log10(relative)


def free_cumulants(moments: tuple[float, float, float, float, float]) -> tuple[float, ...]:
    """κ1..κ5 from the moments m1..m5 (SETOL 5.6, eqn. kappa_defn_2)."""
    m1, m2, m3, m4, m5 = moments
    return (
        m1,
        m2 - m1**2,
        m3 - 3 * m2 * m1 + 2 * m1**3,
        m4 - 4 * m3 * m1 - 2 * m2**2 + 10 * m2 * m1**2 - 5 * m1**4,
        m5
        - 5 * m4 * m1
        + 15 * m3 * m1**2
        + 15 * m2**2 * m1
        - 35 * m2 * m1**3
        - 5 * m3 * m2
        + 14 * m1**5,
    )


def r_transform(ecs: ArrayLike) -> float:
    """Computational R-transform: G(λ) = Σ_k (κ_k/k)(λ/M̃)^k over κ1..κ5, Q̄² = Σ_i G(λ̃_i).

    SETOL 5.6, eqn. G_lambda_series: λ/M̃ and the integral from 0 as printed. Moments are
    normalised, m_k = (1/M̃) Σ λ̃^k: the printed sums without 1/M̃ (mk_defn) are not moments of a
    law, and free cumulants need those. The printed "mean-centered and normalized by its standard
    deviation" would make κ1 = 0, so it is read as the mean-1 units that the ECS already has.
    """
    return _r_transform(_ecs_of(ecs))


def _r_transform(ecs: Vector) -> float:
    powers = np.empty((5, ecs.size))
    powers[0] = ecs
    for k in range(1, 5):
        np.multiply(powers[k - 1], ecs, out=powers[k])
    totals = powers.cumsum(axis=1)[:, -1]  # one by one: pairwise sums would move the last bit
    m1, m2, m3, m4, m5 = moments = (totals / ecs.size).tolist()
    kappas = free_cumulants((m1, m2, m3, m4, m5))
    size = float(ecs.size)  # Σ(λ/M̃)^k = m_k·M̃^(1−k)
    terms = zip(kappas, moments, range(1, 6), strict=True)
    return float(sum(kappa / k * moment * size ** (1 - k) for kappa, moment, k in terms))


def _ecs_of(values: ArrayLike) -> Vector:
    """The ECS, ascending, in mean-1 units of the whole spectrum (the caller's affair)."""
    ecs = spectrum_of(values)
    if ecs.size == 0:
        raise ArgumentError("got no eigenvalue; wanted those of the ECS, at least one")
    return ecs


def _log10(value: float) -> float | None:
    return math.log10(value) if math.isfinite(value) and value > 0.0 else None
