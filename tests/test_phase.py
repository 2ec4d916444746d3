"""The phase rule on planted spectra."""

from __future__ import annotations

import numpy as np
import pytest

from zoo.spectral.erg import mean_one
from zoo.spectral.mp import fit_bulk
from zoo.spectral.phase import bulk_distance, htsr_phase
from zoo.spectral.scalars import scalars
from zoo.spectral.tails import fit_tail

SHAPES = [(300, 300), (600, 300), (1200, 300), (1000, 100)]


def phase_of(evals: np.ndarray, shape: tuple[int, int]) -> str | None:
    n, m = shape
    return htsr_phase(
        evals,
        n=n,
        m=m,
        matrix_rank=scalars(evals, n=n, m=m, storage_bits=32).matrix_rank,
        tail=fit_tail(evals, m=m, storage_bits=32),
        bulk=fit_bulk(mean_one(evals), n=n, m=m) if evals[-1] > 0 else None,
    )


def spectrum(w: np.ndarray) -> np.ndarray:
    return np.sort(np.linalg.svd(w, compute_uv=False) ** 2)


def power_law(alpha: float, num: int) -> np.ndarray:
    return (1 - (np.arange(num) + 0.5) / num) ** (-1 / (alpha - 1))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("entries", ["normal", "uniform", "signs"])
def test_independent_entries_are_random_like(shape: tuple[int, int], entries: str) -> None:
    rng = np.random.default_rng(0)
    w = {
        "normal": rng.standard_normal(shape),
        "uniform": rng.uniform(-1.0, 1.0, shape),
        "signs": rng.choice([-1.0, 1.0], shape),
    }[entries]
    assert phase_of(spectrum(w), shape) == "random_like"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_spikes", [1, 3, 8])
def test_a_few_planted_directions_are_bulk_and_spikes(
    shape: tuple[int, int], num_spikes: int
) -> None:
    rng = np.random.default_rng(1)
    u = np.linalg.qr(rng.standard_normal((shape[0], num_spikes)))[0]
    v = np.linalg.qr(rng.standard_normal((shape[1], num_spikes)))[0]
    w = rng.standard_normal(shape) + 3 * np.sqrt(sum(shape)) * u @ v.T
    assert phase_of(spectrum(w), shape) == "bulk_spikes"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("alpha", "phase"),
    [
        (1.5, "very_heavy"),
        (1.9, "very_heavy"),
        (2.5, "heavy"),
        (4.0, "heavy"),
        (5.5, "heavy"),
        (8.0, "weakly_heavy"),
        (12.0, "weakly_heavy"),
    ],
)
def test_planted_power_laws_get_the_phase_of_their_exponent(
    shape: tuple[int, int], alpha: float, phase: str
) -> None:
    assert phase_of(power_law(alpha, shape[1]), shape) == phase


@pytest.mark.parametrize(("alpha", "phase"), [(1.5, "very_heavy"), (3.0, "heavy")])
def test_correlated_gaussian_rows_get_the_phase_of_their_covariance(
    alpha: float, phase: str
) -> None:
    rng = np.random.default_rng(2)
    w = rng.standard_normal((1200, 300)) * np.sqrt(power_law(alpha, 300))
    assert phase_of(spectrum(w), (1200, 300)) == phase


@pytest.mark.parametrize("rank", [0, 1, 75, 150])
def test_mass_at_zero_is_rank_collapse(rank: int) -> None:
    rng = np.random.default_rng(3)
    w = rng.standard_normal((300, rank)) @ rng.standard_normal((rank, 300))
    assert phase_of(spectrum(w), (300, 300)) == "rank_collapse"


def test_flat_spectra_and_small_ones_have_no_phase() -> None:
    assert phase_of(np.ones(50), (50, 50)) is None
    assert phase_of(spectrum(np.random.default_rng(4).standard_normal((30, 15))), (30, 15)) is None


@pytest.mark.parametrize("exponent", [-300, 300])
def test_phase_does_not_change_with_scale(exponent: int) -> None:
    w = np.random.default_rng(5).standard_normal((200, 100))
    assert phase_of(np.ldexp(spectrum(w), exponent), (200, 100)) == "random_like"


def test_random_bulks_lie_within_two_over_m_of_the_law() -> None:
    rng = np.random.default_rng(6)
    for m in (30, 100, 300):
        evals = spectrum(rng.standard_normal((2 * m, m)))
        bulk = fit_bulk(mean_one(evals), n=2 * m, m=m)
        assert bulk is not None
        assert bulk_distance(evals, n=2 * m, m=m, bulk=bulk) < 0.02 + 2 / m
