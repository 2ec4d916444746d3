"""Activation sparsity and circuit complexity against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from tests.tiny_models import build
from zoo.probes.diagnostics import SPARSE_BELOW, network_diagnostics
from zoo.probes.divergence import kullback_leibler
from zoo.probes.layer import batches
from zoo.probes.network import Network
from zoo.probes.options import ProbeOptions
from zoo.probes.plain import gaussian_network

FEW = ProbeOptions(num_probes=40)


def perceptron() -> Network:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 5))
    return gaussian_network(module, (8,))


def test_the_divergence_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(0)
    p, q = (torch.from_numpy(rng.standard_normal((6, 9))) for _ in range(2))
    wanted = entropy(torch.softmax(p, 1), torch.softmax(q, 1), axis=1)
    got = kullback_leibler(p, q, temperature=1.0)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_sparsity_is_the_share_of_silent_activations() -> None:
    network = perceptron()
    inputs = torch.cat([batch["input"] for batch in batches(network, FEW)])
    hidden = torch.relu(network.module[0](inputs))  # type: ignore[index]
    wanted = float((hidden < SPARSE_BELOW).double().mean())
    assert network_diagnostics(network, FEW).activation_sparsity == pytest.approx(wanted)


def test_a_network_that_ignores_its_weights_has_no_complexity_and_is_left_as_it_was() -> None:
    network = perceptron()
    before = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    assert network_diagnostics(network, FEW).circuit_complexity > 0  # type: ignore[operator]
    after = network.module.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    with torch.no_grad():
        for parameter in network.module.parameters():
            parameter.zero_()
    assert network_diagnostics(network, FEW).circuit_complexity == 0


def test_what_is_not_there_is_none() -> None:
    linear = gaussian_network(torch.nn.Linear(8, 5), (8,))
    assert network_diagnostics(linear, FEW).activation_sparsity is None
    with torch.no_grad():
        linear.module.bias.fill_(float("nan"))  # type: ignore[union-attr,operator]
    assert network_diagnostics(linear, FEW).circuit_complexity is None


def test_activation_functions_of_transformers_are_seen() -> None:
    module = build("bert")

    def draw(count: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        return {"input_ids": torch.randint(0, 60, (count, 6), generator=generator)}

    measured = network_diagnostics(Network(module, "random_tokens", draw, 6), FEW)
    assert measured.activation_sparsity is not None and 0.2 < measured.activation_sparsity < 1
