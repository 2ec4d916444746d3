"""Tracy-Widom β = 1 against published values and its own invariants."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from zoo.spectral.tracy_widom import (
    johnstone,
    tw1_cdf,
    tw1_quantile,
    tw1_sf,
    tw1_sf_by_determinant,
)


@pytest.mark.parametrize(
    ("s", "cdf"),
    [
        (-3.8954, 0.01),
        (-3.1804, 0.05),
        (-1.2686, 0.50),
        (0.4501, 0.90),
        (0.9793, 0.95),
        (2.0234, 0.99),
    ],
)
def test_quantiles_of_tabulated_by_bejan(s: float, cdf: float) -> None:
    assert tw1_cdf(s) == pytest.approx(cdf, abs=1e-5)


def test_mean_and_variance_are_the_published_ones() -> None:
    s = np.linspace(-9.9, 11.9, 2000)
    below = np.array([tw1_cdf(float(x)) for x in s])
    mean = s[-1] - np.trapezoid(below, s)
    second = s[-1] ** 2 - np.trapezoid(2 * s * below, s)
    assert mean == pytest.approx(-1.2065335745, abs=1e-5)
    assert second - mean**2 == pytest.approx(1.6077810345, abs=1e-4)


def test_the_interpolant_agrees_with_the_determinant() -> None:
    for s in np.linspace(-9.9, 11.9, 41).tolist():
        assert tw1_sf(s) == pytest.approx(tw1_sf_by_determinant(s), rel=1e-8)


@pytest.mark.parametrize("s", [15.0, 30.0, 60.0, 95.0])
def test_the_far_tail_follows_its_asymptotic(s: float) -> None:
    leading = math.exp(-2 / 3 * s**1.5) / (4 * math.sqrt(math.pi) * s**0.75)
    assert tw1_sf(s) == pytest.approx(leading, rel=0.05)


def test_survival_falls_from_one_to_the_smallest_float() -> None:
    values = [tw1_sf(float(s)) for s in np.linspace(-12, 120, 300)]
    assert values[0] == 1.0 and 0.0 < values[-1] < 1e-300
    assert all(a >= b * (1 - 1e-8) for a, b in pairwise(values))


@pytest.mark.parametrize("sf", [0.5, 0.01, 1e-4, 1e-30])
def test_the_quantile_inverts_the_survival(sf: float) -> None:
    assert tw1_sf(tw1_quantile(sf)) == pytest.approx(sf, rel=1e-6)


def test_the_quantile_refuses_what_is_no_probability() -> None:
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        tw1_quantile(0.0)


def test_johnstones_centre_is_the_mean_largest_eigenvalue() -> None:
    rng = np.random.default_rng(0)
    draws = [np.linalg.norm(rng.standard_normal((120, 40)), 2) ** 2 for _ in range(200)]
    law = johnstone(120, 40)
    assert np.mean((np.array(draws) - law.centre) / law.scale) == pytest.approx(-1.2, abs=0.3)
