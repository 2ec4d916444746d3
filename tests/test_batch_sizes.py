"""How many matrices an accelerator solves together."""

from __future__ import annotations

import pytest

from zoo.spectral.batch_sizes import batch_size, device_bytes, is_batched, memory_class


def test_a_card_counts_as_the_class_it_nearly_has() -> None:
    assert memory_class(85_000_000_000) == 80
    assert memory_class(79 * 2**30) == 80
    assert memory_class(24 * 10**9) == 24
    assert memory_class(2 * 10**9) == 0


@pytest.mark.parametrize(
    ("order", "batch"), [(128, 1024), (384, 256), (768, 256), (1024, 256), (2048, 64), (2880, 64)]
)
def test_a_large_card_takes_the_batches_that_were_measured(order: int, batch: int) -> None:
    assert batch_size(order, 80) == batch


def test_a_smaller_card_takes_smaller_batches_and_none_at_all_goes_one_by_one() -> None:
    sizes = [batch_size(2880, memory) for memory in (80, 40, 24, 16, 8, 0)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1


def test_orders_that_were_not_measured_in_batches_are_solved_one_by_one() -> None:
    assert batch_size(8192, 80) == 1
    assert not is_batched(64, 8192)


def test_a_few_large_matrices_are_solved_one_by_one() -> None:
    assert not is_batched(4, 2880)
    assert is_batched(8, 2880)
    assert is_batched(4, 384)


def test_tall_matrices_fill_the_card_with_fewer() -> None:
    assert batch_size(768, 80, longer=250_000) < batch_size(768, 80)


@pytest.mark.parametrize("memory", [80, 40, 24, 16, 8])
@pytest.mark.parametrize("order", [16, 384, 1024, 2880, 4096])
def test_a_batch_and_the_next_one_fit_the_card(order: int, memory: int) -> None:
    size = batch_size(order, memory)
    if size > 1:
        assert device_bytes(size, order, order) <= 0.7 * memory * 1e9
