"""The permutation of accelerators, replayed on a CPU: its bits, its inverse, its distribution."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, norm

from zoo.spectral import philox
from zoo.spectral.shuffle import Permutation

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("counter", "key", "wanted"),
    [
        ((0, 0), 0, "ff1dae59 6cd10df2"),
        ((0xFFFFFFFF, 0xFFFFFFFF), 0xFFFFFFFF, "2c3f628b ab4fd7ad"),
        ((0x243F6A88, 0x85A308D3), 0x13198A2E, "dd7ce038 f62a4c12"),
    ],
)
def test_the_keys_are_those_of_the_reference_implementation(
    counter: tuple[int, int], key: int, wanted: str
) -> None:
    first, high = counter
    bits = int(philox._keys(torch.tensor([first]), high, key)[0]) & (2**64 - 1)
    assert f"{bits >> 32:08x} {bits & 0xFFFFFFFF:08x}" == wanted


@given(seed=st.integers(0, 2**128 - 1), size=st.integers(1, 400))
@settings(max_examples=40, deadline=None)
def test_the_inverse_undoes_a_permutation_of_values_of_any_width(seed: int, size: int) -> None:
    permutation = Permutation(seed, size, "philox")
    for dtype in (np.int16, np.float32, np.float64):
        values = np.arange(size).astype(dtype)
        moved = permutation.apply(values)
        assert sorted(moved.tolist()) == values.tolist()
        assert permutation.invert(moved.copy()).tolist() == values.tolist()


def test_no_two_entries_have_equal_keys() -> None:
    keys = philox.keys(77, 200_000, CPU)
    assert torch.unique(keys).numel() == 200_000


def test_keys_do_not_depend_on_how_many_are_made() -> None:
    assert torch.equal(philox.keys(3, 50, CPU), philox.keys(3, 5000, CPU)[:50])


@given(block=st.integers(0, 2**40))
@settings(max_examples=5, deadline=None)
def test_every_order_of_four_entries_is_equally_likely(block: int) -> None:
    draws = 2400
    orders = Counter(
        tuple(philox.order((block << 20) + number, 4, CPU).tolist()) for number in range(draws)
    )
    expected = draws / 24
    distance = sum((orders[o] - expected) ** 2 / expected for o in permutations(range(4)))
    assert distance < chi2.isf(1e-6, 23)


def test_every_place_is_as_likely_for_every_entry() -> None:
    size, draws = 12, 6000
    counts = np.zeros((size, size))
    for seed in range(draws):
        counts[philox.order(seed << 7, size, CPU).numpy(), np.arange(size)] += 1
    distance = ((counts - draws / size) ** 2 / (draws / size)).sum()
    assert distance < chi2.isf(1e-6, (size - 1) ** 2)


def test_neighbours_and_places_are_not_correlated() -> None:
    size = 200_000
    for seed in (1, 2, 1 << 64):
        order = philox.order(seed, size, CPU).double()
        place = torch.arange(size, dtype=torch.float64)
        for one, other in ((order, place), (order[1:], order[:-1])):
            correlation = float(torch.corrcoef(torch.stack((one, other)))[0, 1])
            assert abs(correlation) * size**0.5 < norm.isf(1e-6)


def test_two_seeds_give_orders_that_have_nothing_in_common() -> None:
    size = 100_000
    one, other = philox.order(5, size, CPU), philox.order(6, size, CPU)
    assert int((one == other).sum()) < 12  # one is expected


def test_uniform_numbers_fill_their_range_evenly() -> None:
    numbers = philox.uniform(9, 100_000, CPU).numpy()
    counts, _ = np.histogram(numbers, bins=50, range=(-1, 1))
    assert counts.sum() == 100_000
    assert ((counts - 2000) ** 2 / 2000).sum() < chi2.isf(1e-6, 49)


def test_more_entries_than_counters_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 4294967296"):
        philox.keys(0, 2**32 + 1, CPU)


def test_a_layer_has_other_shuffles_of_one_kind_for_every_place_and_replicate() -> None:
    seeds = {
        Permutation.of(("a",), replicate, place, 0, size=9, kind="philox").seed & (2**64 - 1)
        for replicate in range(5)
        for place in range(9)
    }
    assert len(seeds) == 45
