"""SETOL's perceptron: the stacked SGD against a plain one, and truncation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jobs.experiments.mlp3_claims import claims
from jobs.experiments.training.classifiers import RATE, Classifiers, Trial
from jobs.experiments.training.order import orders
from jobs.experiments.training.perceptrons import Pictures
from jobs.experiments.truncation import curve, error, rules, truncated

TRIALS = (Trial(10, 1, 0), Trial(10, 32, 1))


def pictures() -> Pictures:
    rng = np.random.default_rng(5)
    return Pictures(rng.random((80, 16), dtype=np.float32), np.repeat(np.arange(10), 8), 40)


def classifiers() -> Classifiers:
    return Classifiers(
        pictures(), TRIALS, (12, 11), dtype=torch.float64, device=torch.device("cpu")
    )


def plain(trial: Trial, run: int, steps: int) -> torch.nn.Sequential:
    """The same training with modules, autograd and torch's SGD."""
    first = classifiers().tensors(run)
    layers: list[torch.nn.Module] = []
    for number in (1, 2, 3):
        weight, bias = (torch.from_numpy(first[f"fc{number}.{k}"]) for k in ("weight", "bias"))
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
        linear.load_state_dict({"weight": weight, "bias": bias})
        layers += [linear, torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers[:-1])
    optimiser = torch.optim.SGD(network.parameters(), lr=RATE * trial.times)
    data = pictures()
    chosen = torch.from_numpy(data.training(trial.seed))
    for step in range(steps):
        order = orders(torch.tensor([trial.seed]), step // 4, 1, 40)[0, 0]
        batch = chosen[order[step % 4 * 10 : step % 4 * 10 + 10]]
        optimiser.zero_grad()
        logits = network(torch.from_numpy(data.images)[batch].double())
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(data.labels)[batch]).backward()
        optimiser.step()
    return network


def test_stacked_classifiers_are_the_plain_ones() -> None:
    stack = classifiers()
    stack.advance(3)
    stack.advance(20)
    for run, trial in enumerate(TRIALS):
        network, ours = plain(trial, run, 23), stack.tensors(run)
        for number, place in ((1, 0), (2, 2), (3, 4)):
            linear = network[place]
            assert isinstance(linear, torch.nn.Linear)
            np.testing.assert_allclose(
                ours[f"fc{number}.weight"], linear.weight.detach(), rtol=1e-9, atol=1e-12
            )
            np.testing.assert_allclose(
                ours[f"fc{number}.bias"], linear.bias.detach(), rtol=1e-9, atol=1e-12
            )


def state() -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(v).float() for name, v in classifiers().tensors(0).items()}


def test_all_components_are_the_network_itself() -> None:
    whole = state()
    for name, matrix in truncated(whole, {"fc1.weight": 12, "fc2.weight": 11}).items():
        torch.testing.assert_close(matrix, whole[name])
    assert torch.linalg.matrix_rank(truncated(whole, {"fc1.weight": 3})["fc1.weight"]) == 3


def test_a_layer_without_a_fit_is_left_whole() -> None:
    data = pictures()
    tested = torch.from_numpy(data.images), torch.from_numpy(data.labels)
    layers = [{"tensor": "fc1.weight", "num_tail": None, "erg_num": 4}]
    tail, trace = rules(state(), layers, tested, tested)
    assert tail["kept"] == "" and tail["more_test_error"] == 0
    assert trace["kept"] == "fc1 4"
    assert curve(state(), tested)[-1] == (1.0, error(state(), tested))


@pytest.mark.parametrize(
    ("alphas", "verdict"), [((3.0, 2.5, 1.9), "agrees"), ((2.0, 2.5, 3.0), "contradicts")]
)
def test_alpha_is_judged_by_its_fall_and_where_it_crosses_two(
    alphas: tuple[float, ...], verdict: str
) -> None:
    rows = [
        {"batch": 32, "rate": f"×{times}", "layer": "fc1", "alpha": alpha, "erg_log_ratio": alpha - 2,
         "traps": 0.0, "quality": -alpha}
        for times, alpha in zip((1, 16, 32), alphas, strict=True)
    ]  # fmt: skip
    first, alignment, *_ = claims(rows, [])
    assert first.verdict == verdict
    assert alignment.verdict == ("agrees" if min(alphas) < 2 else "not measured")
