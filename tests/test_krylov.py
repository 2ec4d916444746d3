"""The top of a spectrum by block Krylov, against the whole of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from zoo.spectral.krylov import TopSpectrum, top_spectrum


def noise(rows: int, cols: int) -> torch.Tensor:
    return torch.randn((rows, cols), generator=torch.Generator().manual_seed(1))


def first(count: int) -> Callable[[np.ndarray], int]:
    return lambda _: count


def top(w: torch.Tensor, count: int, *, vectors: bool = True) -> TopSpectrum:
    return top_spectrum(
        w,
        rng=np.random.default_rng(0),
        wanted=first(count),
        vectors=vectors,
        tolerance=1e-7,
        max_passes=80,
    )


@pytest.mark.parametrize(
    "shape", [(300, 300), (500, 120), (120, 500), (40, 8), (5, 1), (1, 1)], ids=str
)
def test_the_largest_eigenvalues_are_those_of_an_svd(shape: tuple[int, int]) -> None:
    w = noise(*shape)
    count = min(3, *shape)
    expected = torch.linalg.svdvals(w.to(torch.float64)).numpy()[:count] ** 2
    assert top(w, count).evals[:count] == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_are_converted_by_rows(dtype: torch.dtype) -> None:
    w = noise(400, 90).to(dtype)
    expected = float(torch.linalg.matrix_norm(w.to(torch.float64), 2)) ** 2
    assert top(w, 1).evals[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(200, 80), (80, 200)], ids=str)
def test_vectors_are_singular_vectors(shape: tuple[int, int]) -> None:
    w = noise(*shape) + 40 * torch.outer(torch.eye(shape[0])[3], torch.eye(shape[1])[5])
    found = top(w, 2)
    array = w.numpy().astype(float)
    for i in range(1):
        sigma = np.sqrt(found.evals[i])
        assert array @ found.right[:, i] == pytest.approx(
            sigma * found.left[:, i], abs=1e-3 * sigma
        )
        assert array.T @ found.left[:, i] == pytest.approx(
            sigma * found.right[:, i], abs=1e-3 * sigma
        )


def test_equal_eigenvalues_are_all_found() -> None:
    w = torch.diag(torch.tensor([5.0] * 6 + [1.0] * 60))
    assert top(w, 6).evals[:6] == pytest.approx([25.0] * 6, rel=1e-5)


def test_a_matrix_of_low_rank_ends_the_search() -> None:
    w = torch.outer(torch.ones(100), torch.arange(50.0))
    found = top(w, 3)
    assert found.is_converged
    assert found.evals[0] == pytest.approx(100 * float((torch.arange(50.0) ** 2).sum()), rel=1e-5)


def test_too_few_passes_are_admitted() -> None:
    found = top_spectrum(
        noise(600, 600),
        rng=np.random.default_rng(0),
        wanted=first(1),
        vectors=False,
        tolerance=1e-12,
        max_passes=3,
    )
    assert not found.is_converged
