"""Routines that let other threads go on give the bits of scipy's wrappers."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from scipy.linalg import blas, lapack

from zoo.spectral import unlocked
from zoo.spectral.unlocked import add_products, reduced, swap_rows, tridiagonal_eigenvalues

TYPES = [np.float32, np.float64]
RNG = np.random.default_rng(3)


@pytest.fixture(params=[True, False], ids=["library", "wrappers"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the library of scipy's wheels, and without it."""
    if not request.param:
        monkeypatch.setattr(unlocked, "_routine", lambda name: None)


@pytest.mark.parametrize("dtype", TYPES)
def test_swaps_are_those_of_the_wrapper_and_undone_backwards(either: None, dtype: type) -> None:
    values = RNG.standard_normal(500).astype(dtype)
    partners = (np.arange(400) + RNG.integers(0, 100, 400)).astype(np.int32)
    laswp = lapack.slaswp if dtype is np.float32 else lapack.dlaswp
    wanted = laswp(values.reshape(-1, 1), partners.copy())[:, 0]
    moved, kept = values.copy(), partners.copy()
    swap_rows(moved, partners)
    assert (moved == wanted).all() and (partners == kept).all()
    swap_rows(moved, partners, backwards=True)
    assert (moved == values).all()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("is_turned", [True, False])
def test_products_are_those_of_the_wrapper(either: None, dtype: type, is_turned: bool) -> None:
    syrk = blas.ssyrk if dtype is np.float32 else blas.dsyrk
    shape = (70, 40) if is_turned else (40, 70)
    block, other = (np.asfortranarray(RNG.standard_normal(shape).astype(dtype)) for _ in range(2))
    wanted = syrk(1.0, block, trans=int(is_turned), lower=1)
    first = add_products(block, None, is_turned=is_turned)
    assert (first == wanted).all()
    wanted = syrk(1.0, other, trans=int(is_turned), lower=1, beta=1.0, c=wanted)
    assert (add_products(other, first, is_turned=is_turned) == wanted).all()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("order", [2, 3, 90])
def test_reductions_and_eigenvalues_are_those_of_the_wrappers(
    either: None, dtype: type, order: int
) -> None:
    a = RNG.standard_normal((order, order)).astype(dtype)
    lower = np.asfortranarray(a @ a.T)
    sytrd, sterf = (
        (lapack.ssytrd, lapack.ssterf) if dtype is np.float32 else (lapack.dsytrd, lapack.dsterf)
    )
    wanted = sytrd(lower.copy(order="F"), lower=1, lwork=32 * order)
    got = reduced(lower.copy(order="F"), panel=32)
    for ours, theirs in zip(got, wanted, strict=True):
        assert np.array_equal(ours, theirs)
    values, info = tridiagonal_eigenvalues(got[1], got[2])
    assert info == 0 and np.array_equal(values, sterf(wanted[1], wanted[2])[0])


def test_other_threads_go_on_while_a_matrix_is_reduced() -> None:
    if unlocked._routine("dsytrd_") is None:
        pytest.skip("scipy stands on another library here")
    order = 600
    a = RNG.standard_normal((order, order))
    lower, stamps, done = np.asfortranarray(a @ a.T), [time.perf_counter()], threading.Event()

    def stamp() -> None:
        while not done.wait(0.0005):
            stamps.append(time.perf_counter())

    thread = threading.Thread(target=stamp)
    thread.start()
    start = time.perf_counter()
    reduced(lower, panel=32)
    end = time.perf_counter()
    done.set()
    thread.join()
    assert sum(start < moment < end for moment in stamps) >= 2
