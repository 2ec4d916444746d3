"""The bootstrap p-value accepts planted power laws and refuses other tails."""

from __future__ import annotations

import numpy as np
import pytest

from zoo.spectral.bootstrap import goodness_of_fit
from zoo.spectral.tails import TailFit, fit_tail


def p_value(evals: np.ndarray, *, seed: int = 0, draws: int = 100) -> float:
    fit = fit_tail(evals, m=evals.size, storage_bits=32)
    assert isinstance(fit, TailFit)
    rng = np.random.default_rng(seed)
    found = goodness_of_fit(evals, fit, m=evals.size, storage_bits=32, num_draws=draws, rng=rng)
    assert found.num_draws == draws
    return found.gof_p_value


def test_p_values_of_true_power_laws_are_spread_over_the_unit_interval() -> None:
    rng = np.random.default_rng(1)
    found = [
        p_value(np.sort(np.exp(rng.standard_exponential(100) / 1.5)), draws=40) for _ in range(40)
    ]
    assert 0.3 < np.mean(found) < 0.7
    assert np.mean(np.array(found) < 0.1) < 0.25


def test_a_staircase_is_refused() -> None:
    assert p_value(np.repeat([1.0, 2.0, 3.0, 4.0, 5.0], 100)) == 0.0


def test_the_same_seed_gives_the_same_p_value() -> None:
    evals = np.sort(np.random.default_rng(3).lognormal(0, 1, 200))
    assert p_value(evals, seed=5) == p_value(evals, seed=5)


def test_p_value_does_not_change_with_scale() -> None:
    evals = np.sort(np.random.default_rng(4).lognormal(0, 1, 200))
    assert p_value(evals * 2.0**200) == p_value(evals)


def test_zero_draws_are_refused() -> None:
    evals = np.sort(np.random.default_rng(5).lognormal(0, 1, 50))
    fit = fit_tail(evals, m=50, storage_bits=32)
    assert isinstance(fit, TailFit)
    with pytest.raises(ValueError, match="at least 1"):
        goodness_of_fit(
            evals, fit, m=50, storage_bits=32, num_draws=0, rng=np.random.default_rng(0)
        )
