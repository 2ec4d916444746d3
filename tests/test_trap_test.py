"""The calibrated trap test: false alarms, power, planted entries, pooled slices."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binom

from zoo.spectral import replicate, shuffle
from zoo.spectral.bulk_entries import Moments, bulk_entries
from zoo.spectral.replicate import EntryFacts, measure_full, measure_top, shuffle_slice
from zoo.spectral.shuffle import Permutation
from zoo.spectral.tracy_widom import johnstone
from zoo.spectral.trap_test import ShuffleTest

Draw = Callable[[np.random.Generator, tuple[int, int]], NDArray[np.float64]]
LAWS: dict[str, Draw] = {
    "gaussian": lambda rng, shape: rng.standard_normal(shape),
    "uniform": lambda rng, shape: rng.uniform(-1.0, 1.0, shape),
    "rademacher": lambda rng, shape: rng.integers(0, 2, shape) * 2.0 - 1.0,
    "laplace": lambda rng, shape: rng.laplace(size=shape),
}


def entries_of(w: torch.Tensor) -> EntryFacts:
    x = w.to(torch.float64).numpy().ravel()
    kurtosis = float(((x - x.mean()) ** 4).mean() / x.var() ** 2 - 3.0)
    return EntryFacts(float(np.abs(x).max()), Moments(float(x.mean()), float(x.var()), kurtosis), 0)


def trap_test_of(w: torch.Tensor, seed: int = 0, *, top: bool = False) -> ShuffleTest:
    """The test of one shuffle of `w` [k, rows, cols]."""
    k, rows, cols = w.shape
    permutations = tuple(Permutation(seed * 1000 + i, rows * cols) for i in range(k))
    found = (measure_top if top else measure_full)(
        w,
        permutations,
        entries=entries_of(w),
        bulks=None,
        level=0.01,
        keep=False,
        device=torch.device("cpu"),
    )
    assert found.test is not None
    return found.test


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("shape", [(200, 50), (80, 80)], ids=str)
def test_false_alarms_lie_within_the_binomial_band(law: str, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(7)
    draws = 200
    alarms = 0
    for seed in range(draws):
        w = torch.from_numpy(LAWS[law](rng, shape).astype(np.float32))
        alarms += len(trap_test_of(w[None], seed).traps) > 0
    assert alarms <= binom.ppf(0.999, draws, 0.01)


def planted_size(n: int, m: int, units: float) -> float:
    """The entry whose predicted eigenvalue lies `units` Tracy-Widom units above the centre."""
    gamma, law = m / n, johnstone(n, m)
    goal = (law.centre + units * law.scale) / n
    theta_sq = brentq(lambda t: (t + 1) * (t + gamma) / t - goal, math.sqrt(gamma), 100.0)
    return math.sqrt(theta_sq * n)


@pytest.mark.parametrize(("units", "share"), [(6.0, 0.93), (8.0, 0.98)])
def test_a_planted_entry_is_found(units: float, share: float) -> None:
    n, m, draws = 200, 50, 150
    rng = np.random.default_rng(3)
    found = 0
    for seed in range(draws):
        w = rng.standard_normal((n, m))
        w[0, 0] = planted_size(n, m, units)
        found += len(trap_test_of(torch.from_numpy(w)[None], seed).traps) == 1
    assert found >= share * draws


def test_a_mean_shift_is_one_trap() -> None:
    w = torch.randn((1, 200, 100), generator=torch.Generator().manual_seed(0)) + 0.5
    assert len(trap_test_of(w).traps) == 1


def test_traps_come_largest_first_with_their_excess_and_p_value() -> None:
    w = torch.randn((1, 400, 200), generator=torch.Generator().manual_seed(0))
    w[0, 3, 5], w[0, 9, 9] = 50.0, 70.0
    first, second = trap_test_of(w).traps
    assert first.eigenvalue > second.eigenvalue
    edge = trap_test_of(w).slices[0].edge
    assert first.excess_rel == pytest.approx(first.eigenvalue / edge - 1.0)
    assert 0.0 < first.p_value <= second.p_value < 1e-10


def test_the_top_alone_gives_the_same_test_as_the_whole_spectrum() -> None:
    w = torch.randn((1, 400, 150), generator=torch.Generator().manual_seed(0))
    w[0, 0, :3] = 60.0
    full, top = trap_test_of(w), trap_test_of(w, top=True)
    assert len(full.traps) == len(top.traps)
    assert top.threshold == pytest.approx(full.threshold, rel=1e-5)
    assert math.log(top.p_value) == pytest.approx(math.log(full.p_value), rel=1e-3)


@pytest.mark.parametrize("planted", ["entry", "mean"])
def test_a_trap_that_dwarfs_the_edge_hides_no_other_from_the_top(planted: str) -> None:
    """λ_max is 1e6 times the edge: the search stopped at one trap of three, or counted noise."""
    w = torch.randn((1, 400, 300), generator=torch.Generator().manual_seed(0))
    w[0, 3, 5], w[0, 9, 9] = 50.0, 60.0
    if planted == "entry":
        w[0, 20, 20] = 4e4
    else:
        w += 100.0
    full, top = trap_test_of(w), trap_test_of(w, top=True)
    assert len(full.traps) == len(top.traps) >= 3
    for here, there in zip(full.slices, top.slices, strict=True):
        assert there.variance == pytest.approx(here.variance, rel=1e-3)
    assert top.threshold == pytest.approx(full.threshold, rel=1e-3)


def test_each_slice_is_held_against_its_own_variance() -> None:
    scales = torch.arange(1.0, 10.0)[:, None, None]
    w = torch.randn((9, 128, 64), generator=torch.Generator().manual_seed(2)) * scales
    assert trap_test_of(w).traps == ()
    w[2, 5, 5] = 120.0
    assert [trap.slice_index for trap in trap_test_of(w).traps] == [2]


@pytest.mark.parametrize("value", [0.0, 2.0], ids=["zero", "constant"])
def test_without_variance_there_is_no_test(value: float) -> None:
    w = torch.full((1, 20, 10), value)
    entries = EntryFacts(value, None, 0)
    found = measure_full(
        w,
        (Permutation(0, 200),),
        entries=entries,
        bulks=None,
        level=0.01,
        keep=False,
        device=torch.device("cpu"),
    )
    assert found.test is None


@pytest.mark.parametrize("shape", [(30, 30), (50, 50), (100, 50)], ids=str)
def test_a_few_planted_entries_do_not_hide_one_another(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(5)
    w = rng.standard_normal(shape)
    w.ravel()[rng.choice(w.size, 5, replace=False)] = 4.0 * np.sqrt(shape[0])
    found = trap_test_of(torch.from_numpy(w.astype(np.float32))[None])
    assert len(found.traps) == 5


def test_a_planted_entry_does_not_raise_the_kurtosis() -> None:
    x = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    x[77] = 30.0
    bulk = bulk_entries(x, max_abs=30.0, moments=None)
    assert bulk.kurtosis == pytest.approx(0.0, abs=0.15)
    assert bulk.extreme_share == pytest.approx(900.0 / float((x**2).sum()), rel=1e-6)


def test_known_moments_give_the_same_bulk() -> None:
    x = torch.randn(50_000, generator=torch.Generator().manual_seed(0)) + 0.1
    x[[5, 77]] = torch.tensor([30.0, -25.0])
    entries = entries_of(x)
    slow = bulk_entries(x, max_abs=30.0, moments=None)
    fast = bulk_entries(x, max_abs=30.0, moments=entries.moments)
    assert fast.kurtosis == pytest.approx(slow.kurtosis, abs=1e-3)
    assert fast.extreme_share == pytest.approx(slow.extreme_share, rel=1e-9)


def test_laplace_entries_are_all_bulk() -> None:
    x = torch.from_numpy(np.random.default_rng(0).laplace(size=100_000))
    bulk = bulk_entries(x, max_abs=float(x.abs().max()), moments=None)
    assert bulk.kurtosis == pytest.approx(3.0, abs=0.3)
    assert bulk.extreme_share < 0.001


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_matrices_are_shuffled_and_searched_as_they_are_stored(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(shuffle, "ONE_PASS_ENTRIES", 1000)
    monkeypatch.setattr(replicate, "ONE_PASS_ENTRIES", 1000)
    w = torch.randn((1, 300, 120), generator=torch.Generator().manual_seed(0)).to(dtype)
    w[0, 1, 1] = 70.0
    assert shuffle_slice(w[0], Permutation(0, 36_000)).dtype == dtype
    half, single = trap_test_of(w, top=True), trap_test_of(w.float(), top=True)
    assert len(half.traps) == len(single.traps) == 1
    assert half.threshold == pytest.approx(single.threshold, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_shuffled_slice_holds_the_same_entries(dtype: torch.dtype) -> None:
    w = torch.randn((30, 20), generator=torch.Generator().manual_seed(0)).to(dtype)
    moved = shuffle_slice(w, Permutation(1, 600))
    assert moved.shape == w.shape
    assert torch.equal(moved.flatten().sort()[0], w.flatten().sort()[0].to(moved.dtype))


@pytest.mark.parametrize("shape", [(1, 1, 500), (9, 96, 1)], ids=["one row", "depthwise"])
def test_a_large_entry_in_a_single_row_is_neither_trap_nor_small_p(
    shape: tuple[int, int, int],
) -> None:
    """Its one eigenvalue is the trace; p was 1e-254 beside no trap."""
    w = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    w.view(-1)[7] = 60.0
    test = trap_test_of(w)
    assert (test.traps, test.p_value) == ((), 1.0)
