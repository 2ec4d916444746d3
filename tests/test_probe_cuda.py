"""Probes on an accelerator: the values of the processor, the same networks, the same weights left behind."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.test_probe_cost import LAYERS, named, network_of, variants_of
from zoo.probes.ablation import ablation_at
from zoo.probes.joint import joint_of
from zoo.probes.layer import divergences
from zoo.probes.network import Network
from zoo.probes.options import ProbeOptions
from zoo.probes.sites import Site, find_site
from zoo.probes.trim import trimmed

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

FEW = ProbeOptions(num_probes=24)


def moved(network: Network) -> Network:
    return replace(network, module=network.module.to("cuda"))


@pytest.mark.parametrize("family", LAYERS)
def test_j_is_that_of_the_processor(family: str) -> None:
    network = network_of(family)
    name = named(network, family)
    variants = variants_of(network.module.get_parameter(name), 4)
    here = divergences(
        network, ablation_at(network.module, Site(name)), variants[:2], variants[2:], FEW
    )
    network = moved(network)
    ablation = ablation_at(network.module, Site(name))
    assert joint_of(network, ablation, 24).num_variants > 1
    with trimmed(network):
        there = divergences(network, ablation, variants[:2], variants[2:], FEW)
    np.testing.assert_allclose(there.of_traps, here.of_traps, rtol=2e-2, atol=1e-6)
    np.testing.assert_allclose(there.of_controls, here.of_controls, rtol=2e-2, atol=1e-6)


def test_a_matrix_of_the_file_is_found_on_the_accelerator_and_exchanged_there() -> None:
    network = network_of("mixtral")
    name = next(n for n, p in network.module.named_parameters() if p.ndim == 3)
    matrix = network.module.get_parameter(name).detach()[1].clone()
    network = moved(network)
    site = find_site(dict(network.module.named_parameters()), matrix, name=name)
    assert site is not None and site.index == 1
    before = network.module.get_parameter(name).detach().clone()
    result = divergences(
        network, ablation_at(network.module, site), variants_of(matrix, 2), [], FEW
    )
    assert result.is_used
    assert torch.equal(network.module.get_parameter(name), before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_networks_of_half_precision_are_probed(dtype: torch.dtype) -> None:
    network = network_of("llama")
    name = named(network, "llama")
    variants = variants_of(network.module.get_parameter(name), 2)
    half = replace(network, module=network.module.to("cuda", dtype))
    with trimmed(half):
        result = divergences(half, ablation_at(half.module, Site(name)), variants, [], FEW)
    assert np.isfinite(result.of_traps).all()


def test_many_ablations_in_one_pass_take_less_time(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints what it takes; asserts nothing of time."""
    from transformers import GPT2Config, GPT2LMHeadModel

    module = GPT2LMHeadModel(GPT2Config(n_layer=12, n_embd=768, n_head=12)).eval().cuda()
    network = Network(
        module,
        "random_tokens",
        lambda count, drawn: {
            "input_ids": torch.randint(0, 50_000, (count, 32), generator=drawn),
            "use_cache": False,
        },
        32,
    )
    name = "transformer.h.0.mlp.c_fc.weight"
    variants = variants_of(module.get_parameter(name).cpu(), 8)
    ablation = ablation_at(module, Site(name))
    for num_probes in (16, 1024):
        options = ProbeOptions(num_probes=num_probes)
        with trimmed(network):
            together = joint_of(network, ablation, min(num_probes, 512)).num_variants
            for label in ("first", "again"):
                torch.cuda.synchronize()
                started = time.perf_counter()
                divergences(network, ablation, variants[:4], variants[4:], options)
                torch.cuda.synchronize()
                seconds = time.perf_counter() - started
                with capsys.disabled():
                    print(f"\nGPT-2 small, block 0, 8 ablations, {num_probes} probes, {together} "
                          f"in a pass ({label}): {seconds:.2f} s")  # fmt: skip
