"""Bootstrap intervals of means over layers, against draws of numpy; the same for equal values."""

from __future__ import annotations

import numpy as np
import pytest

from catalog.read.intervals import MIN_VALUES, bootstrap_interval

SKEWED = np.random.default_rng(0).exponential(size=400)


def drawn(values: list[float]) -> tuple[float, float, float]:
    """Both ends of the interval and the standard error, of 20,000 resamples by numpy."""
    places = np.random.default_rng(1).integers(0, len(values), (20_000, len(values)))
    means = np.asarray(values)[places].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high), float(means.std())


@pytest.mark.parametrize("num", [5, 12, 50, 51, 400], ids="{} layers".format)
def test_an_interval_is_that_of_resampling(num: int) -> None:
    """Up to 50 layers are drawn, with the noise of 999 draws; beyond, the limit is taken."""
    values = [float(v) for v in SKEWED[:num]]
    low, high, stderr = drawn(values)
    allowed = 0.25 * stderr if num <= 50 else 0.06 * stderr
    assert bootstrap_interval(values) == pytest.approx((low, high), abs=allowed)


def test_rare_traps_in_many_layers_have_the_interval_of_resampling() -> None:
    values = [0.0] * 110 + [1.0] * 6 + [11.0, 4.0]
    low, high, stderr = drawn(values)
    assert bootstrap_interval(values) == pytest.approx((low, high), abs=0.12 * stderr)


def test_the_order_of_the_layers_does_not_matter() -> None:
    values = [float(v) for v in SKEWED[:20]]
    assert bootstrap_interval(values) == bootstrap_interval(values[::-1])


@pytest.mark.parametrize("num", [MIN_VALUES, 60])
def test_equal_layers_have_no_spread(num: int) -> None:
    assert bootstrap_interval([3.0] * num) == (3.0, 3.0)


def test_a_few_layers_have_no_interval() -> None:
    assert bootstrap_interval([1.0, 2.0, 3.0, 4.0]) is None


def test_an_interval_stays_within_its_values() -> None:
    low, _ = bootstrap_interval([0.0] * 59 + [1.0]) or (-1.0, 0.0)
    assert low == 0.0
