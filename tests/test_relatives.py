"""Models that are near by their spectra, and what is exported for training."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.catalogs import commit
from tests.conftest import Zoo
from zoo.cells import cells
from zoo.spectral.scalars import scalars

Weights = list[np.ndarray]
ROLES = ("q", "k", "mlp_up", "mlp_down")


def trained(seed: int) -> Weights:
    """Weights with a spectrum of their own: noise, and a few directions of random strength."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(12):
        noise = rng.standard_normal((48, 32)) / 7.0
        left, right = rng.standard_normal((48, 4)), rng.standard_normal((4, 32))
        out.append(noise + left * rng.lognormal(-2.0, 1.0, 4) @ right)
    return out


def initialised(seed: int) -> Weights:
    """Weights that learned nothing."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((48, 32)) / 7.0 for _ in range(12)]


def moved(weights: Weights, by: float, seed: int) -> Weights:
    rng = np.random.default_rng(seed)
    return [w + by * rng.standard_normal(w.shape) for w in weights]


def measured(root: Path, model: str, weights: Weights, **columns: object) -> None:
    rows = []
    for index, weight in enumerate(weights):
        evals = np.linalg.svd(weight, compute_uv=False)[::-1] ** 2
        found = cells(scalars(evals, n=48, m=32, storage_bits=32))
        rows.append(
            {"role": ROLES[index % 4], "block": index // 4, "num_params": weight.size, **found}
        )
    commit(str(root), model, layers=rows, **columns)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with its relatives, none of which says so, beside another model and one untrained."""
    root = tmp_path_factory.mktemp("relatives") / "cat"
    base, other = trained(1), trained(2)
    tuned = moved(base, 0.01, 3)
    measured(root, "org/base", base)
    measured(root, "else/copy", base)
    measured(root, "who/tuned", tuned)
    measured(
        root, "who/merged", [(a + b) / 2 for a, b in zip(base, moved(base, 0.02, 4), strict=True)]
    )
    measured(root, "org/other", other)
    measured(root, "org/untrained", initialised(5))
    measured(root, "org/again", initialised(6))
    return root


def nearest(
    zoo: Zoo, capsys: pytest.CaptureFixture[str], root: Path, model: str
) -> dict[str, float]:
    assert zoo("similar", root, model, "--format", "csv") == 0
    head, *lines = capsys.readouterr().out.splitlines()
    at = head.split(",").index("distance")
    return {line.split(",")[0]: float(line.split(",")[at]) for line in lines}


def test_a_reupload_finds_its_twin_and_a_fine_tune_its_base(
    root: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    found = nearest(zoo, capsys, root, "who/tuned")
    order = list(found)
    assert set(order[:3]) == {"org/base", "else/copy", "who/merged"}
    assert found["org/base"] == found["else/copy"] < 0.05
    assert 50 * found["org/base"] < found["org/other"]
    assert nearest(zoo, capsys, root, "copy")["org/base"] == 0.0


def test_a_merge_lies_between_and_an_untrained_model_far_off(
    root: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    found = nearest(zoo, capsys, root, "org/base")
    assert found["else/copy"] == 0.0 < found["who/merged"] < found["org/other"]
    assert found["org/untrained"] > 10 * found["who/tuned"]
    untrained = nearest(zoo, capsys, root, "org/untrained")
    assert next(iter(untrained)) == "org/again", "noise of one law has one spectrum"
    assert untrained["org/again"] > 0.0


def test_models_with_other_layers_are_not_compared(
    root: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    assert zoo("similar", root, "org/base", "--min-shared", "1.01") == 0
    assert "(no rows)" in capsys.readouterr().err
    assert zoo("similar", root, "nobody") == 2
    assert "no model 'nobody' in the catalog" in capsys.readouterr().err


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four blocks of two matrices, an embedding, and a matrix whose name would break YAML and a regex."""
    root = tmp_path_factory.mktemp("export") / "cat"
    rows: list[dict[str, object]] = [
        {"tensor": "model.embed.weight", "role": "embedding", "num_params": 500, "alpha_hill": 2.0,
         "spectrum_snr": 1.0, "lambda_max": 4.0}
    ]  # fmt: skip
    for block in range(4):
        for role, size in (("q", 100), ("mlp_up", 300)):
            rows.append({
                "tensor": f"model.layers.{block}.{role}.weight", "role": role, "block": block,
                "num_params": size, "alpha_hill": 2.0 + block, "spectrum_snr": 4.0 - block, "lambda_max": 4.0,
            })  # fmt: skip
    hostile = "a\n- '.*' # (x.weight"
    rows.append({"tensor": hostile, "num_params": 10, "spectrum_snr": 9.0, "lambda_max": 1.0})
    commit(str(root), "org/llama", layers=rows)
    return root


def test_the_yaml_names_a_share_of_every_kind(
    llama: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    assert zoo("export", llama, "llama", "--spectrum-yaml", "--share", "0.5") == 0
    patterns = yaml.safe_load(capsys.readouterr().out)["unfrozen_parameters"]
    names = ["model.embed.weight", "model.layers.0.q.weight", "model.layers.1.q.weight",
             "model.layers.0.mlp_up.weight", "model.layers.1.mlp_up.weight",
             "a\n- '.*' # (x.weight"]  # fmt: skip
    assert [n for n in names if sum(bool(re.match(p, n)) for p in patterns) == 1] == names
    assert len(patterns) == len(names) and not re.match(patterns[1], "model.layers.0.q.weight2")


def test_learning_rates_and_decays_follow_alpha(
    llama: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    assert zoo("export", llama, "llama", "--lr-scale", "--format", "csv",
               "--columns", "tensor,lr_scale,weight_decay_scale", "--decay-range", "1", "2") == 0  # fmt: skip
    out, err = capsys.readouterr()
    rows = {line.split(",")[0]: line.split(",")[1:] for line in out.splitlines()}
    assert rows["model.layers.0.q.weight"] == ["0.5", "1.0"]
    assert rows["model.layers.3.mlp_up.weight"] == ["1.5", "2.0"]
    assert "1 of 10 tensors have no row: no alpha_hill" in err


def test_pruning_is_by_block_and_keeps_the_sparsity(
    llama: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        zoo("export", llama, "llama", "--prune-ratios", "--format", "json", "--sparsity", "0.5")
        == 0
    )
    import json

    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 8 and len({row["prune_ratio"] for row in rows}) == 4
    removed = sum(row["prune_ratio"] * row["num_params"] for row in rows)
    assert removed == pytest.approx(0.5 * 1600)
    assert zoo("export", llama, "llama", "--prune-ratios", "--sparsity", "0.9") == 2
    assert "use an epsilon below" in capsys.readouterr().err


def test_export_wants_one_kind_and_numbers_to_make_it_of(
    llama: Path, root: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        zoo("export", llama, "llama")
        == zoo("export", llama, "llama", "--lr-scale", "--prune-ratios")
        == 2
    )
    assert "wanted one of --spectrum-yaml" in capsys.readouterr().err
    assert zoo("export", root, "org/base", "--spectrum-yaml") == 2
    assert "`zoo refit` computes it from stored spectra" in capsys.readouterr().err
