"""Rank correlations against scipy's, and the coverage of their intervals on samples of known correlation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from catalog.read.agreement import Correlation, kendall, spearman

DRAW = np.random.default_rng(5)


@pytest.mark.parametrize("num", [2, 5, 30])
@pytest.mark.parametrize("digits", [0, 6], ids=["with ties", "without"])
def test_correlations_are_scipys(num: int, digits: int) -> None:
    x = [float(v) for v in np.round(DRAW.normal(size=num) * 2, digits)] + [7.0]
    y = [float(v) for v in np.round(DRAW.normal(size=num) * 2, digits)] + [9.0]
    for ours, theirs in ((spearman, stats.spearmanr), (kendall, stats.kendalltau)):
        told = ours(x, y)
        assert told is not None
        assert told.value == pytest.approx(theirs(x, y).statistic)


def test_equal_values_have_no_correlation() -> None:
    assert spearman([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None
    assert kendall([1.0, 2.0, 3.0], [4.0, 4.0, 4.0]) is None
    assert spearman([], []) is None and kendall([1.0], [1.0]) is None


def test_four_models_have_no_interval() -> None:
    assert spearman([1, 2, 3, 4], [1, 2, 3, 4]) == Correlation(1.0, None, None)
    assert kendall([1, 2, 3, 4], [4, 3, 2, 1]) == Correlation(-1.0, None, None)


def test_a_perfect_order_of_five_is_not_certain() -> None:
    for correlation in (spearman, kendall):
        told = correlation([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
        assert told is not None and told.low is not None
        assert told.value == told.high == pytest.approx(1.0)
        assert 0 < told.low < 0.3


@pytest.mark.parametrize("num", [6, 12, 40])
@pytest.mark.parametrize("rho", [0.0, 0.7])
def test_intervals_hold_the_truth_nineteen_times_of_twenty(num: int, rho: float) -> None:
    """On normal pairs, whose rank correlations are known; 400 draws, binomial error 1.1 %."""
    draw = np.random.default_rng(1)
    truth = {spearman: 6 / math.pi * math.asin(rho / 2), kendall: 2 / math.pi * math.asin(rho)}
    held = dict.fromkeys(truth, 0)
    for _ in range(400):
        x = draw.normal(size=num)
        y = rho * x + math.sqrt(1 - rho**2) * draw.normal(size=num)
        for correlation, true in truth.items():
            told = correlation(list(x), list(y))
            assert told is not None and told.low is not None and told.high is not None
            held[correlation] += told.low <= true <= told.high
    for count in held.values():
        assert 0.90 <= count / 400 <= 0.995
