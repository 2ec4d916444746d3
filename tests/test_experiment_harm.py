"""Traps replaced one by one: what a planted trap does, and a network without it that trains on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jobs.experiments.behaviour import behaviour, forgotten, prototypes
from jobs.experiments.grokking import Setup
from jobs.experiments.harm import claims, correlations
from jobs.experiments.healing import healing
from jobs.experiments.modes import Mode, modes_of, traps_in, without_traps
from jobs.experiments.training.perceptrons import Pictures, Shape, initial
from jobs.experiments.training.stack import Run


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """A perceptron of noise with one large entry in its middle layer: a trap of its making."""
    tensors = {}
    for layer, (weight, bias) in enumerate(initial((64, 40, 40, 10), seed=3, scale=1.0), 1):
        tensors[f"fc{layer}.weight"] = torch.from_numpy(weight).float()
        tensors[f"fc{layer}.bias"] = torch.from_numpy(bias).float()
    tensors["fc2.weight"][5, 7] = 8.0
    return tensors


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    rng = np.random.default_rng(0)
    return Pictures(rng.random((120, 64), dtype=np.float32), np.repeat(np.arange(10), 12), 60)


def pictures_tested(pictures: Pictures) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(pictures.images), torch.from_numpy(pictures.labels)


def test_a_planted_trap_is_replaced_beside_its_controls(
    state: dict[str, torch.Tensor], pictures: Pictures
) -> None:
    moments = {"input_mean": 0.5, "input_std": 0.3}
    modes = modes_of(state, pictures_tested(pictures), moments, run="r", step=1)
    traps = [mode for mode in modes if mode.is_trap]
    assert {mode.layer for mode in traps} == {"fc2.weight"} and len(traps) == 5
    assert min(mode.jsd for mode in traps) > np.median([m.jsd for m in modes if not m.is_trap])
    assert all(mode.excess > 1 for mode in traps)


def test_without_its_traps_a_network_has_none(state: dict[str, torch.Tensor]) -> None:
    changed, count = without_traps(state)
    assert count == 1 and traps_in(state) == 1 and traps_in(changed) < 1
    assert torch.equal(changed["fc1.weight"], state["fc1.weight"])


def test_training_goes_on_with_and_without_the_traps(
    state: dict[str, torch.Tensor], pictures: Pictures
) -> None:
    setup = Setup("digits", 60, Shape(hidden=(40, 40), batch=30), (Run(0, 0.0),), 200, "float32")
    rows = healing(state, pictures, setup, seed=0, run="r", step=1)
    assert [row["steps"] for row in rows] == [0, 20, 20]
    assert rows[2]["traps"] == 1


def test_what_a_network_says_of_noise_and_forgets(
    state: dict[str, torch.Tensor], pictures: Pictures
) -> None:
    rows = behaviour(state, pictures_tested(pictures), run="r", step=1)
    assert [row["inputs"] for row in rows] == ["test set", "shuffled pixels", "Gaussian noise"]
    assert all(0.1 <= row["share_of_commonest"] <= 1 for row in rows)
    assert "loses most" in forgotten(state, pictures_tested(pictures), run="r", step=1)[0]["what"]


def test_prototypes_are_leading_directions_in_pixels(state: dict[str, torch.Tensor]) -> None:
    shown = prototypes(state, prefix="r")
    assert [picture.shape for picture in shown.values()] == [(8, 8)] * 3
    leading = np.linalg.svd(state["fc1.weight"].double().numpy())[2][0]
    np.testing.assert_allclose(np.abs(shown["r fc1"].ravel()), np.abs(leading), rtol=1e-6)


def test_ranks_are_those_of_the_traps_alone() -> None:
    traps = [Mode("r", 1, "fc1", True, 9.0 - k, 0.1 * k, 0.2, float(k)) for k in range(6)]
    bulk = [Mode("r", 1, "fc1", False, float("nan"), 0.5, 0.2, 50.0)]
    rows = correlations([*traps, *bulk])
    assert rows[0]["spearman_j"] == pytest.approx(1) and rows[0]["spearman_size"] == pytest.approx(
        -1
    )


@pytest.mark.parametrize(
    ("left", "later", "verdict"),
    [(2.0, 2.0, "not measured"), (0.0, 2.0, "agrees"), (0.0, 0.0, "contradicts")],
)
def test_a_trap_comes_back_only_where_it_was_gone(left: float, later: float, verdict: str) -> None:
    whats = {"all traps removed": left, "all traps removed, then trained on": later,
             "nothing removed, trained on": 2.0}  # fmt: skip
    healed = [
        {
            "run": "r",
            "what": what,
            "steps": 9,
            "test_before": 0.8,
            "test_accuracy": 0.7,
            "traps": traps,
        }
        for what, traps in whats.items()
    ]
    assert claims([], healed, [])[1].verdict == verdict
