"""ERG columns against the running product, where that neither over- nor underflows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.spectral.erg import Erg, erg


def product_rule(evals: np.ndarray) -> tuple[int, float]:
    """WeightWatcher's loop: the first tail from the top whose product is below one."""
    y = evals * evals.size / evals.sum()
    for size in range(1, y.size):
        if math.prod(y[-size:].tolist()) < 1.0:
            return size, float(y[-size])
    return y.size, float(y[0])


@pytest.mark.parametrize("kind", ["lognormal", "uniform", "wishart"])
def test_erg_is_the_first_tail_with_a_product_below_one(kind: str) -> None:
    rng = np.random.default_rng(0)
    evals = {
        "lognormal": np.sort(rng.lognormal(0, 1, 300)),
        "uniform": np.sort(rng.uniform(0, 1, 300)),
        "wishart": np.linalg.svd(rng.standard_normal((300, 100)))[1][::-1] ** 2,
    }[kind]
    found = erg(evals, xmin=None, num_tail=None)
    size, smallest = product_rule(evals)
    assert found.erg_num == size
    assert found.erg_lambda_min == pytest.approx(smallest)


def test_ten_ones_and_ninety_zeros_take_eleven() -> None:
    found = erg(np.array([0.0] * 90 + [1.0] * 10), xmin=1.0, num_tail=10)
    assert found == Erg(11, 0.0, 1, 10.0, None)


def test_gap_delta_and_ratio_compare_with_the_tail() -> None:
    evals = np.sort(np.random.default_rng(1).lognormal(0, 1, 100))
    found = erg(evals, xmin=float(evals[60]), num_tail=40)
    xmin = evals[60] * 100 / evals.sum()
    assert found.erg_num is not None and found.erg_lambda_min is not None
    assert found.erg_gap == found.erg_num - 40
    assert found.erg_delta == pytest.approx(xmin - found.erg_lambda_min)
    assert found.erg_log_ratio == pytest.approx(math.log(xmin / found.erg_lambda_min))


def test_long_spectra_do_not_overflow() -> None:
    y = np.linspace(1e-3, 2.0 - 1e-3, 8192)  # the plain product is off by hundreds here
    with np.errstate(over="ignore"):
        assert not np.isfinite(np.cumprod((y * y.size / y.sum())[::-1])).all()
    size = erg(y, xmin=None, num_tail=None).erg_num
    assert size is not None
    assert math.fsum(np.log(y[-size:])) < 0 <= math.fsum(np.log(y[-size + 1 :]))


@pytest.mark.parametrize("evals", [[], [0.0, 0.0], [2.0, 2.0], [7.0]])
def test_spectra_without_spread_have_no_erg(evals: list[float]) -> None:
    assert erg(np.array(evals), xmin=None, num_tail=None) == Erg(None, None, None, None, None)


@settings(max_examples=50, deadline=None)
@given(st.integers(-900, 900), st.integers(0, 2**32 - 1))
def test_erg_does_not_change_under_powers_of_two(exponent: int, seed: int) -> None:
    evals = np.sort(np.random.default_rng(seed).lognormal(0, 1, 30))
    here = erg(evals, xmin=float(evals[3]), num_tail=27)
    scaled = np.ldexp(evals, exponent)
    assert erg(scaled, xmin=float(scaled[3]), num_tail=27) == here
