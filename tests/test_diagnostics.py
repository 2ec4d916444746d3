"""Entry statistics against numpy on a float64 copy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from zoo.spectral.diagnostics import EntryStatistics, entry_statistics

FIELDS = ("weight_mean", "weight_std", "weight_kurtosis", "weight_max_abs", "l2_norm")


def oracle(matrices: torch.Tensor) -> dict[str, float]:
    w = matrices.to(torch.float64).numpy().ravel()
    d = w - w.mean()
    a = np.abs(w)
    return {
        "weight_mean": w.mean(),
        "weight_std": w.std(),
        "weight_kurtosis": np.mean(d**4) / np.mean(d**2) ** 2 - 3,
        "weight_max_abs": a.max(),
        "l2_norm": math.sqrt(math.fsum(w * w)),
        "abs_weight_entropy": -math.fsum(x * math.log(x) for x in a if x > 0),
    }


def check(matrices: torch.Tensor) -> None:
    found = entry_statistics(matrices)
    for name, value in oracle(matrices).items():
        is_single = name == "abs_weight_entropy" and matrices.dtype != torch.float64
        rel = 1e-7 if is_single else 1e-9  # its logarithms are float32
        assert getattr(found, name) == pytest.approx(value, rel=rel, abs=1e-13), name
    assert found.non_finite == 0


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str
)
@pytest.mark.parametrize("shape", [(1, 7, 5), (9, 40, 30), (1, 300, 250), (3, 1, 70_000)])
def test_statistics_are_those_of_a_float64_copy(
    shape: tuple[int, int, int], dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    check((torch.randn(shape) * 0.05 + 0.01).to(dtype))


def test_a_large_mean_does_not_cost_accuracy() -> None:
    torch.manual_seed(1)
    check((torch.randn(1, 300, 300, dtype=torch.float64) + 1e4).to(torch.float32))


def test_strided_slices_of_a_convolution_are_read_in_place() -> None:
    torch.manual_seed(2)
    check(torch.randn(64, 48, 5, 5).permute(2, 3, 0, 1).reshape(25, 64, 48))
    check(torch.randn(64, 48, 33).permute(2, 0, 1))


@pytest.mark.parametrize("dtype", [torch.bool, torch.int8, torch.uint8, torch.int64], ids=str)
def test_integer_and_boolean_tensors_have_statistics(dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    check(torch.randint(0, 2, (1, 50, 60)).to(dtype))


@pytest.mark.parametrize("scale", [1e-300, 1e-60, 1e60, 1e300])
def test_moments_survive_extreme_scales(scale: float) -> None:
    torch.manual_seed(4)
    w = torch.randn(2, 200, 200, dtype=torch.float64)
    here, there = entry_statistics(w), entry_statistics(w * scale)
    for name in FIELDS:
        factor = 1.0 if name == "weight_kurtosis" else scale
        assert getattr(there, name) == pytest.approx(getattr(here, name) * factor, rel=1e-9), name
    assert here.abs_weight_entropy is not None
    total = float(w.abs().sum())
    expected = scale * (here.abs_weight_entropy - math.log(scale) * total)
    assert there.abs_weight_entropy == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("scale", [1e30, 1e-42])
def test_float32_extremes_and_subnormals_are_measured(scale: float) -> None:
    torch.manual_seed(5)
    w = (torch.randn(1, 100, 100, dtype=torch.float64) * scale).to(torch.float32)
    found, slow = entry_statistics(w), oracle(w)
    assert found.weight_std == pytest.approx(slow["weight_std"], rel=1e-9)
    assert found.weight_kurtosis == pytest.approx(slow["weight_kurtosis"], rel=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0])
def test_constant_matrix_has_no_spread_and_no_kurtosis(value: float) -> None:
    found = entry_statistics(torch.full((1, 300, 300), value, dtype=torch.float64))
    assert (found.weight_mean, found.weight_std, found.weight_kurtosis) == (value, 0.0, None)
    assert found.l2_norm == pytest.approx(abs(value) * 300)


def test_non_finite_entries_are_counted_and_nothing_else_given() -> None:
    w = torch.ones(2, 300, 300)
    w[0, 5, 5], w[1, 7, 0], w[1, 299, 299] = math.nan, math.inf, -math.inf
    assert entry_statistics(w) == EntryStatistics(non_finite=3)


def test_empty_matrix_has_no_statistics() -> None:
    assert entry_statistics(torch.empty(1, 0, 5)).weight_mean is None


def test_weights_are_left_untouched() -> None:
    w = torch.tensor([[[-1.0, 2.0], [-3.0, 4.0]]], dtype=torch.float64)
    entry_statistics(w)
    assert w.tolist() == [[[-1.0, 2.0], [-3.0, 4.0]]]
