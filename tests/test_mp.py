"""The Marchenko-Pastur law and its robust σ."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from zoo.spectral.mp import edges, fit_bulk, mp_cdf, mp_median, mp_pdf, slice_level

Q_VALUES = (1.0, 1.1, 2.0, 4.0, 20.0)


def eigenvalues(w: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sort(np.linalg.svd(w, compute_uv=False)) ** 2


def planted(
    rng: np.random.Generator, n: int, m: int, *, share: float, spikes: int
) -> tuple[NDArray[np.float64], float]:
    """Mean-1 eigenvalues of noise plus equal spikes carrying `share` of the trace, and true σ."""
    noise = rng.standard_normal((n, m))
    u, _ = np.linalg.qr(rng.standard_normal((n, spikes)))
    v, _ = np.linalg.qr(rng.standard_normal((m, spikes)))
    trace = float((noise**2).sum())
    strength = np.sqrt(trace * share / (1 - share) / spikes)
    evals = eigenvalues(noise + strength * u @ v.T)
    return evals / evals.mean(), float(np.sqrt(trace / evals.sum()))


@pytest.mark.parametrize("gamma", [1.0, 0.9, 0.25, 0.01])
def test_the_distribution_function_integrates_the_density(gamma: float) -> None:
    a, b = edges(1.3, gamma)
    x = a + (b - a) * np.sin(np.linspace(1e-4, np.pi / 2, 20_001)) ** 2
    steps = (
        np.diff(x)
        * 0.5
        * (mp_pdf(x[1:], sigma=1.3, gamma=gamma) + mp_pdf(x[:-1], sigma=1.3, gamma=gamma))
    )
    assert np.allclose(np.cumsum(steps), mp_cdf(x[1:], sigma=1.3, gamma=gamma), atol=1e-3)


def test_the_distribution_function_is_zero_below_and_one_above_the_bulk() -> None:
    assert mp_cdf(np.array([-1.0, 0.0, 9.0]), sigma=1.0, gamma=1.0).tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("gamma", [1.0, 0.3])
def test_the_median_halves_the_law(gamma: float) -> None:
    median = np.array([mp_median(gamma)])
    assert mp_cdf(median, sigma=1.0, gamma=gamma)[0] == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize("q", Q_VALUES)
@pytest.mark.parametrize("m", [50, 200, 500])
def test_sigma_of_a_gaussian_matrix_is_one(q: float, m: int) -> None:
    n = round(q * m)
    evals = eigenvalues(np.random.default_rng(m).standard_normal((n, m)))
    fit = fit_bulk(evals / evals.mean(), n=n, m=m)
    assert fit is not None and fit.sigma == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("q", Q_VALUES)
@pytest.mark.parametrize(("share", "spikes"), [(0.3, 1), (0.5, 3), (0.9, 1), (0.9, 5)])
def test_spikes_do_not_move_sigma(q: float, share: float, spikes: int) -> None:
    for m in (50, 200):
        n = round(q * m)
        evals, truth = planted(np.random.default_rng(m), n, m, share=share, spikes=spikes)
        fit = fit_bulk(evals, n=n, m=m)
        assert fit is not None and fit.sigma == pytest.approx(truth, rel=0.02)
        assert abs(fit.num_spikes - spikes) <= 1


def test_pooled_slices_are_one_bulk() -> None:
    rng = np.random.default_rng(0)
    evals = np.sort(np.concatenate([eigenvalues(rng.standard_normal((128, 64))) for _ in range(9)]))
    fit = fit_bulk(evals / evals.mean(), n=128, m=64)
    assert fit is not None and fit.sigma == pytest.approx(1.0, abs=0.01) and fit.num_spikes == 0


def test_a_power_law_spectrum_does_not_drag_sigma_to_nothing() -> None:
    evals = np.sort(np.random.default_rng(0).pareto(2.0, 400) + 1.0)
    fit = fit_bulk(evals / evals.mean(), n=400, m=400)
    assert fit is not None and 0.3 < fit.sigma < 1.2


@pytest.mark.parametrize(
    "evals", [[], [0.0, 0.0, 0.0], [0.0, 0.0, 3.0]], ids=["none", "zero", "rank-one"]
)
def test_a_spectrum_without_a_bulk_has_no_fit(evals: list[float]) -> None:
    assert fit_bulk(np.array(evals), n=5, m=3) is None


def test_the_level_of_a_slice_keeps_the_family_wise_level() -> None:
    assert 1 - (1 - slice_level(0.01, 9)) ** 9 == pytest.approx(0.01)
