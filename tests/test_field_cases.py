"""Layouts met in the field, one by one through the real command line: values, exit code and words.

Whole folders: files beside files, adapters of every writer, codes of every kind. What a case must
give is computed here in float64 from the matrices that it was made of. Layouts of single fused
tensors are in `test_field_layouts.py`, codes in `test_field_codes.py`, indexes, pointers and GGUF
files in `test_every_file.py`, states of one model in `test_states.py`.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, quants
from safetensors.torch import save_file

from tests.conftest import Zoo
from tests.test_field_codes import heavy, top, whole

Tensors = dict[str, torch.Tensor]
Row = str | tuple[str, str | None] | tuple[str, str | None, int]
LLAMA = {
    "model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 128, "num_hidden_layers": 1, "vocab_size": 96,
}  # fmt: skip
SHAPES = {
    "self_attn.q_proj": (64, 64), "self_attn.k_proj": (32, 64), "self_attn.v_proj": (32, 64),
    "self_attn.o_proj": (64, 64), "mlp.gate_proj": (128, 64), "mlp.up_proj": (128, 64),
    "mlp.down_proj": (64, 128),
}  # fmt: skip


@dataclass(frozen=True)
class Expected:
    """What a case must give."""

    values: Mapping[Row, float] = field(default_factory=dict)
    """Largest eigenvalue of every measured row: by tensor, (tensor, part) or (tensor, part, expert)."""
    code: int = 0
    said: tuple[str, ...] = ()
    """Words on standard error."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Words in the reason of each row that failed or was skipped, by tensor."""


def llama(seed: int = 0, prefix: str = "model.") -> Tensors:
    """A llama of one block in bfloat16."""
    state = {
        f"{prefix}embed_tokens.weight": heavy(96, 64, seed=seed),
        "lm_head.weight": heavy(96, 64, seed=seed + 1),
        f"{prefix}norm.weight": torch.ones(64),
    }
    for index, (name, shape) in enumerate(SHAPES.items()):
        state[f"{prefix}layers.0.{name}.weight"] = heavy(*shape, seed=seed + 10 + index)
    return {name: tensor.bfloat16() for name, tensor in state.items()}


def tops(state: Tensors) -> dict[Row, float]:
    return {name: top(tensor) for name, tensor in state.items() if tensor.ndim == 2}


def put(folder: Path, name: str, content: object) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def save(folder: Path, name: str, state: Tensors) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    save_file({n: tensor.contiguous() for n, tensor in state.items()}, folder / name)


def pickled(folder: Path, name: str, content: object) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, folder / name)


