"""Quantised layouts met in the field, through the real command line: values, or words.

Each is a small input true to a public checkpoint's names, types and shapes, made here from seeds.
What a layout must give was worked out apart from the decoders, by float64 SVD of its definition.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

Zoo = Callable[..., int]
Tensors = dict[str, torch.Tensor]
ATTN = "model.layers.0.self_attn."
MLP = "model.layers.0.mlp."


def heavy(*shape: int, seed: int, scale: float = 0.05) -> torch.Tensor:
    drawn = np.random.default_rng(seed).standard_t(4, shape) * scale
    return torch.from_numpy(drawn).float()


def whole(low: int, high: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(low, high, shape))


def top(matrix: torch.Tensor) -> float:
    """The largest eigenvalue of WᵀW."""
    return float(np.linalg.svd(matrix.double().numpy(), compute_uv=False)[0] ** 2)


def analysed(
    zoo: Zoo,
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    state: Tensors,
    config: dict[str, object],
) -> dict[str, dict[str, object]]:
    """Rows of `zoo analyze` by tensor. `config` is config.json's, besides what every model has."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    contiguous = {name: tensor.contiguous() for name, tensor in state.items()}
    save_file(contiguous, folder / "model.safetensors", metadata={"format": "pt"})
    zoo("analyze", folder, "--format", "json", "--metrics", "tail")
    return {row["tensor"]: row for row in json.loads(capsys.readouterr().out)}


def torchao() -> tuple[Tensors, dict[str, object], dict[str, float]]:
    codes, scale = heavy(64, 64, seed=1, scale=30).to(torch.float8_e4m3fn), heavy(64, 1, seed=2)
    eights, eight_scale = whole(-127, 127, 64, 64).to(torch.int8), heavy(64, 1, seed=3).abs()
    state = {
        f"{ATTN}q_proj._weight_qdata": codes, f"{ATTN}q_proj._weight_scale": scale.abs(),
        f"{ATTN}o_proj._weight_qdata": eights, f"{ATTN}o_proj._weight_scale": eight_scale,
    }  # fmt: skip
    quant_type = {"default": {"_type": "Float8DynamicActivationFloat8WeightConfig"}}
    config = {"quantization_config": {"quant_method": "torchao", "quant_type": quant_type}}
    return state, config, {
        f"{ATTN}q_proj.weight": top(codes.float() * scale.abs()),
        f"{ATTN}o_proj.weight": top(eights * eight_scale),
    }  # fmt: skip


def block_int8() -> tuple[Tensors, dict[str, object], dict[str, float]]:
    weight = heavy(128, 128, seed=1).view(2, 64, 2, 64)
    scale = weight.abs().amax((1, 3)) / 127
    codes = (weight / scale[:, None, :, None]).round()
    state = {
        f"{ATTN}o_proj.weight": codes.view(128, 128).to(torch.int8),
        f"{ATTN}o_proj.weight_scale_inv": scale,
    }
    settings = {"quant_method": "blockwise_int8", "weight_block_size": [64, 64]}
    expected = top((codes * scale[:, None, :, None]).view(128, 128))
    return state, {"quantization_config": settings}, {f"{ATTN}o_proj.weight": expected}


def bitnet() -> tuple[Tensors, dict[str, object], dict[str, float]]:
    ternary = whole(-1, 2, 64, 64, seed=1)
    quarters = (ternary + 1).to(torch.uint8).view(4, 16, 64)
    packed = quarters[0] | quarters[1] << 2 | quarters[2] << 4 | quarters[3] << 6
    scale = torch.tensor([1.22], dtype=torch.bfloat16)
    state = {f"{ATTN}q_proj.weight": packed, f"{ATTN}q_proj.weight_scale": scale}
    settings = {
        "quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline"
    }  # fmt: skip
    expected = top(ternary * scale.float())
    return state, {"quantization_config": settings}, {f"{ATTN}q_proj.weight": expected}


def mistral_fp8() -> tuple[Tensors, dict[str, object], dict[str, float]]:
    weight = heavy(64, 64, seed=0)
    scale = (weight.abs().max() / 448).bfloat16()
    codes = (weight / scale).to(torch.float8_e4m3fn)
    name = "layers.0.attention.wq"
    state = {
        f"{name}.weight": codes, f"{name}.qscale_weight": scale,
        f"{name}.qscale_act": torch.tensor(0.02).bfloat16(),
    }  # fmt: skip
    return state, {}, {f"{name}.weight": top(codes.float() * scale.float())}


