"""The seeded permutation: uniform, the same for every width, undone by its inverse."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from zoo.spectral import shuffle
from zoo.spectral.shuffle import Permutation


def fisher_yates(seed: int, size: int) -> list[int]:
    """The definition, one swap at a time."""
    u = np.random.Generator(np.random.SFC64([seed, 0])).random(size)
    entries = list(range(size))
    for i in range(size):
        j = i + int(u[i] * (size - i))
        entries[i], entries[j] = entries[j], entries[i]
    return entries


@pytest.mark.parametrize("size", [0, 1, 2, 3, 50, 16_385, 40_001])
def test_a_permutation_is_the_fisher_yates_shuffle_of_its_seed(size: int) -> None:
    values = np.arange(size, dtype=np.float32)
    assert Permutation(5, size).apply(values).tolist() == fisher_yates(5, size)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "u2", "u1"])
def test_every_width_moves_the_same_way(dtype: str) -> None:
    values = np.arange(200).astype(dtype)
    assert Permutation(5, 200).apply(values).tolist() == fisher_yates(5, 200)


@pytest.mark.parametrize("size", [1, 2, 777, 50_000])
def test_the_inverse_undoes_it(size: int) -> None:
    values = np.random.default_rng(0).standard_normal(size)
    permutation = Permutation(9, size)
    assert np.array_equal(permutation.invert(permutation.apply(values)), values)


def test_the_source_is_left_alone() -> None:
    values = np.arange(100.0)
    Permutation(1, 100).apply(values)
    assert np.array_equal(values, np.arange(100.0))


def test_all_orders_of_four_are_equally_likely() -> None:
    orders = Counter(tuple(Permutation(s, 4).apply(np.arange(4.0))) for s in range(6000))
    counts = np.array([orders[p] for p in itertools.permutations(range(4))])
    assert ((counts - 250.0) ** 2 / 250.0).sum() < 49.7  # chi-squared, 23 degrees, p = 0.001


def test_dealing_into_buckets_is_a_permutation_with_an_inverse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shuffle, "ONE_PASS_ENTRIES", 1000)
    monkeypatch.setattr(shuffle, "_DEALT_ENTRIES", 700)
    permutation, values = Permutation(3, 5000), np.arange(5000, dtype=np.int32)
    moved = permutation.apply(values)
    assert np.array_equal(np.sort(moved), values)
    assert np.array_equal(permutation.invert(moved.copy()), values)


def test_dealing_into_buckets_sends_entries_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shuffle, "ONE_PASS_ENTRIES", 100)
    source = Permutation(4, 20_000).apply(np.arange(20_000))
    table, _, _ = np.histogram2d(source, np.arange(20_000), bins=10)
    assert ((table - 200.0) ** 2 / 200.0).sum() < 125.0  # chi-squared, 81 degrees, p = 0.001


def test_other_seeds_give_other_orders() -> None:
    values = np.arange(1000.0)
    assert not np.array_equal(
        Permutation(1, 1000).apply(values), Permutation(2, 1000).apply(values)
    )
