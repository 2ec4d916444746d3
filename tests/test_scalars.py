"""Scalars of a spectrum against the definitions, and on degenerate matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest

from zoo.spectral.scalars import above_tolerance, rank_tolerance, scalars


def spectrum(matrix: np.ndarray) -> np.ndarray:
    return np.sort(np.linalg.svd(matrix.astype(np.float64), compute_uv=False) ** 2)


def test_scalars_follow_their_definitions() -> None:
    w = np.random.default_rng(0).standard_normal((30, 12))
    s = scalars(spectrum(w), n=30, m=12, storage_bits=64)
    top = np.linalg.norm(w, 2) ** 2
    assert s.lambda_max == pytest.approx(top)
    assert s.lambda_min == pytest.approx(np.linalg.norm(w, -2) ** 2)
    assert s.frobenius_norm_sq == pytest.approx(np.sum(w**2))
    assert s.log_norm == pytest.approx(math.log10(np.sum(w**2)))
    assert s.log_spectral_norm == pytest.approx(math.log10(top))
    assert s.stable_rank == pytest.approx(np.sum(w**2) / top)
    assert s.matrix_rank == 12


def test_entropy_is_shannon_entropy_over_log_rank() -> None:
    p = np.array([0.1, 0.2, 0.3, 0.4])
    slow = -sum(x * math.log(x) for x in p) / math.log(4)
    assert scalars(7 * p, n=4, m=4, storage_bits=32).matrix_entropy == pytest.approx(slow)


def test_rank_counts_only_directions_above_float32_noise() -> None:
    rng = np.random.default_rng(1)
    w = rng.standard_normal((100, 50)).astype(np.float32) @ rng.standard_normal((50, 100)).astype(
        np.float32
    )
    assert scalars(spectrum(w), n=100, m=100, storage_bits=32).matrix_rank == 50


@pytest.mark.parametrize(
    ("matrix", "rank", "stable_rank", "entropy"),
    [
        (np.zeros((4, 3)), 0, None, None),
        (np.outer([1.0, 2.0, 2.0], [3.0, 4.0]), 1, 1.0, 0.0),
        (np.full((5, 5), 0.25), 1, 1.0, 0.0),
        (np.eye(6), 6, 6.0, 1.0),
    ],
    ids=["zero", "rank-one", "constant", "identity"],
)
def test_degenerate_matrices_have_defined_scalars(
    matrix: np.ndarray, rank: int, stable_rank: float | None, entropy: float | None
) -> None:
    s = scalars(spectrum(matrix), n=max(matrix.shape), m=min(matrix.shape), storage_bits=32)
    assert s.matrix_rank == rank
    assert s.stable_rank == (None if stable_rank is None else pytest.approx(stable_rank))
    assert s.matrix_entropy == (None if entropy is None else pytest.approx(entropy))


def test_zero_matrix_has_no_logarithms() -> None:
    s = scalars(np.zeros(3), n=4, m=3, storage_bits=32)
    assert (s.lambda_max, s.frobenius_norm_sq, s.log_norm, s.log_spectral_norm) == (
        0,
        0,
        None,
        None,
    )


def test_empty_spectrum_has_rank_zero_and_no_numbers() -> None:
    s = scalars(np.empty(0), n=0, m=0, storage_bits=32)
    assert (s.matrix_rank, s.lambda_max, s.frobenius_norm_sq) == (0, None, None)


@pytest.mark.parametrize("scale", [1e-300, 1e-60, 1.0, 1e60, 1e307])
def test_ranks_and_entropy_do_not_change_with_scale(scale: float) -> None:
    evals = np.array([0.5, 1.0, 2.0, 5.0])
    here = scalars(evals * scale, n=4, m=4, storage_bits=32)
    there = scalars(evals, n=4, m=4, storage_bits=32)
    assert here.stable_rank == pytest.approx(there.stable_rank)
    assert here.matrix_rank == there.matrix_rank
    assert here.matrix_entropy == pytest.approx(there.matrix_entropy)


def test_a_sum_beyond_float64_is_null_but_its_logarithm_is_not() -> None:
    s = scalars(np.array([1e308, 1.5e308]), n=2, m=2, storage_bits=64)
    assert s.frobenius_norm_sq is None
    assert s.log_norm == pytest.approx(308 + math.log10(2.5))


def test_tolerance_is_relative_and_shared() -> None:
    assert rank_tolerance(4.0, m=8, storage_bits=16) == 4.0 * (8 * 2.0**-23) ** 2
    assert rank_tolerance(4.0, m=8, storage_bits=64) == 4.0 * (8 * 2.0**-52) ** 2
    kept = above_tolerance(np.array([0.0, 1e-14, 1e-3, 1.0]), m=4, storage_bits=32)
    assert kept.tolist() == [1e-3, 1.0]


def test_non_finite_eigenvalues_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN or Inf"):
        scalars(np.array([1.0, np.nan]), n=2, m=2, storage_bits=32)


def test_swapped_sides_are_refused() -> None:
    with pytest.raises(ValueError, match="n is the larger side"):
        scalars(np.array([1.0]), n=1, m=2, storage_bits=32)
