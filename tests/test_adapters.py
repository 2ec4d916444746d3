"""Adapters of every writer: recognised by their factors and their settings, never by a list."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from zoo.formats.account import account
from zoo.io.local import LocalLocation
from zoo.io.opening import open_checkpoint
from zoo.layers.spec import Taken
from zoo.layers.take import take
from zoo.options import LayerSelection

Tensors = dict[str, torch.Tensor]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def measured(
    folder: Path,
    tensors: Mapping[str, torch.Tensor],
    configs: Mapping[str, object] | None = None,
    header: dict[str, str] | None = None,
) -> tuple[Taken, Tensors]:
    """What is taken of the tensors stored as one file, and the values of what is measured."""
    for name, config in (configs or {}).items():
        (folder / name).write_text(json.dumps(config))
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(whole, folder / "adapters.safetensors", metadata=header)
    with open_checkpoint(LocalLocation(str(folder)).open()) as checkpoint:
        taken = take(checkpoint, account(checkpoint), LayerSelection())
        return taken, {
            spec.tensor: spec.matrices(spec.weight.load(checkpoint))[0]
            for spec in taken.specs
            if spec.weight is not None and spec.is_measurable
        }


@pytest.mark.parametrize(
    ("first", "second", "module", "role"),
    [
        ("m.0.to_q.lora_A.weight", "m.0.to_q.lora_B.weight", "m.0.to_q", "q"),
        ("m.0.to_q.lora_a", "m.0.to_q.lora_b", "m.0.to_q", "q"),
        ("m.0.to_q.loraA.weight", "m.0.to_q.loraB.weight", "m.0.to_q", "q"),
        ("m.attn1.processor.to_q_lora.down.weight", "m.attn1.processor.to_q_lora.up.weight",
         "m.attn1.to_q", "q"),
        ("double_blocks.3.processor.qkv_lora1.down.weight",
         "double_blocks.3.processor.qkv_lora1.up.weight", "double_blocks.3.qkv1", "qkv"),
        ("text_encoder.self_attn.q_proj.lora_linear_layer.down.weight",
         "text_encoder.self_attn.q_proj.lora_linear_layer.up.weight",
         "text_encoder.self_attn.q_proj", "q"),
        ("lora_unet_down_blocks_0_proj_in.lora_down.weight",
         "lora_unet_down_blocks_0_proj_in.lora_up.weight",
         "lora_unet_down_blocks_0_proj_in", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_flipped", [False, True])
def test_a_pair_of_thin_factors_is_one_update_whoever_wrote_it(
    first: str, second: str, module: str, role: str | None, is_flipped: bool, tmp_path: Path
) -> None:
    a, b = normal(4, 32), normal(32, 4, seed=1)
    stored = {first: a.T, second: b.T} if is_flipped else {first: a, second: b}
    taken, values = measured(tmp_path, stored)
    assert list(values) == [f"{module}.lora"]
    torch.testing.assert_close(values[f"{module}.lora"], b @ a)
    assert sorted(entry.fate for entry in taken.entries) == ["analysed", "companion"]
    assert role in (None, taken.specs[0].role)


@pytest.mark.parametrize(
    ("parameters", "scale"),
    [
        ({"rank": 4, "scale": 20.0}, 20.0),
        ({"rank": 4, "scale": 10.0, "alpha": 16}, 40.0),
    ],
)
def test_mlx_says_the_scale_itself(
    parameters: dict[str, float], scale: float, tmp_path: Path
) -> None:
    a, b = normal(32, 4), normal(4, 24, seed=1)
    config = {"fine_tune_type": "lora", "lora_parameters": parameters}
    stored = {"model.layers.0.q_proj.lora_a": a, "model.layers.0.q_proj.lora_b": b}
    _, values = measured(tmp_path, stored, {"adapter_config.json": config})
    torch.testing.assert_close(values["model.layers.0.q_proj.lora"], scale * (a @ b).T)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"rank": 8, "scale": 1.0}, "factors of rank 4, adapter_config.json says 8"),
        ({"rank": 4}, "scale in adapter_config.json is None, wanted a number"),
    ],
)
def test_mlx_settings_that_do_not_fit_fail(
    parameters: dict[str, float], reason: str, tmp_path: Path
) -> None:
    stored = {"l.0.q_proj.lora_a": normal(32, 4), "l.0.q_proj.lora_b": normal(4, 24)}
    taken, values = measured(
        tmp_path, stored, {"adapter_config.json": {"lora_parameters": parameters}}
    )
    assert not values
    assert reason in (taken.specs[0].fail_reason or "")


def inside_a_model(num: int) -> Tensors:
    base = "model.layers.0.mlp.down_proj."
    stored = {f"{base}base_layer.weight": normal(24, 32)}
    for i, name in enumerate(("speech", "vision")[:num]):
        stored[f"{base}lora_A.{name}.weight"] = normal(4, 32, seed=10 + i)
        stored[f"{base}lora_B.{name}.weight"] = normal(24, 4, seed=20 + i)
    return stored


def test_adapters_inside_a_model_take_rank_and_alpha_from_its_config(tmp_path: Path) -> None:
    stored = inside_a_model(2)
    config = {"speech_lora": {"r": 4, "lora_alpha": 8}, "vision_lora": {"r": 4, "lora_alpha": 2}}
    taken, values = measured(tmp_path, stored, {"config.json": config})
    base = "model.layers.0.mlp.down_proj"
    assert torch.equal(values[f"{base}.weight"], stored[f"{base}.base_layer.weight"])
    for name, scale in (("speech", 2.0), ("vision", 0.5)):
        product = stored[f"{base}.lora_B.{name}.weight"] @ stored[f"{base}.lora_A.{name}.weight"]
        torch.testing.assert_close(values[f"{base}.lora.{name}"], scale * product)
    assert {spec.role for spec in taken.specs} == {"mlp_out"}


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"vision_lora": {"r": 4, "lora_alpha": 2}, "x_lora": {"r": 4, "lora_alpha": 2}},
         "gives alpha for vision_lora, x_lora, not for 'speech'"),
        ({"speech_lora": {"r": 8, "lora_alpha": 2}},
         "factors of rank 4, config.json says rank 8 alpha 2 (speech_lora)"),
    ],
)  # fmt: skip
def test_settings_of_another_adapter_are_not_taken(
    config: Mapping[str, object], reason: str, tmp_path: Path
) -> None:
    taken, values = measured(tmp_path, inside_a_model(1), {"config.json": config})
    assert list(values) == ["model.layers.0.mlp.down_proj.weight"]
    assert reason in (taken.specs[-1].fail_reason or "")


def test_the_header_that_kohya_writes_gives_alpha_where_no_tensor_does(tmp_path: Path) -> None:
    a, b = normal(4, 32), normal(24, 4, seed=1)
    name = "lora_unet_mid_block_attentions_0_to_q"
    stored = {f"{name}.lora_down.weight": a, f"{name}.lora_up.weight": b}
    header = {"ss_network_dim": "4", "ss_network_alpha": "2.0"}
    _, values = measured(tmp_path, stored, header=header)
    torch.testing.assert_close(values[f"{name}.lora"], 0.5 * (b @ a))


def test_alpha_lies_beside_factors_of_any_name(tmp_path: Path) -> None:
    a, b = normal(4, 32), normal(24, 4, seed=1)
    stored = {"m.to_q_lora.down.weight": a, "m.to_q_lora.up.weight": b,
              "m.to_q_lora.alpha": torch.tensor(2.0)}  # fmt: skip
    _, values = measured(tmp_path, stored)
    torch.testing.assert_close(values["m.to_q.lora"], 0.5 * (b @ a))


def test_a_scale_that_nothing_defines_fails(tmp_path: Path) -> None:
    stored = {"m.q.lora_A.weight": normal(4, 32), "m.q.lora_B.weight": normal(24, 4),
              "m.q.scale": torch.tensor(2.0)}  # fmt: skip
    taken, values = measured(tmp_path, stored)
    assert not values
    assert "'m.q.scale' scales the update" in (taken.specs[0].fail_reason or "")


@pytest.mark.parametrize(
    ("peft_type", "leaf"),
    [("MISS", "miss_block"), ("BONE", "bone"), ("FOURIERFT", "spectrum"), ("LORA", "extra")],
)
def test_no_plain_matrix_of_an_adapter_is_a_weight(
    peft_type: str, leaf: str, tmp_path: Path
) -> None:
    config = {"peft_type": peft_type, "r": 4, "lora_alpha": 4, "modules_to_save": ["score"]}
    wrapped = "base_model.model.model."
    stored = {
        f"{wrapped}layers.0.q_proj.{leaf}": normal(24, 32),
        "base_model.model.score.weight": normal(24, 32),
        f"{wrapped}embed_tokens.weight": normal(24, 32),
    }
    taken, values = measured(tmp_path, stored, {"adapter_config.json": config})
    assert sorted(values) == ["base_model.model.model.embed_tokens.weight",
                              "base_model.model.score.weight"]  # fmt: skip
    (failed,) = (spec.fail_reason for spec in taken.specs if spec.fail_reason)
    assert failed.startswith("adapter: ")


def test_a_model_beside_its_adapter_stays_a_model(tmp_path: Path) -> None:
    configs = {"config.json": {"model_type": "llama"}, "adapter_config.json": {"peft_type": "LORA"}}
    _, values = measured(tmp_path, {"model.layers.0.q_proj.weight": normal(24, 32)}, configs)
    assert list(values) == ["model.layers.0.q_proj.weight"]


def test_low_rank_weights_of_a_model_are_no_adapter(tmp_path: Path) -> None:
    stored = {"m.0.attn.w_lora.lora.0.weight": normal(4, 32),
              "m.0.attn.w_lora.lora.2.weight": normal(32, 4)}  # fmt: skip
    _, values = measured(tmp_path, stored)
    assert sorted(values) == sorted(stored)
