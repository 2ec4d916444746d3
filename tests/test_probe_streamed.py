"""Networks larger than the memory: one block at a time, the same values, a reason where even that is too much."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.test_probes import FEW, opened, traps_of
from tests.tiny_models import build
from zoo.measure.row import Probe
from zoo.probes import model as probing
from zoo.probes.model import load_network, probe_traps
from zoo.probes.network import UnprobeableError

LAYERS = {
    "gpt2": "transformer.h.1.mlp.c_fc.weight",
    "llama": "model.layers.0.mlp.gate_proj.weight",
    "mixtral": "model.layers.1.mlp.experts.down_proj",
    "bert": "bert.encoder.layer.1.intermediate.dense.weight",
    "t5": "decoder.block.1.layer.2.DenseReluDense.wi.weight",
    "whisper": "model.decoder.layers.0.fc1.weight",
}


def put(family: str, folder: Path) -> None:
    model = build(family)
    weight = model.get_parameter(LAYERS[family])
    with torch.no_grad():
        (weight[1] if weight.ndim == 3 else weight)[3, 4] += 3
    model.save_pretrained(folder)


@pytest.mark.parametrize("family", LAYERS)
def test_block_by_block_j_is_that_of_the_whole_network(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(family, tmp_path)
    with opened(tmp_path) as model:
        every = traps_of(model)
        assert every
        # one trap of the layers with traps, two layers at most; of an expert where there are some
        experts = {spec.layer_index for spec in model.specs if spec.expert is not None}
        every.sort(key=lambda trap: trap.layer_index not in experts)
        traps = [every[0], *[t for t in every if t.layer_index != every[0].layer_index][:1]]
        assert family != "mixtral" or every[0].layer_index in experts
        whole = load_network(model, FEW)
        wanted = [p.probe for p in probe_traps(model, whole, traps, FEW, shuffle_seed=0)]
        total = sum(p.nbytes for p in whole.module.parameters())
        monkeypatch.setattr(probing, "peak_bytes", lambda num_params: 1 << 50)
        network = load_network(model, FEW, limit_bytes=1 << 40)
        stream = network.stream
        assert stream is not None and len(stream.blocks) >= 2
        got = [p.probe for p in probe_traps(model, network, traps, FEW, shuffle_seed=0)]
    for ours, theirs in zip(got, wanted, strict=True):
        _same(ours, theirs)
    blocks = [sum(p.nbytes for p in block.parameters()) for block in stream.blocks.values()]
    assert stream.most_bytes <= total - sum(blocks) + max(blocks) < total
    assert all(p.is_meta for block in stream.blocks.values() for p in block.parameters())


def _same(ours: Probe, theirs: Probe) -> None:
    assert (ours.verdict, ours.probe_reason) == (theirs.verdict, theirs.probe_reason)
    assert ours.jsd is not None and theirs.jsd is not None
    np.testing.assert_allclose(ours.jsd, theirs.jsd, rtol=1e-2, atol=1e-7)


def test_a_network_whose_blocks_are_too_large_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("llama", tmp_path)
    with opened(tmp_path) as model:
        monkeypatch.setattr(probing, "peak_bytes", lambda num_params: 1 << 50)
        with pytest.raises(UnprobeableError, match=r"memory: one block at a time.* larger machine"):
            load_network(model, FEW, limit_bytes=10_000)
        with pytest.raises(UnprobeableError, match="memory: the network needs about"):
            load_network(model, FEW, factory="tests.test_probes:lazy", limit_bytes=1 << 30)


def test_a_checkpoint_that_lacks_a_block_says_so_when_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("llama", tmp_path)
    with opened(tmp_path) as model:
        monkeypatch.setattr(probing, "peak_bytes", lambda num_params: 1 << 50)
        whole = probing._readers
        monkeypatch.setattr(
            probing,
            "_readers",
            lambda m: {n: r for n, r in whole(m).items() if "layers.1.mlp.up_proj" not in n},
        )
        network = load_network(model, FEW, limit_bytes=1 << 40)
        with pytest.raises(UnprobeableError, match=r"not in the checkpoint, such as mlp\.up_proj"):
            network.logits(network.sample(2))
