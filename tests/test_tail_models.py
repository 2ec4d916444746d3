"""Alternatives to the power law against quadrature, planted samples and the `powerlaw` package."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import exp1, log_ndtr

from zoo.spectral.tail_models import TailModels, fit_tail_models

XMIN = 3.0


def power_law(num: int, seed: int, alpha: float = 2.5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.sort(XMIN * np.exp(rng.standard_exponential(num) / (alpha - 1)))


def truncated(num: int, seed: int, alpha: float = 1.8, rate: float = 0.05) -> np.ndarray:
    """Rejection from the power law: accept x with probability e^(−rate·(x − xmin))."""
    rng = np.random.default_rng(seed)
    x = XMIN * np.exp(rng.standard_exponential(20 * num) / (alpha - 1))
    return np.sort(x[rng.random(x.size) < np.exp(-rate * (x - XMIN))][:num])


def lognormal(num: int, seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).lognormal(1.5, 0.8, 10 * num)
    return np.sort(x[x >= XMIN][:num])


def exponential(num: int, seed: int) -> np.ndarray:
    return np.sort(XMIN + np.random.default_rng(seed).exponential(2.0, num))


def tpl_log_likelihood(x: np.ndarray, alpha: float, rate: float) -> float:
    """Σ ln p with the normaliser by adaptive quadrature."""
    z = quad(lambda t: t**-alpha * math.exp(-rate * t), x[0], math.inf, epsabs=0, limit=500)[0]
    return float(np.sum(-alpha * np.log(x) - rate * x)) - x.size * math.log(z)


def lognormal_log_likelihood(x: np.ndarray, mu: float, sigma: float) -> float:
    z = (np.log(x) - mu) / sigma
    log_p = -0.5 * z**2 - np.log(x * sigma * math.sqrt(2 * math.pi))
    return float(np.sum(log_p)) - x.size * float(log_ndtr(-(math.log(x[0]) - mu) / sigma))


@pytest.mark.parametrize("sample", [truncated, lognormal, exponential])
def test_truncated_power_law_beats_every_neighbour(sample: object) -> None:
    x = sample(500, 0)  # type: ignore[operator]
    m = fit_tail_models(x)
    best = tpl_log_likelihood(x, m.tpl_alpha, m.tpl_rate)
    assert m.tpl_ratio == pytest.approx(m.power_law_log_likelihood - best, abs=1e-6)
    for d_alpha, d_rate in [(0.02, 0), (-0.02, 0), (0, 0.02), (0, -0.02)]:
        there = tpl_log_likelihood(x, m.tpl_alpha + d_alpha, m.tpl_rate * (1 + d_rate))
        assert there < best


@pytest.mark.parametrize("sample", [truncated, lognormal, exponential])
def test_lognormal_beats_every_neighbour(sample: object) -> None:
    x = sample(500, 1)  # type: ignore[operator]
    m = fit_tail_models(x)
    assert m.lognormal_mu is not None and m.lognormal_sigma is not None
    best = lognormal_log_likelihood(x, m.lognormal_mu, m.lognormal_sigma)
    assert m.lognormal_ratio == pytest.approx(m.power_law_log_likelihood - best, abs=1e-6)
    for d_mu, d_sigma in [(0.02, 0), (-0.02, 0), (0, 0.02), (0, -0.02)]:
        there = lognormal_log_likelihood(x, m.lognormal_mu + d_mu, m.lognormal_sigma + d_sigma)
        assert there < best


def test_power_law_likelihood_and_exponential_are_closed_forms() -> None:
    x = exponential(300, 2)
    m = fit_tail_models(x)
    alpha = 1 + x.size / np.sum(np.log(x / x[0]))
    slow = np.sum(np.log((alpha - 1) / x[0]) - alpha * np.log(x / x[0]))
    assert m.power_law_log_likelihood == pytest.approx(slow)
    assert m.exponential_rate == pytest.approx(1 / np.mean(x - x[0]))


def test_planted_parameters_come_back() -> None:
    tpl = fit_tail_models(truncated(20_000, 3))
    assert tpl.tpl_alpha == pytest.approx(1.8, abs=0.06)
    assert tpl.tpl_rate == pytest.approx(0.05, abs=0.006)
    logn = fit_tail_models(lognormal(20_000, 4))
    assert logn.lognormal_mu == pytest.approx(1.5, abs=0.1)
    assert logn.lognormal_sigma == pytest.approx(0.8, abs=0.05)


def test_each_test_names_the_law_that_was_planted() -> None:
    assert fit_tail_models(truncated(1000, 5)).tpl_p_value < 1e-3
    assert fit_tail_models(lognormal(1000, 6)).lognormal_p_value < 1e-3
    assert fit_tail_models(exponential(1000, 7)).exponential_p_value < 1e-3
    assert fit_tail_models(exponential(1000, 7)).exponential_ratio < 0
    plain = fit_tail_models(power_law(1000, 8))
    assert plain.tpl_p_value > 0.05 and plain.lognormal_p_value > 0.05
    assert plain.exponential_ratio > 0 and plain.exponential_p_value < 1e-3


def test_a_heavier_tail_than_the_power_laws_leaves_no_cut_off() -> None:
    x = np.append(power_law(200, 9), 1e9)
    m = fit_tail_models(x)
    assert (m.tpl_rate, m.tpl_ratio, m.tpl_p_value) == (0.0, 0.0, 1.0)
    assert (m.lognormal_mu, m.lognormal_sigma, m.lognormal_p_value) == (None, None, 1.0)
    assert m.tpl_alpha == pytest.approx(1 + x.size / np.sum(np.log(x / x[0])))


@pytest.mark.parametrize("sample", [truncated, power_law, lognormal])
def test_results_agree_with_the_powerlaw_package(sample: object) -> None:
    x = sample(400, 10)  # type: ignore[operator]
    m = fit_tail_models(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # powerlaw 2.0 warns about its own properties
        powerlaw = pytest.importorskip("powerlaw")
        theirs = powerlaw.Fit(x, xmin=x[0], verbose=0)
        compared = {
            name: theirs.distribution_compare("power_law", name)
            for name in ("truncated_power_law", "lognormal", "exponential")
        }
        at_bound = theirs.truncated_power_law.alpha < 1e-3  # it searches alpha > 0 only
    if not at_bound:
        # its Nelder-Mead stops at about six digits, never above our likelihood
        assert m.tpl_ratio == pytest.approx(compared["truncated_power_law"][0], abs=1e-3)
        assert m.tpl_p_value == pytest.approx(compared["truncated_power_law"][1], abs=5e-3)
    assert m.lognormal_ratio == pytest.approx(compared["lognormal"][0], abs=1e-3)
    assert m.lognormal_p_value == pytest.approx(compared["lognormal"][1], abs=1e-3)
    assert m.exponential_ratio == pytest.approx(compared["exponential"][0], rel=1e-4)


@pytest.mark.parametrize("scale", [1e-60, 1e60])
def test_tests_do_not_change_with_scale(scale: float) -> None:
    x = truncated(300, 11)
    here, there = fit_tail_models(x), fit_tail_models(x * scale)
    assert there.tpl_alpha == pytest.approx(here.tpl_alpha, abs=1e-6)
    assert there.tpl_rate * scale == pytest.approx(here.tpl_rate, rel=1e-6)
    assert there.lognormal_p_value == pytest.approx(here.lognormal_p_value, rel=1e-6)


@pytest.mark.parametrize(
    "x",
    [[1.0, 2.0], [1.0, 1.0, 1.0 + 2**-40], [1.0, 1e12], list(np.linspace(1, 1.001, 50))],
    ids=["two", "nearly equal", "far apart", "narrow"],
)
def test_extreme_tails_have_finite_results(x: list[float]) -> None:
    m = fit_tail_models(np.array(x))
    numbers = [getattr(m, name) for name in TailModels.__slots__]
    assert all(value is None or math.isfinite(value) for value in numbers)


def test_tails_without_spread_are_refused() -> None:
    with pytest.raises(ValueError, match="without spread"):
        fit_tail_models(np.array([2.0, 2.0, 2.0]))


def test_exponential_integral_is_the_normaliser_at_alpha_one() -> None:
    from zoo.spectral import tail_models

    # with mean(u) = 1: ρ·v + β·h = (ρ − β)·u + β·(e^u − 1), so ρ = β gives e^β·E₁(β)
    log_z = tail_models._moments(0.3, 0.3, tail_models._cut_off(1.0))[0]
    assert log_z == pytest.approx(0.3 + math.log(exp1(0.3)), rel=1e-12)