def pair(rows: int, cols: int, rank: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Thin factors A [rank, cols] and B [rows, rank]."""
    return heavy(rank, cols, seed=seed), heavy(rows, rank, seed=seed + 1)


def phi4_multimodal(folder: Path) -> Expected:
    """LoRA inside the model file; rank and alpha of each adapter in config.json."""
    put(folder, "config.json", {
        "model_type": "phi4mm", "hidden_size": 96, "num_attention_heads": 6, "num_key_value_heads": 2,
        "speech_lora": {"r": 40, "lora_alpha": 80}, "vision_lora": {"r": 32, "lora_alpha": 64},
    })  # fmt: skip
    module = "model.layers.0.mlp.down_proj"
    base, state, values = heavy(96, 192, seed=0), {}, {}
    state[f"{module}.base_layer.weight"] = base
    values[f"{module}.weight"] = top(base)
    for name, rank in (("speech", 40), ("vision", 32)):
        a, b = pair(96, 192, rank, seed=rank)
        state |= {f"{module}.lora_A.{name}.weight": a, f"{module}.lora_B.{name}.weight": b}
        values[f"{module}.lora.{name}"] = top(2 * b.double() @ a.double())
    save(folder, "model.safetensors", state)
    return Expected(values)


def xlabs(folder: Path) -> Expected:
    """FLUX adapters of XLabs: two numbered pairs in one processor."""
    state: Tensors = {}
    values: dict[Row, float] = {}
    for seed, (name, rows) in enumerate({"qkv_lora1": 96, "proj_lora2": 32}.items()):
        a, b = pair(rows, 32, 24, seed=10 * seed)
        stem = f"double_blocks.0.processor.{name}"
        state |= {f"{stem}.down.weight": a, f"{stem}.up.weight": b}
        module = name.replace("_lora", "")
        values[f"double_blocks.0.{module}.lora"] = top(b.double() @ a.double())
    save(folder, "lora.safetensors", state)
    return Expected(values)


def old_diffusers_lora(folder: Path) -> Expected:
    """pytorch_lora_weights of diffusers 0.17 to 0.22 with a trained text encoder."""
    unet = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1"
    text = "text_encoder.text_model.encoder.layers.0.self_attn"
    a, b = pair(64, 64, 24, seed=1)
    c, d = pair(48, 48, 24, seed=3)
    save(folder, "pytorch_lora_weights.safetensors", {
        f"{unet}.processor.to_q_lora.down.weight": a, f"{unet}.processor.to_q_lora.up.weight": b,
        f"{text}.q_proj.lora_linear_layer.down.weight": c,
        f"{text}.q_proj.lora_linear_layer.up.weight": d,
    })  # fmt: skip
    return Expected({
        f"{unet}.to_q.lora": top(b.double() @ a.double()),
        f"{text}.q_proj.lora": top(d.double() @ c.double()),
    })  # fmt: skip


def peft_miss(folder: Path) -> Expected:
    """An adapter of a kind that nobody decodes."""
    put(folder, "adapter_config.json", {"peft_type": "MISS", "r": 24, "mini_r": 1})
    name = "base_model.model.model.layers.0.self_attn.q_proj.miss_block"
    save(folder, "adapter_model.safetensors", {name: heavy(24, 64, seed=0)})
    return Expected(code=1, reasons={name: "MISS"})


def adapter_beside(folder: Path) -> Expected:
    """A model with an adapter of it in the same folder."""
    state = llama()
    put(folder, "config.json", LLAMA)
    save(folder, "model.safetensors", state)
    put(folder, "adapter_config.json", {"peft_type": "LORA", "r": 8, "lora_alpha": 16})
    a, b = pair(64, 64, 8, seed=1)
    stem = "base_model.model.model.layers.0.self_attn.q_proj"
    save(
        folder,
        "adapter_model.safetensors",
        {f"{stem}.lora_A.weight": a, f"{stem}.lora_B.weight": b},
    )
    return Expected(tops(state), said=("adapter_model.safetensors",))


def exl3(folder: Path) -> Expected:
    """Codes of a format nobody decodes, beside a plain embedding."""
    put(folder, "config.json", {**LLAMA, "quantization_config": {"quant_method": "exl3"}})
    stem = "model.layers.0.self_attn.q_proj"
    table = heavy(96, 128, seed=1)
    save(folder, "model.safetensors", {
        f"{stem}.trellis": whole(-(2**15), 2**15 - 1, 8, 8, 64).to(torch.int16),
        f"{stem}.suh": torch.ones(128).half(), f"{stem}.svh": torch.ones(128).half(),
        "model.embed_tokens.weight": table,
    })  # fmt: skip
    values: dict[Row, float] = {"model.embed_tokens.weight": top(table)}
    return Expected(values, 1, reasons={f"{stem}.trellis": "exl3"})


def gpt_oss_bf16(folder: Path) -> Expected:
    """Experts stacked [experts, in, out], gate and up interleaved."""
    put(folder, "config.json", {
        "model_type": "gpt_oss", "hidden_size": 64, "intermediate_size": 64, "num_local_experts": 2,
    })  # fmt: skip
    both, down = heavy(2, 64, 128, seed=1).bfloat16(), heavy(2, 64, 64, seed=2).bfloat16()
    stem = "model.layers.0.mlp.experts"
    save(folder, "model.safetensors", {
        f"{stem}.gate_up_proj": both, f"{stem}.gate_up_proj_bias": torch.zeros(2, 128).bfloat16(),
        f"{stem}.down_proj": down, f"{stem}.down_proj_bias": torch.zeros(2, 64).bfloat16(),
    })  # fmt: skip
    values: dict[Row, float] = {}
    for expert in range(2):
        values[f"{stem}.gate_up_proj", "gate", expert] = top(both[expert, :, 0::2])
        values[f"{stem}.gate_up_proj", "up", expert] = top(both[expert, :, 1::2])
        values[f"{stem}.down_proj", None, expert] = top(down[expert])
    return Expected(values)


def kimi_int4(folder: Path) -> Expected:
    """Four-bit codes of compressed-tensors, an expert a module."""
    put(folder, "config.json", {
        "model_type": "kimi_k2", "hidden_size": 128, "n_routed_experts": 2,
        "quantization_config": {
            "quant_method": "compressed-tensors", "format": "pack-quantized",
            "config_groups": {"group_0": {
                "targets": ["Linear"],
                "weights": {"num_bits": 4, "group_size": 32, "strategy": "group",
                            "symmetric": True, "type": "int"},
            }},
        },
    })  # fmt: skip
    state: Tensors = {}
    values: dict[Row, float] = {}
    for expert in range(2):
        codes = whole(0, 16, 64, 128, seed=expert)
        scale = heavy(64, 4, seed=expert).abs().bfloat16()
        packed = torch.zeros(64, 16, dtype=torch.int64)
        for place in range(8):
            packed |= codes[:, place::8] << (4 * place)
        stem = f"model.layers.1.mlp.experts.{expert}.gate_proj"
        state |= {
            f"{stem}.weight_packed": torch.where(packed >= 2**31, packed - 2**32, packed).int(),
            f"{stem}.weight_scale": scale, f"{stem}.weight_shape": torch.tensor([64, 128]).int(),
        }  # fmt: skip
        weight = (codes - 8).double() * scale.double().repeat_interleave(32, 1)
        values[f"{stem}.weight", None, expert] = top(weight)
    save(folder, "model.safetensors", state)
    return Expected(values)


def modelopt_mixed(folder: Path) -> Expected:
    """FP8 here, plain floats there, and codes whose method the file of settings does not name."""
    block = "model.layers.0."
    put(folder, "config.json", LLAMA)
    put(folder, "hf_quant_config.json", {"quantization": {
        "quant_algo": "MIXED_PRECISION",
        "quantized_layers": {f"{block}self_attn.q_proj": {"quant_algo": "FP8"}},
    }})  # fmt: skip
    q, k = heavy(64, 64, seed=1, scale=30).to(torch.float8_e4m3fn), heavy(32, 64, seed=2)
    save(folder, "model.safetensors", {
        f"{block}self_attn.q_proj.weight": q,
        f"{block}self_attn.q_proj.weight_scale": torch.tensor(0.01),
        f"{block}self_attn.k_proj.weight": k,
        f"{block}mlp.up_proj.weight": whole(0, 255, 64, 64).to(torch.uint8),
        f"{block}mlp.up_proj.weight_scale": heavy(128, 1, seed=5).abs(),
    })  # fmt: skip
    values: dict[Row, float] = {
        f"{block}self_attn.q_proj.weight": top(0.01 * q.double()),
        f"{block}self_attn.k_proj.weight": top(k),
    }
    reasons = {f"{block}mlp.up_proj.weight": "no decoder knows U8",
               f"{block}mlp.up_proj.weight_scale": "fits no weight"}  # fmt: skip
    return Expected(values, 1, reasons=reasons)


def namespace_beside_weights(folder: Path) -> Expected:
    """A DiT checkpoint: weights, the same as EMA, options as argparse.Namespace."""
    state = {"blocks.0.attn.proj.weight": heavy(64, 64, seed=1)}
    content = {"model": state, "ema": state, "opt": {}, "args": argparse.Namespace(lr=1e-4)}
    pickled(folder, "0400000.pt", content)
    return Expected(tops(state))


def stream_beside_weights(folder: Path) -> Expected:
    """TransformerEngine keeps io.BytesIO beside its weights."""
    weight = heavy(64, 64, seed=2)
    pickled(folder, "evo2_7b.pt", {
        "blocks.0.out_filter_dense.weight": weight,
        "blocks.0.projections._extra_state": io.BytesIO(b"x" * 32),
    })  # fmt: skip
    return Expected({"blocks.0.out_filter_dense.weight": top(weight)})


def split_gguf(folder: Path) -> Expected:
    """One model in three GGUF files, quantised to eight bits."""
    kind = GGMLQuantizationType.Q8_0
    values: dict[Row, float] = {}
    shapes = {"token_embd": (96, 64), "blk.0.attn_q": (64, 64), "blk.0.ffn_down": (64, 128)}
    for index, (name, shape) in enumerate(shapes.items()):
        codes = quants.quantize(heavy(*shape, seed=index).numpy(), kind)
        writer = GGUFWriter(folder / f"Big-Q8_0-0000{index + 1}-of-00003.gguf", "llama")
        for key, number in (("split.no", index), ("split.count", 3), ("split.tensors.count", 3)):
            writer.add_uint16(key, number)
        writer.add_tensor(f"{name}.weight", codes, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        values[f"{name}.weight"] = top(torch.from_numpy(quants.dequantize(codes, kind)))
    return Expected(values)


def kitchen_sink(folder: Path) -> Expected:
    """A model beside everything that people push beside a model."""
    state = llama()
    put(folder, "config.json", LLAMA)
    save(folder, "model.safetensors", state)
    beside = {
        "model.fp16.safetensors": {n: tensor.half() for n, tensor in state.items()},
        "consolidated.safetensors": llama(50, prefix=""),
        "checkpoint-500/model.safetensors": llama(60),
    }
    for name, tensors in beside.items():
        save(folder, name, tensors)
    pickled(folder, "original/consolidated.00.pth", llama(70))
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"x" * 99)
    training = ("optimizer.pt", "training_args.bin", "rng_state.pth", "scheduler.pt")
    for name in training:
        pickled(folder, name, {"a": heavy(64, 64, seed=1)})
    said = (*beside, "original/consolidated.00.pth", "onnx/model.onnx", *training)
    return Expected(tops(state), said=said)


CASES = (
    phi4_multimodal, xlabs, old_diffusers_lora, peft_miss, adapter_beside, exl3, gpt_oss_bf16,
    kimi_int4, modelopt_mixed, namespace_beside_weights, stream_beside_weights, split_gguf,
    kitchen_sink,
)  # fmt: skip


def value_of(values: Mapping[Row, float], row: Mapping[str, object]) -> float | None:
    """What was expected of a row: by tensor, part and expert, or by tensor alone."""
    tensor, part, expert = str(row["tensor"]), row["part"], row["expert"]
    keys: tuple[object, ...] = ((tensor, part, expert), (tensor, part), tensor)
    return next((values[key] for key in keys if key in values), None)  # type: ignore[index]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_layout_of_the_field_is_right_or_named(
    case: Callable[[Path], Expected],
    zoo: Zoo,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "модель ü [v2] (copy)"  # no name of a folder may matter
    folder.mkdir()
    expected = case(folder)
    code = zoo("analyze", folder, "--format", "json", "--metrics", "tail", "--shuffle", "none")
    out, err = capsys.readouterr()
    rows = json.loads(out or "[]")
    measured = [row for row in rows if row["status"] == "ok"]
    assert code == expected.code, err
    assert len(measured) == len(expected.values)
    for row in measured:
        assert row["lambda_max"] == pytest.approx(value_of(expected.values, row), rel=1e-5)
    assert all(words in err for words in (folder.name, *expected.said)), err
    others = {row["tensor"]: row["reason"] for row in rows if row["status"] == "failed"}
    assert others.keys() == expected.reasons.keys()
    assert all(words in others[tensor] for tensor, words in expected.reasons.items())
