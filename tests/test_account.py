"""The fate of every stored tensor, and quantised weights whose data is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from zoo.errors import DecodeError
from zoo.formats.account import account
from zoo.formats.weight import Account
from zoo.io.configs import CONFIG_NAMES
from zoo.io.local import LocalLocation
from zoo.io.memory import memory_checkpoint
from zoo.io.opening import open_checkpoint

Tensors = dict[str, torch.Tensor]
FP8_BLOCK = {"quant_method": "fp8", "weight_block_size": [128, 128]}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm"}
PACKED = {
    "quant_method": "compressed-tensors",
    "config_groups": {
        "group_0": {"weights": {"num_bits": 4, "type": "int", "group_size": 32, "symmetric": True}}
    },
}


def accounted(state: Mapping[str, torch.Tensor], config: Mapping[str, object]) -> Account:
    return account(memory_checkpoint(state, {"quantization_config": config} if config else {}))


def f8(*shape: int) -> torch.Tensor:
    return torch.ones(shape).to(torch.float8_e4m3fn)


def ints(*shape: int, dtype: torch.dtype = torch.int32) -> torch.Tensor:
    return torch.ones(shape).to(dtype)


def u8(*shape: int) -> torch.Tensor:
    return ints(*shape, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("name", "tensor", "fate", "reason"),
    [
        ("a.weight", torch.ones(3, 4), "analysed", None),
        ("conv.weight", torch.ones(3, 4, 3, 3).half(), "analysed", None),
        ("a.bias", torch.ones(3), "companion", "bias"),
        ("experts.gate_up_proj_bias", torch.ones(3, 4), "companion", "bias"),
        ("norm.weight", torch.ones(3), "skipped", "vector"),
        ("temperature", torch.tensor(1.0), "skipped", "scalar"),
        ("logit_scale", torch.ones(4, 1, 1), "skipped", "factor"),
        ("embeddings.position_ids", ints(1, 512, dtype=torch.int64), "skipped", "buffer"),
        ("bn.num_batches_tracked", ints(1, dtype=torch.int64), "skipped", "buffer"),
        ("bn.running_mean", torch.ones(7), "skipped", "buffer"),
        ("h.0.attn.bias", torch.ones(1, 1, 8, 8), "skipped", "causal mask"),
        ("h.0.attn.bias", ints(1, 1, 8, 8, dtype=torch.bool), "skipped", "causal mask"),
        ("rotary_emb.inv_freq", torch.ones(8), "skipped", "buffer"),
        ("w.relative_position_index", ints(49, 49, dtype=torch.int64), "skipped", "buffer"),
        ("optimizer.state.0.exp_avg", torch.ones(3, 4), "skipped", "training state"),
        ("lengths", ints(9, dtype=torch.int64), "skipped", "whole numbers"),
        ("a.weight", ints(4, 4), "unknown", "no decoder knows I32"),
        ("a.weight", u8(4, 4), "unknown", "no decoder knows U8"),
        ("a.weight", torch.ones(4, 4).to(torch.complex64), "unknown", "no decoder knows C64"),
        ("a.weight_scale_inv", torch.ones(4, 4), "unknown", "fits no weight"),
        ("experts.down_proj_scales", u8(4, 4, 4), "unknown", "fits no weight"),
        ("a.weight_packed", torch.ones(4, 4), "unknown", "fits no weight"),
    ],
)
def test_every_tensor_has_one_fate(
    name: str, tensor: torch.Tensor, fate: str, reason: str | None
) -> None:
    (entry,) = accounted({name: tensor}, {}).entries
    assert (entry.tensor, entry.fate) == (name, fate)
    assert (reason or "") in (entry.reason or "")


@pytest.mark.parametrize(
    ("codes", "factors"),
    [("weight", "scales"), ("weight", "biases"), ("W_q", "zero"), ("weight", "tables2"),
     ("bitmask", "compressed"), ("weight", "scales_inverse"), ("qweight", "scaless")],
)  # fmt: skip
def test_factors_of_codes_nobody_decodes_are_no_weight(codes: str, factors: str) -> None:
    made = accounted({f"a.{codes}": ints(8, 4), f"a.{factors}": torch.ones(8, 6)}, {})
    assert not made.weights
    assert "unknown" in {entry.fate for entry in made.entries}


@pytest.mark.parametrize(
    ("index", "table"),
    [("relative_position_index", "relative_position_bias_table"),
     ("attention_bias_idxs", "attention_biases")],
)  # fmt: skip
def test_a_table_beside_its_index_stays_a_weight(index: str, table: str) -> None:
    state = {f"a.{index}": ints(49, 49, dtype=torch.int64), f"a.{table}": torch.ones(9, 3)}
    assert [entry.fate for entry in accounted(state, {}).entries] == ["skipped", "analysed"]


@pytest.mark.parametrize(
    ("state", "config", "message"),
    [
        ({"a.weight": f8(256, 256)}, FP8_BLOCK, "no tensor 'a.weight_scale'"),
        (
            {"a.weight": f8(256, 256), "a.weight_scal": torch.ones(2, 2)},
            FP8_BLOCK,
            "no tensor 'a.weight_scale' beside it",
        ),
        (
            {"a.weight": f8(256, 256), "a.weight_scale_inv": torch.ones(2, 3)},
            FP8_BLOCK,
            r"has shape \[2, 3\]; wanted \[2, 2\]",
        ),
        (
            {"a.weight": f8(256, 256), "a.weight_scale_inv": torch.ones(1)},
            FP8_BLOCK,
            r"has shape \[1\]; wanted \[2, 2\]",
        ),
        (
            {"a.weight": f8(256, 256), "a.weight_scale_inv": torch.ones(2, 2)},
            {"quant_method": "fp8"},
            "declares no block size",
        ),
        (
            {"a.weight": f8(64, 32), "a.weight_scale": torch.ones(32)},
            {},
            r"has shape \[32\]; wanted",
        ),
        (
            {"a.weight": f8(64, 32), "a.weight_scale": ints(64)},
            {},
            "has dtype I32; wanted F32",
        ),
        ({"x_blocks": u8(2, 4, 2, 16)}, {}, "no tensor 'x_scales'"),
        (
            {"x_blocks": u8(2, 4, 2, 16), "x_scales": u8(2, 4, 3)},
            {},
            r"has shape \[2, 4, 3\]; wanted \[2, 4, 2\]",
        ),
        ({"x_blocks": u8(2, 4, 2, 8), "x_scales": u8(2, 4, 2)}, {}, r"groups, 16\]"),
        (
            {"a.weight": u8(4, 16), "a.weight_scale": f8(4, 2)},
            {},
            "no tensor 'a.weight_scale_2'",
        ),
        (
            {"a.weight": u8(4, 16), "a.weight_scale_2": torch.tensor(1.0)},
            {},
            "no tensor 'a.weight_scale'",
        ),
        (
            {
                "a.weight": u8(4, 16),
                "a.weight_scale": f8(4, 4),
                "a.weight_scale_2": torch.tensor(1.0),
            },
            {},
            r"has shape \[4, 4\]; wanted \[4, 2\]",
        ),
        ({"a.weight_packed": u8(4, 16)}, {}, "no tensor 'a.weight_scale'"),
        ({"a.qweight": ints(8, 32)}, GPTQ, "no tensor 'a.scales'"),
        (
            {"a.qweight": ints(8, 32), "a.scales": torch.ones(2, 31), "a.qzeros": ints(2, 4)},
            GPTQ,
            r"has shape \[2, 31\]; wanted \[groups, 32\]",
        ),
        (
            {"a.qweight": ints(8, 32), "a.scales": torch.ones(2, 32), "a.qzeros": ints(2, 5)},
            GPTQ,
            r"has shape \[2, 5\]; wanted",
        ),
        (
            {"a.qweight": ints(8, 32), "a.scales": torch.ones(2, 32), "a.qzeros": ints(2, 4)},
            {},
            "quant_method is None; wanted gptq",
        ),
        (
            {"a.qweight": ints(8, 32), "a.scales": torch.ones(2, 32), "a.qzeros": ints(2, 4)},
            {**GPTQ, "checkpoint_format": "marlin"},
            "checkpoint_format 'marlin'; wanted gptq",
        ),
        ({"a.qweight": ints(64, 4)}, AWQ, "no tensor 'a.scales'"),
        (
            {"a.qweight": ints(64, 4), "a.scales": torch.ones(2, 32), "a.qzeros": ints(2, 3)},
            AWQ,
            r"has shape \[2, 3\]; wanted \[2, 4\]",
        ),
        (
            {"a.qweight": ints(64, 4), "a.scales": torch.ones(2, 32), "a.qzeros": ints(2, 4)},
            {**AWQ, "version": "gemv"},
            "AWQ version 'gemv'",
        ),
        ({"a.weight": u8(64, 1), "a.weight.absmax": torch.ones(2)}, {}, "no tensor .*nf4"),
        (
            {"a.weight": u8(64, 1), "a.weight.quant_state.bitsandbytes__nf4": u8(30)},
            {},
            "not JSON",
        ),
        (
            {"a.weight": ints(8, 8, dtype=torch.int8), "a.SCB": torch.ones(7)},
            {},
            r"has shape \[7\]; wanted \[8\]",
        ),
        ({"a.weight": ints(8, 8, dtype=torch.int8)}, {}, "no decoder knows I8"),
        ({"a.weight_packed": ints(8, 4)}, PACKED, "no tensor 'a.weight_scale'"),
        (
            {"a.weight_packed": ints(8, 4), "a.weight_scale": torch.ones(8, 1)},
            PACKED,
            "no tensor 'a.weight_shape'",
        ),
        (
            {
                "a.weight_packed": ints(8, 4),
                "a.weight_scale": torch.ones(8, 1),
                "a.weight_shape": torch.tensor([8, 64]),
            },
            PACKED,
            "no config_group in the config fits",
        ),
    ],
)
def test_a_wrong_scale_is_an_error_that_names_the_tensor(
    state: Tensors, config: Mapping[str, object], message: str
) -> None:
    found = accounted({**state, "fine.weight": torch.ones(3, 4)}, config)
    assert [w.name for w in found.weights] == ["fine.weight"]
    bad = [entry for entry in found.entries if entry.fate == "unknown"]
    assert bad[0].tensor == next(iter(state))
    assert re.search(message, bad[0].reason or ""), bad[0].reason


@pytest.mark.parametrize(
    "state",
    [
        {"shape": [4, 8], "blocksize": 0},
        {"shape": [4, -8], "blocksize": 64},
        {"shape": [4, 2**70], "blocksize": 64},
        {"shape": "x", "blocksize": 64},
        {"blocksize": 64},
        [],
    ],
)
def test_a_hostile_quantisation_state_is_refused(state: object) -> None:
    raw = torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)
    tensors = {"a.weight": u8(16, 1), "a.weight.quant_state.bitsandbytes__nf4": raw}
    found = accounted(tensors, {})
    assert not found.weights
    assert found.entries[0].fate == "unknown"
    assert (found.entries[0].reason or "").startswith("a.weight:")


def test_a_saturated_cast_was_scaled_and_is_refused() -> None:
    checkpoint = memory_checkpoint({"a.weight": (448 * torch.ones(4, 4)).to(torch.float8_e4m3fn)})
    (weight,) = account(checkpoint).weights
    with pytest.raises(DecodeError, match="it was scaled"):
        weight.load(checkpoint)


@pytest.mark.parametrize("beside", ["weight_factor", "multiplier", "s"])
def test_eight_bit_floats_beside_an_unknown_tensor_are_no_cast(beside: str) -> None:
    found = accounted(
        {"a.weight": f8(8, 8), f"a.{beside}": torch.ones(1), "a.bias": torch.ones(8)}, {}
    )
    assert "no tensor 'a.weight_scale' beside it" in (found.entries[0].reason or "")


def test_eight_bit_rows_in_another_layout_are_refused() -> None:
    state = {"a.weight": ints(8, 8, dtype=torch.int8), "a.SCB": torch.ones(8)}
    checkpoint = memory_checkpoint({**state, "a.weight_format": u8(1)})
    (weight,) = account(checkpoint).weights
    with pytest.raises(DecodeError, match=r"is not 0 \(rows\)"):
        weight.load(checkpoint)


def test_groups_outside_the_scales_are_refused() -> None:
    state = {
        "a.qweight": ints(8, 32),
        "a.scales": torch.ones(2, 32),
        "a.qzeros": ints(2, 4),
        "a.g_idx": torch.arange(64, dtype=torch.int32),
    }
    checkpoint = memory_checkpoint(state, {"quantization_config": GPTQ})
    (weight,) = account(checkpoint).weights
    with pytest.raises(DecodeError, match=r"a\.g_idx: groups 0 to 63; wanted 0 to 1"):
        weight.load(checkpoint)


def test_older_quantisation_files_are_found(tmp_path: Path) -> None:
    save_file(
        {"a.qweight": ints(8, 32), "a.scales": torch.ones(2, 32), "a.qzeros": ints(2, 4)},
        tmp_path / "model.safetensors",
    )
    (tmp_path / "quantize_config.json").write_text('{"bits": 4, "group_size": 32}')
    for source in (tmp_path, tmp_path / "model.safetensors"):
        with open_checkpoint(LocalLocation.of(source).open()) as checkpoint:
            assert [w.decoder for w in account(checkpoint).weights] == ["gptq"]


@pytest.mark.parametrize("name", CONFIG_NAMES)
def test_every_file_of_settings_is_part_of_the_fingerprint(tmp_path: Path, name: str) -> None:
    save_file({"a.weight": torch.ones(4, 4)}, tmp_path / "model.safetensors")
    found = set()
    for text in ("{}", '{"checkpoint_format": "gptq_v2"}'):
        (tmp_path / name).write_text(text)
        found.add(LocalLocation.of(tmp_path).open().revision)
    assert len(found) == 2


def test_one_expert_of_a_stack_is_read_without_the_others(tmp_path: Path) -> None:
    blocks, scales = u8(16, 64, 8, 16), u8(16, 64, 8)
    save_file({"e_blocks": blocks, "e_scales": scales}, tmp_path / "model.safetensors")
    store = LocalLocation.of(tmp_path).open()
    with open_checkpoint(store) as checkpoint:
        (weight,) = account(checkpoint).weights
        before = store.counters.bytes_read
        part = weight.load(checkpoint, (3, 4))
        read = store.counters.bytes_read - before
        assert torch.equal(part, weight.load(checkpoint)[3:4])
    assert read == weight.nbytes // 16


def test_weights_come_in_file_order_whatever_their_format() -> None:
    state = {
        "a.weight": torch.ones(3, 4),
        "b_blocks": u8(2, 4, 2, 16),
        "b_scales": u8(2, 4, 2),
        "c.weight": torch.ones(3, 4),
    }
    found = accounted(state, {})
    assert [w.name for w in found.weights] == ["a.weight", "b", "c.weight"]
    assert [e.tensor for e in found.entries] == list(state)
