"""Decoders that work where the bytes are. The device is torch's `meta`, which refuses tensors of another one."""

from __future__ import annotations

import pytest
import torch

from tests.codes import Quantised
from tests.test_gptq_and_awq import awq_words, gptq, parts
from tests.test_model import GPT_OSS, mxfp4_experts
from zoo.formats.account import account
from zoo.formats.on_device import decodes_on_device
from zoo.io.checkpoint import Checkpoint
from zoo.io.memory import memory_checkpoint


def awq() -> Checkpoint:
    codes, zeros, scales = parts(64, 32, 4, 32, seed=3)
    state = {"a.qweight": awq_words(codes), "a.qzeros": awq_words(zeros), "a.scales": scales}
    config = {"quant_method": "awq", "version": "gemm", "bits": 4, "group_size": 32}
    return Quantised(state, torch.empty(0), "awq", config=config).checkpoint()


def fp8_blocks() -> Checkpoint:
    state = {
        "a.weight": torch.randn(256, 384).to(torch.float8_e4m3fn),
        "a.weight_scale_inv": torch.rand(2, 3),
    }
    config = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    return memory_checkpoint(state, {"quantization_config": config})


def packed_ints() -> Checkpoint:
    state = {
        "a.weight_packed": torch.zeros(48, 8, dtype=torch.int32),
        "a.weight_scale": torch.rand(48, 2),
        "a.weight_shape": torch.tensor([48, 64]),
    }
    weights = {"num_bits": 4, "type": "int", "group_size": 32, "symmetric": True}
    config = {
        "quant_method": "compressed-tensors",
        "config_groups": {"g": {"weights": weights}},
    }
    return memory_checkpoint(state, {"quantization_config": config})


def nvfp4() -> Checkpoint:
    state = {
        "a.weight": torch.zeros(32, 32, dtype=torch.uint8),
        "a.weight_scale": torch.rand(32, 4).to(torch.float8_e4m3fn),
        "a.weight_scale_2": torch.tensor(0.5),
    }
    return memory_checkpoint(state, {})


MADE = {
    "mxfp4": lambda: memory_checkpoint(
        {name: torch.from_numpy(t) for name, t in mxfp4_experts().items()}, GPT_OSS
    ),
    "awq": awq,
    "gptq": lambda: gptq("gptq", 4, (64, 32), 32, ordered=False).checkpoint(),
    "fp8_block": fp8_blocks,
    "int_packed": packed_ints,
    "nvfp4": nvfp4,
}


@pytest.mark.parametrize("kind", MADE)
def test_packed_bytes_are_unpacked_on_the_device_they_are_on(kind: str) -> None:
    checkpoint = MADE[kind]()
    elsewhere = checkpoint.moved(lambda stored: stored.to("meta"))
    weights = [weight for weight in account(checkpoint).weights if weight.decoder == kind]
    assert weights
    for weight in weights:
        assert decodes_on_device(weight)
        values = weight.load(elsewhere)
        assert (values.device.type, tuple(values.shape)) == ("meta", weight.shape)


def test_closing_the_moved_checkpoint_leaves_the_files_open() -> None:
    checkpoint = memory_checkpoint({"a.weight": torch.ones(3, 2)})
    checkpoint.moved(torch.clone).close()
    assert checkpoint.read("a.weight").shape == (3, 2)