def quark_mxfp4() -> tuple[Tensors, dict[str, object], dict[str, float]]:
    codes, exponents = whole(0, 256, 64, 64, seed=1), whole(120, 126, 64, 4, seed=2)
    table = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    table = torch.cat([table, -table])
    pairs = torch.stack([table[codes & 15], table[codes >> 4]], -1).reshape(64, 128)
    expected = pairs * 2.0 ** (exponents - 127).repeat_interleave(32, 1)
    name = f"{MLP}down_proj.weight"
    state = {name: codes.to(torch.uint8), f"{name}_scale": exponents.to(torch.uint8)}
    settings = {"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp4"}}}
    return state, {"quantization_config": settings}, {name: top(expected)}


@pytest.mark.parametrize("layout", [torchao, block_int8, bitnet, mistral_fp8, quark_mxfp4])
def test_codes_of_the_field_give_the_values_of_their_definition(
    zoo: Zoo,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    layout: Callable[[], tuple[Tensors, dict[str, object], dict[str, float]]],
) -> None:
    state, config, expected = layout()
    rows = analysed(zoo, capsys, tmp_path / "model", state, config)
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert {name: row["lambda_max"] for name, row in rows.items()} == pytest.approx(expected)


def svdquant() -> tuple[Tensors, dict[str, object], str]:
    name = "transformer_blocks.0.attn.to_qkv."
    return {
        f"{name}qweight": whole(-128, 127, 384, 64).to(torch.int8),
        f"{name}wscales": heavy(2, 384, seed=1).abs().bfloat16(),
        f"{name}smooth_factor": torch.ones(128).bfloat16(),
        f"{name}proj_down": heavy(128, 32, seed=2).bfloat16(),
        f"{name}proj_up": heavy(384, 32, seed=3).bfloat16(),
    }, {}, "SVDQuant"  # fmt: skip


def fp_quant() -> tuple[Tensors, dict[str, object], str]:
    name = f"{ATTN}q_proj."
    hadamard = torch.from_numpy(np.linalg.qr(heavy(32, 32, seed=4).numpy())[0]).bfloat16()
    return (
        {
            f"{name}qweight": whole(0, 255, 64, 32).to(torch.uint8),
            f"{name}scales": whole(118, 124, 64, 2).to(torch.uint8),
            f"{name}forward_hadamard_matrix": hadamard,
            f"{name}backward_hadamard_matrix": hadamard.clone(),
            f"{name}weight_global_scale": torch.ones(1),
        },
        {"quantization_config": {"quant_method": "fp_quant", "forward_dtype": "mxfp4"}},
        "fp_quant",
    )


def vptq() -> tuple[Tensors, dict[str, object], str]:
    name = f"{ATTN}q_proj."
    return (
        {
            f"{name}centroids.weight": heavy(1, 2048, seed=1).bfloat16(),
            f"{name}res_centroids.weight": heavy(1, 128, seed=2).bfloat16(),
            f"{name}indices": whole(0, 2**31 - 1, 1, 8, 32).int(),
            f"{name}weight_scale": torch.ones(64).bfloat16(),
            f"{name}perm": torch.arange(64),
        },
        {"quantization_config": {"quant_method": "vptq", "config_for_layers": {}}},
        "vptq",
    )


@pytest.mark.parametrize("layout", [svdquant, fp_quant, vptq])
def test_codes_nobody_decodes_leave_no_layer_measured(
    zoo: Zoo,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    layout: Callable[[], tuple[Tensors, dict[str, object], str]],
) -> None:
    state, config, name = layout()
    rows = analysed(zoo, capsys, tmp_path / "model", state, config)
    assert {row["status"] for row in rows.values()} == {"failed"}
    assert set(rows) == {tensor for tensor in state if state[tensor].ndim >= 2}
    assert all(name in str(row["reason"]) for row in rows.values())


def test_a_method_nobody_reads_leaves_embeddings_alone(
    zoo: Zoo, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    state = {
        f"{ATTN}q_proj.trellis": whole(-(2**15), 2**15 - 1, 8, 8, 64).to(torch.int16),
        f"{ATTN}q_proj.suh": torch.ones(128).half(), f"{ATTN}q_proj.svh": torch.ones(128).half(),
        "model.embed_tokens.weight": heavy(96, 128, seed=1).half(),
        f"{ATTN}o_proj.weight": heavy(128, 128, seed=2).half(),
    }  # fmt: skip
    config = {"quantization_config": {"quant_method": "exl3", "bits": 4.0}}
    rows = analysed(zoo, capsys, tmp_path / "model", state, config)
    status = {name: row["status"] for name, row in rows.items()}
    assert status.pop("model.embed_tokens.weight") == "ok"
    assert set(status.values()) == {"failed"}
    assert all("exl3" in str(rows[name]["reason"]) for name in status)
