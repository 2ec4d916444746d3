"""Layouts met in the field, through the real command line: parts, experts and roles with their values.

Each is a small input true to a public checkpoint's names and shapes, made here from seeds. What it must
give is the float64 SVD of the matrices that it was put together from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from safetensors.torch import save_file

from tests.conftest import Zoo
from tests.test_field_codes import heavy, top

Tensors = dict[str, torch.Tensor]
Rows = dict[tuple[str, int | None], float | None]
"""Largest eigenvalue by role and expert; None: any."""
SCALES = ((1, 0.01), (2, 0.05), (3, 0.25))


def three(width: int) -> list[torch.Tensor]:
    """Query, key and value of very different size, so that a wrong cut shows."""
    return [heavy(width, width, seed=seed, scale=scale) for seed, scale in SCALES]


def by_heads(*parts: torch.Tensor, heads: int) -> torch.Tensor:
    """For each head the rows of every part."""
    cut = [part.view(heads, -1, part.shape[1]) for part in parts]
    return torch.cat(cut, dim=1).reshape(-1, parts[0].shape[1])


def qwen_vl() -> tuple[Tensors, dict[str, object], Rows]:
    q, k, v = three(96)
    block = "transformer.visual.transformer.resblocks.0.attn."
    state = {
        f"{block}in_proj.weight": by_heads(q, k, v, heads=4),
        f"{block}out_proj.weight": heavy(96, 96, seed=4),
    }
    config = {"model_type": "qwen", "num_attention_heads": 8, "hidden_size": 128,
              "visual": {"width": 96, "heads": 4, "layers": 1}}  # fmt: skip
    return (
        state,
        config,
        {("q", None): top(q), ("k", None): top(k), ("v", None): top(v), ("o", None): None},
    )


def deberta() -> tuple[Tensors, dict[str, object], Rows]:
    q, k, v = three(96)
    block = "deberta.encoder.layer.0.attention.self."
    state = {
        f"{block}in_proj.weight": by_heads(q, k, v, heads=4),
        f"{block}pos_proj.weight": heavy(96, 96, seed=4),
    }
    config = {"model_type": "deberta", "num_attention_heads": 4, "hidden_size": 96}
    return state, config, {
        ("q", None): top(q), ("k", None): top(k), ("v", None): top(v), ("relative_position", None): None,
    }  # fmt: skip


def xlnet() -> tuple[Tensors, dict[str, object], Rows]:
    q, o = heavy(96, 4, 24, seed=0), heavy(96, 4, 24, seed=1)
    block = "transformer.layer.0."
    state = {f"{block}rel_attn.q": q, f"{block}rel_attn.o": o, f"{block}rel_attn.r_w_bias": heavy(4, 24, seed=2),
             f"{block}ff.layer_1.weight": heavy(192, 96, seed=3)}  # fmt: skip
    config = {"model_type": "xlnet", "d_model": 96, "n_head": 4, "d_head": 24}
    return state, config, {
        ("q", None): top(q.reshape(96, 96)), ("o", None): top(o.reshape(96, 96)), ("mlp_in", None): None,
    }  # fmt: skip


def qwen3_next() -> tuple[Tensors, dict[str, object], Rows]:
    q, k = heavy(32, 64, seed=1, scale=0.01), heavy(32, 64, seed=2)
    v, z = heavy(64, 64, seed=3, scale=0.25), heavy(64, 64, seed=4, scale=0.5)
    query, gate = heavy(64, 64, seed=5, scale=0.1), heavy(64, 64, seed=6, scale=0.9)
    state = {
        "model.layers.0.linear_attn.in_proj_qkvz.weight": by_heads(q, k, v, z, heads=2),
        "model.layers.0.linear_attn.conv1d.weight": heavy(128, 1, 4, seed=7),
        "model.layers.3.self_attn.q_proj.weight": by_heads(query, gate, heads=2),
    }
    config = {"model_type": "qwen3_next", "hidden_size": 64, "num_attention_heads": 2, "head_dim": 32,
              "num_key_value_heads": 1, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
              "linear_key_head_dim": 16, "linear_value_head_dim": 16}  # fmt: skip
    return state, config, {
        ("q", 0): top(q), ("k", 0): top(k), ("v", 0): top(v), ("attn_gate", 0): top(z),
        ("ssm_conv", 0): None, ("q", 3): top(query), ("attn_gate", 3): top(gate),
    }  # fmt: skip


def unsloth_gpt_oss() -> tuple[Tensors, dict[str, object], Rows]:
    state, rows = {}, {}
    for expert in range(2):
        gate, up = heavy(48, 64, seed=expert), heavy(48, 64, seed=9 + expert, scale=0.3)
        both = torch.stack([gate, up], dim=1).reshape(96, 64)
        state[f"model.layers.0.mlp.experts.gate_up_projs.{expert}.weight"] = both
        state[f"model.layers.0.mlp.experts.gate_up_projs.{expert}.bias"] = torch.zeros(96)
        down = heavy(64, 48, seed=20 + expert)
        state[f"model.layers.0.mlp.experts.down_projs.{expert}.weight"] = down
        rows |= {("gate", expert): top(gate), ("up", expert): top(up), ("down", expert): top(down)}
    return state, {"model_type": "gpt_oss", "num_local_experts": 2}, rows


def convnext_v2() -> tuple[Tensors, dict[str, object], Rows]:
    block = "convnextv2.encoder.stages.0.layers.0."
    first = heavy(128, 32, seed=1)
    state = {f"{block}dwconv.weight": heavy(32, 1, 7, 7, seed=0), f"{block}pwconv1.weight": first,
             f"{block}grn.weight": heavy(1, 1, 1, 128, seed=2, scale=1), f"{block}grn.bias": torch.ones(1, 1, 1, 128),
             f"{block}pwconv2.weight": heavy(32, 128, seed=4)}  # fmt: skip
    return state, {"model_type": "convnextv2"}, {
        ("conv", None): None, ("mlp_in", None): top(first), ("mlp_out", None): None,
    }  # fmt: skip


def rwkv7() -> tuple[Tensors, dict[str, object], Rows]:
    receptance = heavy(64, 64, seed=8)
    state = {"blocks.0.att.x_r": heavy(1, 1, 64, seed=3), "blocks.0.att.w0": heavy(1, 1, 64, seed=4),
             "blocks.0.att.r_k": heavy(2, 32, seed=7), "blocks.0.att.receptance.weight": receptance,
             "blocks.0.ffn.key.weight": heavy(256, 64, seed=10), "blocks.0.att.w1": heavy(64, 32, seed=5)}  # fmt: skip
    return state, {}, {("r", None): top(receptance), ("mlp_in", None): None, ("decay", None): None}


def phi4mm_base() -> tuple[Tensors, dict[str, object], Rows]:
    q, k, v = heavy(96, 96, seed=1), heavy(32, 96, seed=2), heavy(32, 96, seed=3)
    gate, up, down = heavy(192, 96, seed=4), heavy(192, 96, seed=5), heavy(96, 192, seed=6)
    layer = "model.layers.0."
    state = {f"{layer}self_attn.qkv_proj.base_layer.weight": torch.cat([q, k, v]),
             f"{layer}mlp.gate_up_proj.base_layer.weight": torch.cat([gate, up]),
             f"{layer}mlp.down_proj.base_layer.weight": down}  # fmt: skip
    config = {"model_type": "phi4mm", "hidden_size": 96, "num_attention_heads": 6,
              "num_key_value_heads": 2, "intermediate_size": 192}  # fmt: skip
    return state, config, {
        ("q", None): top(q), ("k", None): top(k), ("v", None): top(v), ("gate", None): top(gate),
        ("up", None): top(up), ("down", None): top(down),
    }  # fmt: skip


def key(row: Mapping[str, object], by_block: bool) -> tuple[object, object]:
    return row["role"], row["block"] if by_block else row["expert"]


@pytest.mark.parametrize(
    "case",
    [qwen_vl, deberta, xlnet, qwen3_next, unsloth_gpt_oss, convnext_v2, rwkv7, phi4mm_base],
    ids=lambda case: case.__name__,
)
def test_a_layout_of_the_field_gives_the_spectra_of_its_matrices(
    case: Callable[[], tuple[Tensors, dict[str, object], Rows]],
    zoo: Zoo,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    state, config, expected = case()
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({n: t.contiguous() for n, t in state.items()}, tmp_path / "model.safetensors")
    zoo("analyze", tmp_path, "--format", "json", "--metrics", "tail")
    rows = json.loads(capsys.readouterr().out)
    measured = {key(row, case is qwen3_next): row["lambda_max"] for row in rows}
    assert measured.keys() == expected.keys()
    assert len(rows) == len(expected)
    for row, value in expected.items():
        assert value is None or measured[row] == pytest.approx(value, rel=1e-5)


def test_gate_and_up_that_llama_cpp_keeps_in_one_stack(
    zoo: Zoo, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    gate, up = heavy(2, 64, 64, seed=1), heavy(2, 64, 64, seed=2, scale=0.3)
    writer = GGUFWriter(tmp_path / "m.gguf", "qwen3moe")
    writer.add_uint32("qwen3moe.expert_count", 2)
    both = np.concatenate([gate.numpy(), up.numpy()], axis=1)
    writer.add_tensor("blk.0.ffn_gate_up_exps.weight", both)
    writer.add_tensor("blk.0.ffn_down_exps.weight", heavy(2, 64, 64, seed=3).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    zoo("analyze", tmp_path, "--format", "json", "--metrics", "tail")
    rows = {(r["role"], r["expert"]): r["lambda_max"] for r in json.loads(capsys.readouterr().out)}
    assert len(rows) == 6
    for expert in range(2):
        assert rows["gate", expert] == pytest.approx(top(gate[expert]), rel=1e-5)
        assert rows["up", expert] == pytest.approx(top(up[expert]), rel=1e-5)


def test_tensors_of_odd_types_are_rows_with_a_reason_and_empty_ones_are_skipped(
    zoo: Zoo, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plain = heavy(64, 64, seed=5)
    save_file(
        {
            "a.weight": torch.zeros(0, 64), "b.weight": plain, "m.weight": torch.ones(32, 32).long(),
            "fft.filter": torch.complex(heavy(32, 32, seed=1), heavy(32, 32, seed=2)),
            "video.patch_embed.proj.weight": heavy(48, 32, 2, 4, 4, seed=3),
        },
        tmp_path / "model.safetensors",
    )  # fmt: skip
    assert zoo("analyze", tmp_path, "--format", "json", "--metrics", "tail") == 1
    rows = {row["tensor"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["b.weight"]["lambda_max"] == pytest.approx(top(plain), rel=1e-5)
    assert rows["a.weight"]["status"] == "skipped"
    assert rows["video.patch_embed.proj.weight"]["receptive_field"] == 32
    assert "C64" in rows["fft.filter"]["reason"]
    assert "I64" in rows["m.weight"]["reason"]
