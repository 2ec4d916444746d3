"""SETOL quality: each closed form against numerical integration of its R-transform."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad

from zoo.spectral.erg import erg, mean_one
from zoo.spectral.setol import (
    Quality,
    discrete,
    free_cauchy,
    free_cumulants,
    inverse_mp,
    log10_levy_wigner,
    quality,
    r_transform,
)

ECS = np.sort(np.random.default_rng(0).lognormal(1, 0.7, 12))


def integrated(r: object, ecs: np.ndarray, points: tuple[float, ...] = ()) -> float:
    """Σ_i ∫_{λ_min}^{λ_i} Re R(z) dz by adaptive quadrature."""
    low = ecs[0]
    return math.fsum(
        quad(r, low, x, points=[p for p in points if low < p < x], limit=200)[0] for x in ecs
    )


def test_discrete_integrates_the_trace() -> None:
    trace = float(ECS.sum())
    assert discrete(ECS) == pytest.approx(integrated(lambda z: trace, ECS))


def test_free_cauchy_integrates_one() -> None:
    assert free_cauchy(ECS) == pytest.approx(integrated(lambda z: 1.0, ECS))


@pytest.mark.parametrize("alpha", [1.5, 2.0, 4.0, 12.0])
def test_inverse_mp_integrates_the_real_part(alpha: float) -> None:
    kappa = alpha / 2
    ecs = np.concatenate(([0.2, 0.4], ECS)) if alpha > 1 else ECS

    def real_part(z: float) -> float:
        return ((kappa - complex(kappa * (kappa - 2 * z)) ** 0.5) / z).real

    slow = integrated(real_part, np.sort(ecs), points=(kappa / 2,))
    assert inverse_mp(np.sort(ecs), alpha=alpha) == pytest.approx(slow, rel=1e-6)


def test_inverse_mp_past_the_branch_point_is_the_papers_logarithm() -> None:
    ecs = ECS + 2.0
    assert inverse_mp(ecs, alpha=4.0) == pytest.approx(2.0 * np.sum(np.log(ecs / ecs[0])))


@pytest.mark.parametrize("alpha", [1.2, 1.9, 3.0])
def test_levy_wigner_is_the_mean_power(alpha: float) -> None:
    slow = math.log10(np.mean(ECS ** (alpha - 1)))
    assert log10_levy_wigner(ECS, alpha=alpha) == pytest.approx(slow)


def test_levy_wigner_does_not_overflow() -> None:
    found = log10_levy_wigner(np.array([1.0, 1e4]), alpha=500.0)
    assert found == pytest.approx(499 * 4 - math.log10(2))


def test_free_cumulants_of_the_semicircle_stop_at_two() -> None:
    assert free_cumulants((0.0, 1.0, 0.0, 2.0, 0.0)) == pytest.approx((0, 1, 0, 0, 0))


def test_free_cumulants_of_marchenko_pastur_are_all_one() -> None:
    assert free_cumulants((1.0, 2.0, 5.0, 14.0, 42.0)) == pytest.approx((1, 1, 1, 1, 1))


def test_r_transform_is_the_truncated_series() -> None:
    moments = [float(np.mean(ECS**k)) for k in range(1, 6)]
    kappas = free_cumulants(tuple(moments))  # type: ignore[arg-type]
    slow = sum(
        kappa / (k + 1) * (x / ECS.size) ** (k + 1) for x in ECS for k, kappa in enumerate(kappas)
    )
    assert r_transform(ECS) == pytest.approx(slow)


def test_quality_takes_the_erg_tail_in_mean_one_units() -> None:
    evals = 1e5 * np.sort(np.random.default_rng(1).lognormal(0, 1, 100))
    size = erg(evals, xmin=None, num_tail=None).erg_num
    assert size is not None
    found = quality(evals, erg_num=size, alpha=2.5)
    ecs = mean_one(evals)[-size:]
    assert found.quality_free_cauchy == pytest.approx(math.log10(np.sum(ecs - ecs[0])))
    assert found.quality_inverse_mp == pytest.approx(math.log10(inverse_mp(ecs, alpha=2.5)))


def test_quality_does_not_change_under_powers_of_two() -> None:
    evals = np.sort(np.random.default_rng(2).lognormal(0, 1, 100))
    assert quality(np.ldexp(evals, 300), erg_num=40, alpha=3.0) == quality(
        evals, erg_num=40, alpha=3.0
    )


def test_without_a_fit_only_the_models_without_alpha_are_given() -> None:
    evals = np.sort(np.random.default_rng(3).lognormal(0, 1, 50))
    found = quality(evals, erg_num=20, alpha=None)
    assert (found.quality_inverse_mp, found.quality_levy_wigner) == (None, None)
    assert found.quality_discrete is not None


def test_without_an_erg_tail_there_is_no_quality() -> None:
    assert quality(np.ones(5), erg_num=None, alpha=2.0) == Quality(None, None, None, None, None)


def test_an_ecs_that_reaches_the_null_space_is_finite_or_null() -> None:
    evals = np.append(np.zeros(9), 5.0)
    found = quality(evals, erg_num=2, alpha=2.0)
    for name in Quality.__slots__:
        value = getattr(found, name)
        assert value is None or math.isfinite(value), name
