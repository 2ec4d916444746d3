"""Eigenvalues of symmetric matrices, and a few eigenvectors afterwards, against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from zoo.spectral import symmetric, two_stage
from zoo.spectral.symmetric import symmetric_eigenvalues
from zoo.spectral.two_stage import two_stage_eigenvalues

DTYPES = [np.float64, np.float32]


def gram(order: int, dtype: type[np.floating], *, scale: float = 1.0) -> NDArray[np.floating]:
    """WᵀW of noise with one large entry, Fortran order."""
    w = np.random.default_rng(order).standard_normal((2 * order, order))
    w[0, 0] = 10.0 + 2.0 * order**0.5
    w *= scale
    return np.asfortranarray((w.T @ w).astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", [1, 2, 3, 70])
def test_eigenvalues_are_those_of_numpy(order: int, dtype: type[np.floating]) -> None:
    a = gram(order, dtype)
    expected = np.linalg.eigvalsh(a.astype(float))
    found, _ = symmetric_eigenvalues(a)
    assert found == pytest.approx(expected, abs=20 * float(np.finfo(dtype).eps) * expected[-1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", [2, 3, 70])
def test_kept_reductions_give_the_leading_eigenvectors(
    order: int, dtype: type[np.floating]
) -> None:
    a = gram(order, dtype)
    _, expected = np.linalg.eigh(a.astype(float))
    _, reduction = symmetric_eigenvalues(a, keep=True)
    assert reduction is not None
    found = reduction.leading(2)
    assert found.T @ found == pytest.approx(np.eye(2), abs=1e-5)
    assert np.abs(np.sum(found * expected[:, ::-1][:, :2], axis=0)) == pytest.approx(1.0, abs=1e-5)


def test_two_stages_give_the_eigenvalues_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, _ = symmetric_eigenvalues(gram(150, np.float64))
    monkeypatch.setattr(symmetric, "_TWO_STAGE_ABOVE", 100)
    assert two_stage_eigenvalues(gram(150, np.float64)) is not None  # scipy's wheels have it
    found, _ = symmetric_eigenvalues(gram(150, np.float64))
    assert found == pytest.approx(alone, abs=1e-13 * alone[-1])


def test_without_two_stages_one_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, _ = symmetric_eigenvalues(gram(60, np.float64))
    monkeypatch.setattr(symmetric, "_TWO_STAGE_ABOVE", 10)
    monkeypatch.setattr(two_stage, "_routine", lambda: None)
    assert np.array_equal(symmetric_eigenvalues(gram(60, np.float64))[0], alone)


def test_keeping_the_reduction_changes_no_bit() -> None:
    alone, nothing = symmetric_eigenvalues(gram(60, np.float64))
    kept, _ = symmetric_eigenvalues(gram(60, np.float64), keep=True)
    assert nothing is None and np.array_equal(alone, kept)


@pytest.mark.parametrize("scale", [1e-14, 1e14])
def test_float32_survives_extreme_scales(scale: float) -> None:
    found, _ = symmetric_eigenvalues(gram(40, np.float32, scale=scale))
    expected = np.linalg.eigvalsh(gram(40, np.float64)) * scale**2
    assert found == pytest.approx(expected, abs=1e-5 * expected[-1])


def test_a_matrix_of_zeros_has_only_zeros() -> None:
    found, _ = symmetric_eigenvalues(np.zeros((5, 5), dtype=np.float32, order="F"))
    assert found.tolist() == [0.0] * 5


def test_non_finite_entries_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN or Inf; wanted finite"):
        symmetric_eigenvalues(np.full((3, 3), np.nan, order="F"))
