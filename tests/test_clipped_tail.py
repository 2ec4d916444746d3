"""Clipping of fingers: the first clip that lowers alpha by more than one, else none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from zoo.spectral.clipped_tail import ClippedFit, Clipping, fit_clipped
from zoo.spectral.tails import NoTail, TailFit, fit_tail


def planted(alpha: float, num: int) -> np.ndarray:
    """Quantiles of a power law: no sampling noise."""
    return (1 - (np.arange(num) + 0.5) / num) ** (-1 / (alpha - 1))


def test_a_clean_power_law_has_no_fingers() -> None:
    clipped = fit_clipped(planted(3.0, 300), m=300, storage_bits=32)
    assert clipped.clipping.num_fingers == 0
    assert clipped.tail == fit_tail(planted(3.0, 300), m=300, storage_bits=32)


def test_the_first_clip_that_lowers_alpha_by_one_is_taken() -> None:
    rng = np.random.default_rng(0)
    seen = 0
    for _ in range(30):
        evals = np.sort(rng.lognormal(0, 0.5, 60))
        clipped = fit_clipped(evals, m=60, storage_bits=32)
        raw = fit_tail(evals, m=60, storage_bits=32)
        assert isinstance(raw, TailFit) and isinstance(clipped.tail, TailFit)
        assert clipped.clipping.raw_alpha == raw.alpha
        expected = 0
        for k in range(1, 11):
            alpha = fit_tail(evals[: 60 - k], m=60, storage_bits=32).alpha  # type: ignore[union-attr]
            if alpha + 1 < raw.alpha:
                expected = k
                break
            if alpha <= 2:
                break
        assert clipped.clipping.num_fingers == expected
        seen += expected > 0
        if expected:
            assert clipped.tail.xmax == evals[-1 - expected]
            assert clipped.tail.alpha_hat == pytest.approx(
                clipped.tail.alpha * math.log10(evals[-1])
            )
    assert seen > 3


def test_no_fit_stays_no_fit() -> None:
    clipped = fit_clipped(np.ones(30), m=30, storage_bits=32)
    assert clipped == ClippedFit(NoTail("constant"), Clipping(0, None))


def test_clipping_stops_where_a_fit_would_have_too_few() -> None:
    evals = planted(2.5, 20)
    assert fit_clipped(evals, m=20, storage_bits=32).clipping.num_fingers == 0
