"""What a probe does not compute again: whatever an ablation cannot change, and positions that nobody compares."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.test_probes import spiked
from tests.tiny_models import build
from zoo.probes import layer as layering
from zoo.probes.ablation import ablation_at
from zoo.probes.inputs import draw_for
from zoo.probes.joint import joint_of
from zoo.probes.layer import Recordings, Variant, divergences
from zoo.probes.modes import shuffled_modes
from zoo.probes.network import Inputs, Network
from zoo.probes.options import ProbeOptions
from zoo.probes.plain import gaussian_network
from zoo.probes.replay import record
from zoo.probes.sites import Site
from zoo.probes.trim import trimmed
from zoo.spectral.shuffle import Permutation

FEW = ProbeOptions(num_probes=12)
LAYERS = {
    "bert": "layer.0.attention.self.query.weight",
    "gpt2": "h.0.mlp.c_fc.weight",
    "llama": "layers.0.mlp.gate_proj.weight",
    "t5": "decoder.block.0.layer.0.SelfAttention.q.weight",
    "vit": "layers.0.mlp.fc1.weight",
    "whisper": "decoder.layers.0.self_attn.q_proj.weight",
    "mixtral": "layers.0.self_attn.q_proj.weight",
}


def network_of(family: str) -> Network:
    module = build(family).eval()
    config = module.config.to_dict()
    name = str(module.main_input_name)

    def draw(count: int, generator: torch.Generator) -> Inputs:
        drawn = draw_for(name, count, generator, config, length=8, dtype=torch.float32)
        return {**drawn, "use_cache": False} if name == "input_ids" else drawn

    return Network(module, "random_tokens", draw, 8, main=name)


def named(network: Network, family: str) -> str:
    return next(n for n, _ in network.module.named_parameters() if n.endswith(LAYERS[family]))


def variants_of(matrix: torch.Tensor, count: int) -> list[Variant]:
    modes = shuffled_modes(matrix.detach(), Permutation(3, matrix.numel()))
    return [Variant(modes, rank, 0, ("layer", 0, 0, 0)) for rank in range(count)]


def flops(network: Network, inputs: Inputs) -> float:
    with FlopCounterMode(display=False) as counter:
        network.logits(inputs)
    return float(counter.get_total_flops())


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "t5", "whisper", "mixtral"])
def test_behind_the_mixing_only_the_last_position_runs(family: str) -> None:
    network = network_of(family)
    inputs = network.sample(5)
    wanted, whole = network.logits(inputs), flops(network, inputs)
    with trimmed(network):
        torch.testing.assert_close(network.logits(inputs), wanted, rtol=1e-4, atol=1e-6)
        assert flops(network, inputs) < whole
    assert flops(network, inputs) == whole


def test_where_all_positions_or_the_first_one_count_nothing_is_trimmed() -> None:
    from transformers import BertConfig, BertForSequenceClassification

    for network in (
        network_of("gpt2"),
        Network(
            BertForSequenceClassification(
                BertConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2,
                           num_attention_heads=4, intermediate_size=48)
            ).eval(),
            "random_tokens",
            network_of("bert").draw,
            8,
        ),
    ):  # fmt: skip
        inputs = network.sample(3)
        all_of = Network(network.module, network.probe_kind, network.draw, 8, "all")
        whole = flops(network, inputs)
        with trimmed(all_of):
            assert flops(network, inputs) == whole
    wanted = network.logits(inputs)  # the classifier reads the first position
    with trimmed(network):
        assert torch.equal(network.logits(inputs), wanted)


@pytest.mark.parametrize(
    ("family", "spared"),
    [
        ("llama", ("layers.0.self_attn.k_proj", "layers.0.self_attn.v_proj")),
        ("whisper", ("decoder.layers.1.encoder_attn.k_proj", "encoder.layers.0.fc1")),
        ("t5", ("decoder.block.1.layer.1.EncDecAttention.v", "encoder.block.0.layer.0")),
    ],
)
def test_what_the_layer_has_no_say_in_does_not_run_again(
    family: str, spared: tuple[str, ...]
) -> None:
    network = network_of(family)
    module, inputs = network.module, network.sample(4)
    target = module.get_submodule(named(network, family).removesuffix(".weight"))
    before = record(module, target, lambda: network.logits(inputs))
    run: list[str] = []
    for name, part in module.named_modules():
        own = part.forward
        part.forward = lambda *a, own=own, name=name, **k: (run.append(name), own(*a, **k))[1]
    handle = target.register_forward_hook(lambda m, a, out: out + 1)
    with before.replayed():
        got = network.logits(inputs)
    replayed, run[:] = set(run), []
    wanted = network.logits(inputs)
    assert torch.equal(got, wanted)
    handle.remove()
    for ending in spared:
        name = next(n for n in run if n.endswith(ending))
        assert name not in replayed
    assert before.logits is not None and not torch.equal(got, before.logits)


class Writes(torch.nn.Module):
    """Writes into a value that was there before the layer, then uses it again."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(6, 6)
        self.layer = torch.nn.Linear(6, 6)
        self.beside = torch.nn.Linear(6, 6)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        early = self.first(values)
        late = self.layer(early)
        early += late
        out: torch.Tensor = self.beside(early)
        return out


