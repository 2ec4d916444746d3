"""The power-law fit against a slow oracle, the `powerlaw` package and planted exponents."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.spectral.arrays import Vector
from zoo.spectral.tail_start import best_start, tail_alpha, tail_distance
from zoo.spectral.tails import NoTail, TailFit, fit_tail, log_alpha_norm, tail_warning


def oracle(data: np.ndarray) -> tuple[float, float, float, int]:
    """(alpha, D, xmin, k) of the definition, one candidate at a time."""
    best = (math.inf, 0.0, 0.0, 0)
    for xmin in sorted(set(data.tolist()))[:-1]:
        tail = [x for x in data.tolist() if x >= xmin]
        k = len(tail)
        alpha = 1 + k / math.fsum(math.log(x / xmin) for x in tail)
        distance = max(abs(1 - (x / xmin) ** (1 - alpha) - i / k) for i, x in enumerate(tail))
        if distance < best[0]:
            best = (distance, alpha, xmin, k)
    distance, alpha, xmin, k = best
    return alpha, distance, xmin, k


def fitted(evals: np.ndarray, m: int | None = None) -> TailFit:
    fit = fit_tail(evals, m=m or evals.size, storage_bits=32)
    assert isinstance(fit, TailFit)
    return fit


def planted(alpha: float, num: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.sort(np.exp(rng.standard_exponential(num) / (alpha - 1)))


SPECTRA = {
    "pareto": planted(2.5, 200, 0),
    "lognormal": np.sort(np.random.default_rng(1).lognormal(0, 2, 200)),
    "uniform": np.sort(np.random.default_rng(2).uniform(0.1, 1, 200)),
    "wishart": np.linalg.svd(np.random.default_rng(3).standard_normal((300, 150)))[1][::-1] ** 2,
    "duplicates": np.sort(np.round(planted(2.2, 200, 4), 1)),
    "few values": np.repeat([1.0, 2.0, 5.0], 10),
    "one spike": np.append(np.linspace(1.0, 1.1, 60), 1e9),
    "twenty": planted(3.0, 20, 5),
}


@pytest.mark.parametrize("name", SPECTRA)
def test_fit_is_the_one_of_the_full_search(name: str) -> None:
    evals = SPECTRA[name]
    fit = fitted(evals)
    alpha, distance, xmin, k = oracle(evals)
    assert fit.ks_distance == pytest.approx(distance, rel=1e-9)
    assert (fit.xmin, fit.num_tail) == (xmin, k)
    assert fit.alpha == pytest.approx(alpha, rel=1e-9)


def test_values_that_differ_by_rounding_are_one_value() -> None:
    steps_of_an_ulp = 1.0 + np.arange(40) * 2.0**-52
    assert fit_tail(steps_of_an_ulp, m=40, storage_bits=32) == NoTail("constant")
    exact = np.repeat(planted(2.2, 40, 4), 4)
    split = np.sort(exact * (1.0 + 2.0**-40 * np.random.default_rng(0).standard_normal(160)))
    assert fitted(split).num_tail == fitted(exact).num_tail
    assert fitted(split).alpha == pytest.approx(fitted(exact).alpha, rel=1e-9)


@pytest.mark.parametrize("kind", ["power law", "lognormal", "uniform"])
def test_long_spectra_are_searched_in_full_too(kind: str) -> None:
    rng = np.random.default_rng(11)
    evals = {
        "power law": planted(2.5, 3000, 11),
        "lognormal": np.sort(rng.lognormal(0, 2, 3000)),
        "uniform": np.sort(rng.uniform(0.1, 1.0, 3000)),
    }[kind]
    best = (math.inf, 0)
    for i in range(2999):
        tail = evals[i:]
        alpha = 1 + tail.size / np.sum(np.log(tail / tail[0]))
        steps = np.arange(tail.size) / tail.size
        best = min(best, (np.max(np.abs(1 - (tail / tail[0]) ** (1 - alpha) - steps)), i))
    fit = fitted(evals)
    assert fit.ks_distance == pytest.approx(best[0], rel=1e-9)
    assert fit.num_tail == 3000 - best[1]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.floats(min_value=2.0**-20, max_value=2.0**20, width=32), min_size=20, max_size=60
    ).map(sorted)
)
def test_any_spectrum_is_fitted_like_the_full_search_or_has_a_status(values: list[float]) -> None:
    evals = np.array(values)
    fit = fit_tail(evals, m=1, storage_bits=64)
    if isinstance(fit, NoTail):
        assert fit.tail_status == "constant" and evals[0] == evals[-1]
        return
    _, distance, _, _ = oracle(evals)
    assert fit.ks_distance == pytest.approx(distance, rel=1e-6, abs=1e-9)
    assert fit.alpha > 1 and 2 <= fit.num_tail <= evals.size
    assert fit.num_tail == np.count_nonzero(evals >= fit.xmin)


@pytest.mark.parametrize("alpha", [1.5, 2.5, 4.0])
def test_fit_agrees_with_the_powerlaw_package(alpha: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # powerlaw 2.0 calls its own deprecated property
        powerlaw = pytest.importorskip("powerlaw")
        evals = np.sort(np.concatenate((planted(alpha, 150, 6), planted(alpha, 150, 7) * 0.1)))
        ranges = {"alpha": [1.0, 50.0]}  # its default stops at 3
        theirs = powerlaw.Fit(evals, xmax=None, parameter_ranges=ranges, verbose=0)
    ours = fitted(evals)
    assert ours.alpha == pytest.approx(theirs.power_law.alpha, rel=1e-9)
    assert ours.ks_distance == pytest.approx(theirs.power_law.D, rel=1e-9)
    assert ours.alpha_stderr == pytest.approx(theirs.power_law.standard_err, rel=1e-9)
    assert ours.xmin == theirs.xmin


@pytest.mark.parametrize("alpha", [1.5, 2.0, 2.5, 3.0, 4.0, 6.0])
def test_planted_exponent_lies_within_four_standard_errors(alpha: float) -> None:
    fit = fitted(planted(alpha, 2000, 8))
    assert abs(fit.alpha - alpha) < 4 * fit.alpha_stderr


def test_planted_xmin_is_found_below_a_uniform_body() -> None:
    body = np.random.default_rng(9).uniform(0.2, 1.0, 1000)
    fit = fitted(np.sort(np.concatenate((body, planted(2.5, 1000, 9)))))
    assert fit.xmin == pytest.approx(1.0, rel=0.1)
    assert abs(fit.alpha - 2.5) < 4 * fit.alpha_stderr


@pytest.mark.parametrize("exponent", [-900, -100, -1, 1, 100, 900])
def test_alpha_is_bit_equal_under_powers_of_two(exponent: int) -> None:
    evals = SPECTRA["wishart"]
    here, there = fitted(evals), fitted(np.ldexp(evals, exponent))
    assert (here.alpha, here.ks_distance, here.num_tail) == (
        there.alpha,
        there.ks_distance,
        there.num_tail,
    )
    assert there.xmin == math.ldexp(here.xmin, exponent)


@pytest.mark.parametrize("scale", [1e-60, 1e-10, 1e30, 1e60])
def test_alpha_does_not_change_with_scale(scale: float) -> None:
    here, there = fitted(SPECTRA["pareto"]), fitted(SPECTRA["pareto"] * scale)
    assert there.alpha == pytest.approx(here.alpha, rel=1e-12)
    assert there.num_tail == here.num_tail
    assert there.alpha_hat == pytest.approx(here.alpha * math.log10(there.xmax))


def test_eigenvalues_below_the_rank_tolerance_are_not_data() -> None:
    evals = np.sort(np.concatenate((SPECTRA["pareto"], [0.0] * 50, [1e-15] * 50)))
    assert fitted(evals, m=300).alpha == fitted(SPECTRA["pareto"], m=300).alpha


@pytest.mark.parametrize(
    ("evals", "status"),
    [
        (np.empty(0), "too_few"),
        (np.zeros(100), "too_few"),
        (planted(2.0, 19, 0), "too_few"),
        (np.append(np.zeros(99), 5.0), "too_few"),
        (np.full(100, 3.0), "constant"),
    ],
    ids=["empty", "zero", "nineteen", "rank-one", "all-equal"],
)
def test_spectra_without_a_tail_say_why(evals: np.ndarray, status: str) -> None:
    assert fit_tail(evals, m=100, storage_bits=32) == NoTail(status)  # type: ignore[arg-type]


def test_derived_columns_follow_their_definitions() -> None:
    evals = SPECTRA["lognormal"]
    fit = fitted(evals)
    assert fit.alpha_stderr == (fit.alpha - 1) / math.sqrt(fit.num_tail)
    assert fit.alpha_hat == pytest.approx(fit.alpha * math.log10(evals[-1]))
    assert fit.log_alpha_norm == pytest.approx(math.log10(np.sum(evals**fit.alpha)))
    assert fit.xmax == evals[-1]


def test_log_alpha_norm_does_not_overflow() -> None:
    assert log_alpha_norm(np.array([0.0, 1e200, 1e200]), 50.0) == pytest.approx(1e4 + math.log10(2))


def test_many_candidates_use_bounded_memory() -> None:
    import tracemalloc

    evals = planted(2.0, 20_000, 10)
    tracemalloc.start()
    best_start(evals)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * evals.nbytes


@pytest.mark.parametrize(
    ("alpha", "warning"),
    [(1.99, "over_trained"), (2.0, None), (6.0, None), (6.01, "under_trained")],
)
def test_warning_marks_alpha_outside_two_to_six(alpha: float, warning: str | None) -> None:
    assert tail_warning(alpha) == warning


def alphas_nearly_as_good(data: Vector) -> list[float]:
    """The slow way: every candidate's exponent whose distance is within a tenth of the smallest."""
    starts = [i for i in range(data.size - 1) if i == 0 or data[i] > data[i - 1]]
    fits = [(tail_alpha(data[i:]), data[i:]) for i in starts]
    distances = [tail_distance(tail, alpha) for alpha, tail in fits]
    limit = 1.1 * min(distances)
    return [alpha for (alpha, _), d in zip(fits, distances, strict=True) if d <= limit]


@pytest.mark.parametrize("size", [25, 64, 65, 200, 1500])
@pytest.mark.parametrize("seed", range(4))
def test_the_range_of_alpha_is_that_of_every_start_nearly_as_good(size: int, seed: int) -> None:
    rng = np.random.default_rng([size, seed])
    data = np.sort(rng.pareto(2.0, size) + rng.exponential(1.0, size) * (seed % 2) + 0.01)
    fit = fit_tail(data, m=size, storage_bits=32)
    assert isinstance(fit, TailFit)
    slow = alphas_nearly_as_good(data / data[-1])
    assert fit.alpha_low == pytest.approx(min(slow), rel=1e-9)
    assert fit.alpha_high == pytest.approx(max(slow), rel=1e-9)
    assert fit.alpha_low <= fit.alpha <= fit.alpha_high
