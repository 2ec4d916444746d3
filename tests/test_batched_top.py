"""The search for the top of many spectra at once, and the count it asks for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from zoo.spectral import batched_krylov
from zoo.spectral.batched_krylov import tops_of
from zoo.spectral.batched_modes import first_blocks
from zoo.spectral.batched_solve import grams
from zoo.spectral.batched_trap_test import nums_wanted
from zoo.spectral.trap_test import BulkEntries, trap_test

CPU = torch.device("cpu")


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def always(count: int) -> object:
    def wanted(evals: np.ndarray, numbers: np.ndarray) -> NDArray[np.intp]:
        return np.full(len(numbers), count, dtype=np.intp)

    return wanted


def search(stack: torch.Tensor, count: int, **named: object) -> list[batched_krylov.Top]:
    k, order = len(stack), min(stack.shape[1:])
    arguments = {"tolerance": 1e-10, "max_passes": 60} | named
    return tops_of(
        grams(stack, [0] * k),
        first_blocks(range(k), order, CPU),
        wanted=always(count),
        num_vectors=lambda c: c,
        **arguments,
    )


@pytest.mark.parametrize("shape", [(3, 200, 150), (3, 90, 260), (2, 12, 9), (2, 5, 1)])
def test_the_largest_eigenvalues_and_their_vectors_are_found(shape: tuple[int, ...]) -> None:
    stack = noise(*shape)
    stack[0, 1, 0] += 60
    products = grams(stack, [0] * len(stack))
    for product, top in zip(products, search(stack, 2), strict=True):
        wanted = torch.linalg.eigvalsh(product).flip(0).numpy()[: top.num_wanted]
        assert top.is_converged
        assert top.evals[: top.num_wanted] == pytest.approx(wanted, rel=1e-9)
        assert top.vectors is not None
        moved = product @ top.vectors
        assert torch.allclose(moved, top.vectors * torch.tensor(wanted), atol=1e-4 * wanted[0])


def test_zero_low_rank_and_equal_eigenvalues_are_no_trouble() -> None:
    stack = torch.zeros(4, 120, 100)
    stack[1] = noise(120, 2) @ noise(2, 100)
    stack[2] = torch.eye(120, 100)
    stack[3] = 3e-30 * noise(120, 100)
    products = grams(stack, [0] * 4)
    for product, top in zip(products, search(stack, 3), strict=True):
        wanted = torch.linalg.eigvalsh(product).flip(0).numpy()[: top.num_wanted]
        assert top.is_converged
        scale = max(float(wanted[0]), 1e-300)
        assert top.evals[: top.num_wanted] / scale == pytest.approx(wanted / scale, abs=1e-9)


def test_a_matrix_that_breaks_down_leaves_the_others_alone() -> None:
    products = grams(noise(3, 90, 80), [0] * 3)
    products[1, 4, 4] = torch.nan
    tops = tops_of(
        products, first_blocks(range(3), 80, CPU), wanted=always(1), num_vectors=lambda c: c,
        tolerance=1e-8, max_passes=60,
    )  # fmt: skip
    assert [top.is_converged for top in tops] == [True, False, True]
    assert tops[1].vectors is None


def test_what_does_not_converge_says_so() -> None:
    stack = noise(2, 300, 280)
    assert not any(top.is_converged for top in search(stack, 5, max_passes=3))
    assert all(top.vectors is None for top in search(stack, 5, max_passes=3))
    lax = search(stack, 5, max_passes=3, unconverged_too=True)
    assert all(top.vectors is not None for top in lax)


def test_members_do_not_depend_on_each_other() -> None:
    stack = noise(5, 130, 110)
    stack[2, 3, 3] = 50
    together, alone = search(stack, 2), search(stack[3:4], 2)
    # of the same first block
    first = tops_of(
        grams(stack[3:4], [0]), first_blocks([3], 110, CPU), wanted=always(2),
        num_vectors=lambda c: c, tolerance=1e-10, max_passes=60,
    )  # fmt: skip
    assert together[3].evals[:2] == pytest.approx(first[0].evals[:2], rel=1e-12)
    assert together[3].evals[:2] == pytest.approx(alone[0].evals[:2], rel=1e-9)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 400),
    share=st.floats(0.05, 1.0),
    kurtosis=st.floats(-1.5, 30.0),
    extreme=st.floats(0.0, 0.9),
    spikes=st.integers(0, 6),
)
@settings(max_examples=150, deadline=None)
def test_the_count_in_arrays_is_that_of_the_trap_test(
    seed: int, n: int, share: float, kurtosis: float, extreme: float, spikes: int
) -> None:
    m = max(1, int(share * n))
    rng = np.random.default_rng(seed)
    evals = np.sort(rng.chisquare(3, m) * n / 3)[::-1].copy()
    evals[:spikes] *= 1.0 + 10 * rng.random(min(spikes, m))
    evals = np.sort(evals)[::-1]
    tops = np.stack([evals[: max(1, m // 2)], np.zeros(max(1, m // 2))])
    traces = np.array([float(evals.sum()), 0.0])
    bulks = [BulkEntries(kurtosis, extreme)] * 2
    counts = nums_wanted(tops, traces, bulks, n=n, m=m, level=0.01)
    test = trap_test([tops[0][::-1]], [traces[0]], n=n, m=m, bulks=bulks[:1], level=0.01)
    assert counts.tolist() == [1 if test is None else test.num_wanted, 1]