def test_a_value_that_was_written_into_counts_as_another() -> None:
    network = gaussian_network(Writes().eval(), (6,))
    inputs = network.sample(4)
    layer = network.module.get_submodule("layer")
    before = record(network.module, layer, lambda: network.logits(inputs))
    assert network.module.get_submodule("beside") not in before.kept
    handle = layer.register_forward_hook(lambda m, a, out: out + 1)
    with before.replayed():
        got = network.logits(inputs)
    assert torch.equal(got, network.logits(inputs))
    handle.remove()


@pytest.mark.parametrize("family", LAYERS)
def test_ablations_in_one_pass_give_what_they_give_one_by_one(
    family: str,
) -> None:
    network = network_of(family)
    name = named(network, family)
    variants = variants_of(network.module.get_parameter(name), 5)
    ablation = ablation_at(network.module, Site(name))
    assert joint_of(network, ablation, 12).num_variants > 5
    together = divergences(network, ablation, variants[:2], variants[2:], FEW)
    network = replace(network, pass_bytes=0)
    assert joint_of(network, ablation, 12).num_variants == 1
    alone = divergences(network, ablation, variants[:2], variants[2:], FEW)
    np.testing.assert_allclose(together.of_traps, alone.of_traps, rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(together.of_controls, alone.of_controls, rtol=1e-3, atol=1e-7)
    assert together.is_used


class Compares(torch.nn.Module):
    """Its logits say how like each probe is to the others of its batch, as two towers do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(6, 6)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        features = self.layer(values)
        return features @ features.T


class Centres(Compares):
    """Every probe is seen against the mean of its batch."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(values - values.mean(0))
        return out


@pytest.mark.parametrize("kind", [Compares, Centres])
def test_probes_that_know_of_each_other_run_one_ablation_at_a_time(
    kind: type[torch.nn.Module],
) -> None:
    network = gaussian_network(kind().eval(), (6,))
    assert (
        joint_of(network, ablation_at(network.module, Site("layer.weight")), 12).num_variants == 1
    )


def test_weights_that_are_exchanged_run_one_at_a_time() -> None:
    network = network_of("mixtral")
    name = next(n for n, p in network.module.named_parameters() if p.ndim == 3)
    ablation = ablation_at(network.module, Site(name, index=1))
    assert joint_of(network, ablation, 12).num_variants == 1


def test_one_recorded_pass_serves_all_shuffles_of_a_layer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = gaussian_network(torch.nn.Sequential(torch.nn.Linear(9, 8), torch.nn.ReLU(),
                                                   torch.nn.Linear(8, 4)).eval(), (9,))  # fmt: skip
    network.module.get_parameter("0.weight").data = spiked(8, 9)
    recorded: list[int] = []
    whole = layering.record
    monkeypatch.setattr(layering, "record", lambda *a, **k: (recorded.append(1), whole(*a, **k))[1])
    ablation = ablation_at(network.module, Site("0.weight"))
    variants = variants_of(network.module.get_parameter("0.weight"), 3)
    recordings = Recordings(network, FEW)
    first = divergences(network, ablation, variants, [], FEW, recordings)
    again = divergences(network, ablation, variants, [], FEW, recordings)
    assert len(recorded) == 1
    np.testing.assert_array_equal(first.of_traps, again.of_traps)
    alone = divergences(network, ablation, variants, [], FEW)
    np.testing.assert_array_equal(first.of_traps, alone.of_traps)
