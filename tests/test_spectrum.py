"""Eigenvalues of WᵀW: every shape, type and scale against a float64 SVD."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from zoo.spectral import solve
from zoo.spectral.solve import eigenvalues, entry_exponent
from zoo.spectral.spectrum import Spectrum

CPU = torch.device("cpu")


def oracle(w: torch.Tensor) -> NDArray[np.float64]:
    return np.sort(np.linalg.svd(w.to(torch.float64).numpy(), compute_uv=False)) ** 2


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


SHAPES = [(1, 1), (1, 7), (7, 1), (2, 30), (50, 50), (40, 90), (90, 40), (20_000, 2)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_eigenvalues_are_squared_singular_values(
    shape: tuple[int, int], dtype: torch.dtype
) -> None:
    w = noise(*shape).to(dtype)
    found = eigenvalues(w[None], storage_bits=32, device=CPU)[0]
    assert found == pytest.approx(oracle(w), rel=1e-9, abs=1e-12)


def test_rows_are_accumulated_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solve, "_BLOCK_BYTES", 8 * 40 * 64)
    w = noise(1000, 64)
    assert eigenvalues(w[None], storage_bits=32, device=CPU)[0] == pytest.approx(oracle(w))
    assert eigenvalues(w.T[None], storage_bits=32, device=CPU)[0] == pytest.approx(oracle(w))


def test_views_need_no_copy_to_be_right() -> None:
    kernel = noise(8, 5, 3, 3)
    slices = kernel.flatten(2).permute(2, 0, 1)
    found = eigenvalues(slices, storage_bits=32, device=CPU)
    assert found.shape == (9, 5)
    assert found[4] == pytest.approx(oracle(kernel[:, :, 1, 1]))


@pytest.mark.parametrize("m", [5, 70])
def test_a_slice_has_the_same_bits_alone_and_in_its_batch(m: int) -> None:
    stack = noise(6, 90, m)
    together = eigenvalues(stack, storage_bits=32, device=CPU)
    pairs = [eigenvalues(stack[i : i + 2], storage_bits=32, device=CPU)[0] for i in range(5)]
    assert np.array_equal(together[:5], np.stack(pairs))


def test_float64_data_is_resolved_to_its_own_precision() -> None:
    u, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((60, 40)))
    v, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((40, 40)))
    sigma = np.logspace(0, -12, 40)
    w = torch.from_numpy((u * sigma) @ v.T)
    found = eigenvalues(w[None], storage_bits=64, device=CPU)[0]
    assert np.sqrt(found) == pytest.approx(sigma[::-1], rel=1e-3)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_float64_entries_of_any_size_are_measured(scale: float) -> None:
    w = noise(30, 20).to(torch.float64)
    exponent = entry_exponent(scale)
    found = eigenvalues((w * scale)[None], storage_bits=64, exponent=exponent, device=CPU)[0]
    shape = oracle(w) / oracle(w)[-1]
    assert found / found[-1] == pytest.approx(shape, rel=1e-9)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("shape", [(1, 5, 4), (3, 5, 4)])
def test_non_finite_entries_are_refused(bad: float, shape: tuple[int, int, int]) -> None:
    w = torch.ones(shape)
    w[0, 2, 1] = bad
    with pytest.raises(ValueError, match="NaN or Inf"):
        eigenvalues(w, storage_bits=32, device=CPU)


@pytest.mark.parametrize("w", [torch.zeros(6, 4), torch.ones(6, 4)], ids=["zero", "constant"])
def test_degenerate_matrices_have_their_few_eigenvalues(w: torch.Tensor) -> None:
    found = Spectrum.rounded(eigenvalues(w[None], storage_bits=32, device=CPU)[0])
    assert found.evals == pytest.approx([0.0, 0.0, 0.0, float(w.sum())], abs=1e-12)


def test_a_spectrum_is_sorted_float32_and_not_negative() -> None:
    found = Spectrum.rounded(np.array([3.3, -1e-17, 1.1]))
    assert found.scale_exponent == 0
    assert np.array_equal(found.evals, np.array([0.0, 1.1, 3.3], dtype=np.float32).astype(float))


@pytest.mark.parametrize(("largest", "exponent"), [(1e62, 0), (1e-78, 0), (2.0, 900)])
def test_extreme_spectra_carry_a_power_of_two(largest: float, exponent: int) -> None:
    found = Spectrum.rounded(np.array([0.5, 1.0]) * largest, exponent)
    assert 0.5 <= found.evals[-1] <= 1.0
    assert found.true_evals == pytest.approx(np.ldexp([0.5 * largest, largest], exponent), rel=1e-6)
    stored = found.evals.astype(np.float32)
    assert np.array_equal(np.ldexp(stored.astype(float), found.scale_exponent), found.true_evals)


def test_float32_products_keep_the_bulk_unless_one_eigenvalue_dwarfs_it() -> None:
    w = noise(1, 200, 120)
    exact = eigenvalues(w, storage_bits=32, device=CPU)
    single = eigenvalues(w, storage_bits=32, product=torch.float32, device=CPU)
    assert single == pytest.approx(exact, rel=1e-4)
    w += 1000.0
    exact = eigenvalues(w, storage_bits=32, device=CPU)
    single = eigenvalues(w, storage_bits=32, product=torch.float32, device=CPU)
    assert np.array_equal(single, exact)
