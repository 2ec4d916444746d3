"""The Hill estimate at the median."""

from __future__ import annotations

import math

import numpy as np
import pytest

from zoo.spectral.hill import alpha_hill


@pytest.mark.parametrize("num", [3, 4, 20, 101])
def test_hill_is_the_temp_balance_formula(num: int) -> None:
    evals = np.sort(np.random.default_rng(num).lognormal(0, 1, num))
    i = int(num / 2)
    n = num - i
    slow = 1 + n / (sum(math.log(x) for x in evals[i:]) - n * math.log(evals[i]))
    assert alpha_hill(evals) == pytest.approx(slow, rel=1e-9)


def test_hill_recovers_a_planted_exponent() -> None:
    x = np.sort(np.exp(np.random.default_rng(0).standard_exponential(20_000) / 1.5))
    assert alpha_hill(x) == pytest.approx(2.5, abs=0.06)


@pytest.mark.parametrize("evals", [[], [1.0], [1.0, 2.0], [3.0] * 9, [1.0, 2.0, 2.0]])
def test_no_spread_above_the_median_gives_none(evals: list[float]) -> None:
    assert alpha_hill(np.array(evals)) is None
