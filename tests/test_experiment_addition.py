"""Modular addition: the probed module is the trained one, and frequencies of known tables."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jobs.experiments.addition import config_of
from jobs.experiments.addition_network import build
from jobs.experiments.fourier import circuit_of, kernel_power, logits_of, shares
from jobs.experiments.training.stack import Run
from jobs.experiments.training.transformers import Shape, Transformers

SHAPE = Shape(p=11, width=16, heads=2, mlp=32, train_fraction=0.5, steps_a_graph=5)


@pytest.fixture(scope="module")
def stack() -> Transformers:
    trained = Transformers([Run(0, 0.0)], SHAPE, dtype=torch.float64, device=torch.device("cpu"))
    trained.advance(30)
    return trained


def tensors(stack: Transformers) -> dict[str, np.ndarray]:
    return {name: values.astype(np.float32) for name, values in stack.tensors(0).items()}


def test_the_probed_module_gives_the_losses_that_training_measured(stack: Transformers) -> None:
    logits = torch.from_numpy(logits_of(tensors(stack), p=11, heads=2))
    pairs = torch.arange(121)
    losses = torch.nn.functional.cross_entropy(logits, (pairs // 11 + pairs % 11) % 11)
    measured = stack.measure()[0]
    both = (60 * measured["train_loss"] + 61 * measured["test_loss"]) / 121
    assert float(losses) == pytest.approx(both, rel=1e-5)


def test_the_factory_takes_the_checkpoint_and_draws_sums(stack: Transformers) -> None:
    module, draw = build(config_of(SHAPE))
    module.load_state_dict({name: torch.from_numpy(v) for name, v in tensors(stack).items()})
    tokens = draw(5, torch.Generator().manual_seed(0))["tokens"]
    assert tokens.shape == (5, 3) and (tokens[:, 2] == 11).all() and (tokens[:, :2] < 11).all()
    assert module(tokens).shape == (5, 3, 12)


def test_a_cosine_has_its_power_at_one_pair_of_frequencies() -> None:
    table = np.cos(2 * np.pi * 3 * np.arange(11) / 11)[:, None] + 5
    expected = np.zeros(11)
    expected[[3, 8]] = 0.5
    np.testing.assert_allclose(shares(table), expected, atol=1e-12)


def test_the_kernel_of_a_rule_has_its_frequency() -> None:
    index = np.arange(121)
    words = np.arange(12)
    phase = 2 * np.pi * 4 / 11 * (words[None] - (index // 11 + index % 11)[:, None])
    power = kernel_power(np.cos(phase), 11)
    assert set(np.argsort(power)[-2:]) == {4, 7}
    np.testing.assert_allclose(power[[4, 7]], (11 / 2) ** 2)


def test_a_circuit_sums_its_shares_to_one(stack: Transformers) -> None:
    circuit = circuit_of(tensors(stack), p=11, heads=2)
    assert circuit.embed.sum() == pytest.approx(1) and circuit.embed[0] == 0
    assert len(circuit.gram_max) == 2 and 0 < circuit.key_mass <= 1
    assert len(circuit.rule) == 6 and 0 not in circuit.rule
