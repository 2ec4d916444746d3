"""FARMS windows and their averages."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zoo.spectral.farms import Farms, farms, window_starts
from zoo.spectral.hill import alpha_hill
from zoo.spectral.tails import TailFit, fit_tail


@pytest.mark.parametrize(
    ("longest", "side", "starts"),
    [(5, 5, (0,)), (10, 5, (0, 5)), (12, 5, (0, 4, 7)), (6, 5, (0, 1))],
)
def test_windows_cover_both_ends_evenly(longest: int, side: int, starts: tuple[int, ...]) -> None:
    assert window_starts(longest, side) == starts


def test_very_long_matrices_are_sampled_at_sixteen_windows() -> None:
    starts = window_starts(100_000, 10)
    assert (len(starts), starts[0], starts[-1]) == (16, 0, 99_990)


@pytest.mark.parametrize("transpose", [False, True])
def test_alpha_is_the_mean_over_square_windows(transpose: bool) -> None:
    torch.manual_seed(0)
    w = torch.randn(90, 30, dtype=torch.float64)
    alphas, hills = [], []
    for start in (0, 30, 60):
        evals = np.sort(np.linalg.svd(w[start : start + 30].numpy(), compute_uv=False) ** 2)
        fit = fit_tail(evals, m=30, storage_bits=32)
        assert isinstance(fit, TailFit)
        alphas.append(fit.alpha)
        hills.append(alpha_hill(evals))
    found = farms((w.T if transpose else w)[None], storage_bits=32)
    assert found.num_windows == 3
    assert found.farms_alpha == pytest.approx(np.mean(alphas), rel=1e-9)
    assert found.farms_alpha_hill == pytest.approx(np.mean(np.array(hills, dtype=float)), rel=1e-9)


def test_aspect_ratio_moves_the_hill_alpha_but_not_the_farms_alpha() -> None:
    rng = torch.Generator().manual_seed(1)
    found = {}
    for n in (100, 400):
        w = torch.randn(n, 100, generator=rng, dtype=torch.float64)
        evals = np.sort(np.linalg.svd(w.numpy(), compute_uv=False) ** 2)
        found[n] = (alpha_hill(evals), farms(w[None], storage_bits=32).farms_alpha_hill)
    assert found[400][0] > 1.4 * found[100][0]  # type: ignore[operator]
    assert found[400][1] == pytest.approx(found[100][1], rel=0.1)


@pytest.mark.parametrize("shape", [(0, 5, 5), (1, 0, 5), (1, 5, 5)])
def test_matrices_too_small_for_a_fit_have_none(shape: tuple[int, int, int]) -> None:
    found = farms(torch.zeros(shape), storage_bits=32)
    assert (found.farms_alpha, found.farms_alpha_hill) == (None, None)
    assert isinstance(found, Farms)


def test_slices_of_a_convolution_are_pooled_at_each_window() -> None:
    torch.manual_seed(2)
    w = torch.randn(4, 40, 10, dtype=torch.float64)
    assert farms(w, storage_bits=32).num_windows == 4
    assert farms(w, storage_bits=32).farms_alpha is not None  # 40 values, one slice alone has 10


@pytest.mark.parametrize("exponent", [-1000, -500, 500, 1000])
def test_farms_does_not_change_with_scale_at_the_ends_of_float64(exponent: int) -> None:
    w = torch.randn(60, 30, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    scaled = torch.ldexp(w, torch.tensor(exponent))
    found, moved = farms(w[None], storage_bits=64), farms(scaled[None], storage_bits=64)
    assert found.farms_alpha is not None
    assert moved.farms_alpha == pytest.approx(found.farms_alpha, rel=1e-9)
    assert moved.farms_alpha_hill == pytest.approx(found.farms_alpha_hill, rel=1e-9)
