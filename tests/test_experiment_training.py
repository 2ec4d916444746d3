"""The stacked trainings against plain loops of torch modules, and against themselves when interrupted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.experiments.training.adamw import Settings
from jobs.experiments.training.drive import Order, SetupChangedError, read_log, train
from jobs.experiments.training.order import orders
from jobs.experiments.training.pack import checkpoints, pack, unpack
from jobs.experiments.training.perceptrons import CLASSES, Perceptrons, Pictures, initial
from jobs.experiments.training.perceptrons import Shape as PerceptronShape
from jobs.experiments.training.schedule import Schedule, log_spaced
from jobs.experiments.training.stack import Run, Stack
from jobs.experiments.training.transformers import NAMES, Transformers, training_examples
from jobs.experiments.training.transformers import Shape as TransformerShape
from jobs.experiments.training.transformers import initial as initial_transformer

CPU = torch.device("cpu")
RUNS = (Run(0, 0.0), Run(1, 0.0), Run(0, 0.3))
SMALL = PerceptronShape(hidden=(12, 9), scale=2.0, batch=10, adamw=Settings(1e-2), steps_a_graph=7)
SUMS = TransformerShape(p=7, width=8, heads=2, mlp=16, train_fraction=0.5, steps_a_graph=5)


def pictures() -> Pictures:
    rng = np.random.default_rng(5)
    labels = np.repeat(np.arange(CLASSES), 6)
    return Pictures(rng.random((60, 16), dtype=np.float32), labels, num_train=30)


def perceptrons(runs: tuple[Run, ...] = RUNS) -> Perceptrons:
    return Perceptrons(pictures(), runs, SMALL, dtype=torch.float64, device=CPU)


def transformers(runs: tuple[Run, ...] = RUNS) -> Transformers:
    return Transformers(runs, SUMS, dtype=torch.float64, device=CPU)


def plain_perceptron(run: Run, steps: int) -> torch.nn.Sequential:
    """The same training as anyone would write it: modules, autograd, torch's own AdamW."""
    data = pictures()
    drawn = initial((16, *SMALL.hidden, CLASSES), seed=run.seed, scale=SMALL.scale)
    layers: list[torch.nn.Module] = []
    for weight, bias in drawn:
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight))
            linear.bias.copy_(torch.from_numpy(bias))
        layers += [linear, torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers[:-1])
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=run.decay)
    chosen = data.training(run.seed)
    images = torch.from_numpy(data.images[chosen]).double()
    labels = torch.nn.functional.one_hot(torch.from_numpy(data.labels[chosen]), CLASSES).double()
    for step in range(steps):
        order = orders(torch.tensor([run.seed]), step // 3, 1, 30)[0, 0]
        batch = order[step % 3 * 10 : step % 3 * 10 + 10]
        optimiser.zero_grad()
        torch.nn.functional.mse_loss(network(images[batch]), labels[batch]).backward()
        optimiser.step()
    return network


class PlainTransformer(torch.nn.Module):
    """All three positions of every example through attention and MLP, as the papers draw it."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        first = initial_transformer(SUMS, seed)
        self.w = torch.nn.ParameterDict(
            {name: torch.nn.Parameter(torch.from_numpy(value)) for name, value in first.items()}
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        w, heads = self.w, SUMS.heads
        x = w["embed"][tokens] + w["position"]
        q, k, v = (
            (x @ w[name].T).unflatten(-1, (heads, -1)).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + mixed.transpose(1, 2).flatten(2) @ w["out"].T
        up = torch.relu(x @ w["up"].T + w["up_bias"])
        x = x + up @ w["down"].T + w["down_bias"]
        return (x @ w["unembed"].T)[:, -1]


def plain_transformer(run: Run, steps: int) -> PlainTransformer:
    network = PlainTransformer(run.seed)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=run.decay
    )
    index = torch.arange(49)[torch.from_numpy(training_examples(SUMS, run.seed))]
    x, y = index // 7, index % 7
    tokens = torch.stack([x, y, torch.full_like(x, 7)], dim=1)
    for _ in range(steps):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(tokens), (x + y) % 7).backward()
        optimiser.step()
    return network


def test_stacked_perceptrons_are_the_plain_ones() -> None:
    stack = perceptrons()
    stack.advance(40)
    for index, run in enumerate(RUNS):
        plain = plain_perceptron(run, 40)
        for layer, tensor in ((1, plain[0]), (2, plain[2]), (3, plain[4])):
            assert isinstance(tensor, torch.nn.Linear)
            ours = stack.tensors(index)
            np.testing.assert_allclose(
                ours[f"fc{layer}.weight"], tensor.weight.detach(), rtol=1e-9, atol=1e-12
            )
            np.testing.assert_allclose(
                ours[f"fc{layer}.bias"], tensor.bias.detach(), rtol=1e-9, atol=1e-12
            )


def test_stacked_perceptrons_measure_what_the_plain_ones_do() -> None:
    stack, data = perceptrons(), pictures()
    stack.advance(20)
    outputs = plain_perceptron(RUNS[1], 20)(torch.from_numpy(data.images).double()).detach()
    is_train = np.isin(np.arange(60), data.training(1))
    errors = (outputs - torch.nn.functional.one_hot(torch.from_numpy(data.labels), CLASSES)) ** 2
    measured = stack.measure()[1]
    assert measured["train_loss"] == pytest.approx(float(errors[is_train].mean()))
    assert measured["test_loss"] == pytest.approx(float(errors[~is_train].mean()))
    right = outputs.argmax(dim=1).numpy() == data.labels
    assert measured["test_accuracy"] == pytest.approx(right[~is_train].mean())


def test_stacked_transformers_are_the_plain_ones() -> None:
    stack = transformers()
    stack.advance(25)
    for index, run in enumerate(RUNS):
        plain = plain_transformer(run, 25)
        ours = stack.tensors(index)
        for name, parameter in plain.w.items():
            np.testing.assert_allclose(
                ours[NAMES[name]], parameter.detach(), rtol=1e-8, atol=1e-11, err_msg=name
            )


def test_stacked_transformers_measure_all_sums() -> None:
    stack = transformers()
    index = torch.arange(49)
    tokens = torch.stack([index // 7, index % 7, torch.full_like(index, 7)], dim=1)
    losses = torch.nn.functional.cross_entropy(
        PlainTransformer(1)(tokens), (index // 7 + index % 7) % 7, reduction="none"
    ).detach()
    is_train = torch.from_numpy(training_examples(SUMS, 1))
    measured = stack.measure()[1]
    assert measured["test_loss"] == pytest.approx(float(losses[~is_train].mean()))
    assert measured["train_loss"] == pytest.approx(float(losses[is_train].mean()))


def test_an_order_is_a_permutation_and_no_two_epochs_or_seeds_share_one() -> None:
    drawn = orders(torch.tensor([0, 1]), 3, 4, 50)
    assert (drawn.sort(dim=-1).values == torch.arange(50)).all()
    assert len({tuple(row) for row in drawn.reshape(8, 50).tolist()}) == 8
    assert torch.equal(orders(torch.tensor([1]), 5, 1, 50)[0, 0], drawn[2, 1])


@pytest.mark.parametrize("make", [perceptrons, transformers])
def test_an_interrupted_training_goes_on_bit_for_bit(make: type, tmp_path: Path) -> None:
    schedule = Schedule(60, 3, kept_from=10)
    whole = Order(tmp_path / "whole", {}, RUNS, schedule)
    straight: Stack = make()
    assert train(straight, whole, say=lambda *_: None)
    broken = Order(tmp_path / "broken", {}, RUNS, schedule, budget_s=0.0)
    assert not train(make(), broken, say=lambda *_: None)
    half: Stack = make()
    with pytest.raises(KeyboardInterrupt):
        train(half, Order(tmp_path / "broken", {}, RUNS, schedule), say=_interrupt_at_30)
    again: Stack = make()
    assert train(again, Order(tmp_path / "broken", {}, RUNS, schedule), say=lambda *_: None)
    for name, tensor in straight.state().items():
        assert torch.equal(tensor, again.state()[name]), name
    first, second = read_log(tmp_path / "whole")["rows"], read_log(tmp_path / "broken")["rows"]
    assert [r | {"seconds": 0} for r in first] == [r | {"seconds": 0} for r in second]


def _interrupt_at_30(done: int, end: int, per_step: float) -> None:
    if done >= 30:
        raise KeyboardInterrupt


def test_a_folder_of_another_setup_is_refused(tmp_path: Path) -> None:
    schedule = Schedule(3, 3)
    train(perceptrons(), Order(tmp_path, {"batch": 10}, RUNS, schedule), say=lambda *_: None)
    with pytest.raises(SetupChangedError, match="another set-up"):
        train(perceptrons(), Order(tmp_path, {"batch": 20}, RUNS, schedule), say=lambda *_: None)


def test_packs_bring_back_whole_runs_and_the_landmarks_of_others(tmp_path: Path) -> None:
    schedule = Schedule(30, 3, kept_from=6)
    train(perceptrons(), Order(tmp_path, {}, RUNS, schedule), say=lambda *_: None)
    before = {step: path.read_bytes() for step, path in checkpoints(tmp_path).items()}
    files = pack(tmp_path, whole_runs={"seed0-decay0"}, landmarks={9}, max_files=2)
    assert len(files) == 1 and not checkpoints(tmp_path)
    unpack(tmp_path, tmp_path / "home")
    back = checkpoints(tmp_path / "home")
    assert list(back) == list(before) and 30 in back
    from safetensors.numpy import load, load_file

    for step, path in back.items():
        ours, theirs = load_file(path), load(before[step])
        assert {name for name in theirs if name.startswith("seed0-decay0/")} <= set(ours)
        assert all(np.array_equal(theirs[name], values) for name, values in ours.items())
    assert "seed1-decay0/fc1.weight" in load_file(back[30])


def test_steps_grow_tenfold_in_even_ratios() -> None:
    assert log_spaced(1000, 2, 5) == (0, 5, 10, 30, 100, 320, 1000)
    schedule = Schedule(10**6, 5)
    assert set(schedule.kept) <= set(schedule.measured)
    assert json.dumps(schedule.kept)
