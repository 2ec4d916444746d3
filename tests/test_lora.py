"""LoRA updates against a float64 product written out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from zoo.formats.account import account
from zoo.io.checkpoint import Checkpoint
from zoo.io.local import LocalLocation
from zoo.io.opening import open_checkpoint
from zoo.layers.lora import LowRank
from zoo.layers.spec import LayerSpec, Taken
from zoo.layers.take import take, take_layers
from zoo.options import LayerSelection

Q = "base_model.model.model.layers.3.self_attn.q_proj"


def factors(rank: int = 4, rows: int = 24, cols: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(rank, cols, generator=generator)
    return a, torch.randn(rows, rank, generator=generator)


def opened(folder: Path, tensors: Mapping[str, torch.Tensor]) -> Checkpoint:
    save_file({n: t.contiguous() for n, t in tensors.items()}, folder / "adapter_model.safetensors")
    return open_checkpoint(LocalLocation(str(folder)).open())


def taken(checkpoint: Checkpoint, adapter: Mapping[str, object] | None) -> Taken:
    adapters = {} if adapter is None else {"": adapter}
    return take_layers(account(checkpoint), {}, LayerSelection(), adapters=adapters)


def update(spec: LayerSpec, checkpoint: Checkpoint) -> torch.Tensor:
    assert spec.weight is not None
    return spec.matrices(spec.weight.load(checkpoint))[0]


@pytest.mark.parametrize(
    ("adapter", "scale"),
    [
        ({"lora_alpha": 8, "r": 4}, 2.0),
        ({"lora_alpha": 8, "r": 4, "use_rslora": True}, 4.0),
        ({"lora_alpha": 8, "r": 4, "alpha_pattern": {"q_proj": 2}}, 0.5),
        ({"lora_alpha": 8, "r": 4, "alpha_pattern": {"v_proj": 2, "(": 1}}, 2.0),
        ({"lora_alpha": 8, "alpha_pattern": {r"^model\.layers\.3\..*": 2}}, 0.5),
        ({"lora_alpha": 8, "alpha_pattern": {"proj": 2, "layer.3.self_attn.q_proj": 2}}, 2.0),
        ({"lora_alpha": 8, "r": 16, "rank_pattern": {"q_proj": 4}}, 2.0),
    ],
    ids=["alpha over r", "rslora", "pattern", "other pattern", "anchored", "no whole word", "rank"],
)
def test_the_update_is_scaled_by_the_adapter_config(
    adapter: Mapping[str, object], scale: float, tmp_path: Path
) -> None:
    a, b = factors()
    with opened(tmp_path, {f"{Q}.lora_A.weight": a, f"{Q}.lora_B.weight": b}) as checkpoint:
        (spec,) = taken(checkpoint, adapter).specs
        found = update(spec, checkpoint)
    assert (spec.tensor, spec.role, spec.block) == (f"{Q}.lora", "q", 3)
    assert (spec.rows, spec.cols) == (24, 16)
    torch.testing.assert_close(found, (scale * (b.double() @ a.double())).float())


def test_rows_of_the_update_equal_the_whole(tmp_path: Path) -> None:
    a, b = factors(rows=3000)
    with opened(tmp_path, {f"{Q}.lora_A.weight": a, f"{Q}.lora_B.weight": b}) as checkpoint:
        (spec,) = taken(checkpoint, {"lora_alpha": 4}).specs
        assert spec.weight is not None
        whole = spec.weight.load(checkpoint)
        assert torch.equal(spec.weight.load(checkpoint, (1000, 2100)), whole[1000:2100])


def test_the_core_has_the_nonzero_singular_values_of_the_update(tmp_path: Path) -> None:
    a, b = factors()
    with opened(tmp_path, {f"{Q}.lora_A.weight": a, f"{Q}.lora_B.weight": b}) as checkpoint:
        (spec,) = taken(checkpoint, {"lora_alpha": 8}).specs
        assert spec.weight is not None
        assert isinstance(spec.weight.loader, LowRank)
        core = spec.weight.loader.core(checkpoint)
    assert core.shape == (1, 4, 4)
    expected = torch.linalg.svdvals(2 * (b.double() @ a.double()))[:4]
    torch.testing.assert_close(torch.linalg.svdvals(core[0]), expected)


def test_both_factors_are_accounted_for(tmp_path: Path) -> None:
    a, b = factors()
    with opened(tmp_path, {f"{Q}.lora_A.weight": a, f"{Q}.lora_B.weight": b}) as checkpoint:
        entries = taken(checkpoint, {"lora_alpha": 8}).entries
    assert [e.fate for e in entries] == ["analysed", "companion"]
    assert entries[1].reason == f"read with {Q}.lora_A.weight"


def test_embedding_updates_are_transposed(tmp_path: Path) -> None:
    a, b = factors(rows=8, cols=40)
    name = "base_model.model.model.embed_tokens.lora_embedding_"
    with opened(tmp_path, {f"{name}A": a, f"{name}B": b}) as checkpoint:
        (spec,) = taken(checkpoint, {"lora_alpha": 4}).specs
        found = update(spec, checkpoint)
    assert (spec.role, spec.rows, spec.cols) == ("embedding", 40, 8)
    torch.testing.assert_close(found, (b.double() @ a.double()).T.float())


def test_convolution_updates_are_kernels(tmp_path: Path) -> None:
    a, b = torch.randn(2, 5, 3, 3), torch.randn(7, 2, 1, 1)
    name = "unet.down_blocks.0.resnets.0.conv1.lora"
    with opened(tmp_path, {f"{name}.down.weight": a, f"{name}.up.weight": b}) as checkpoint:
        (spec,) = taken(checkpoint, None).specs
        assert spec.weight is not None
        found = spec.weight.load(checkpoint)
    expected = torch.einsum("or,rikl->oikl", b[:, :, 0, 0].double(), a.double()).float()
    torch.testing.assert_close(found, expected)
    assert (spec.role, spec.num_slices, spec.rows, spec.cols) == ("conv", 9, 7, 5)


def test_alpha_beside_the_factors_is_used(tmp_path: Path) -> None:
    a, b = factors()
    stored = {"lora_te_layers_0_fc1.lora_down.weight": a, "lora_te_layers_0_fc1.lora_up.weight": b,
              "lora_te_layers_0_fc1.alpha": torch.tensor(1.0)}  # fmt: skip
    with opened(tmp_path, stored) as checkpoint:
        found = taken(checkpoint, None)
        torch.testing.assert_close(
            update(found.specs[0], checkpoint), (b.double() @ a.double() / 4).float()
        )
    assert sorted(e.fate for e in found.entries) == ["analysed", "companion", "companion"]


@pytest.mark.parametrize(
    ("adapter", "reason"),
    [
        (None, "lora: adapter_config.json is missing, so alpha is not known"),
        ({"lora_alpha": "x"}, "lora: lora_alpha in adapter_config.json is 'x', wanted a number"),
        ({"lora_alpha": 8, "r": 2}, "lora: factors of rank 4, adapter_config.json says 2"),
        ({"lora_alpha": 8, "peft_type": "ADALORA"}, "adapter: peft_type 'ADALORA'; wanted LORA"),
        ({"lora_alpha": 8, "use_dora": True},
         "dora: the update depends on the base model, which is not here"),
    ],
)  # fmt: skip
def test_an_update_that_cannot_be_scaled_fails_and_says_why(
    adapter: Mapping[str, object] | None, reason: str, tmp_path: Path
) -> None:
    a, b = factors()
    with opened(tmp_path, {f"{Q}.lora_A.weight": a, f"{Q}.lora_B.weight": b}) as checkpoint:
        found = taken(checkpoint, adapter)
    assert [spec.fail_reason for spec in found.specs] == [reason]
    assert found.entries[0].fate == "unknown"


def test_factors_that_do_not_multiply_fail(tmp_path: Path) -> None:
    stored = {f"{Q}.lora_A.weight": torch.zeros(4, 16), f"{Q}.lora_B.weight": torch.zeros(24, 5)}
    with opened(tmp_path, stored) as checkpoint:
        (spec,) = taken(checkpoint, {"lora_alpha": 8}).specs
    assert spec.fail_reason == "lora: factors [24, 5] and [4, 16] do not multiply"


def test_modules_saved_whole_are_ordinary_layers(tmp_path: Path) -> None:
    name = "base_model.model.score.modules_to_save.weight"
    with opened(tmp_path, {name: torch.zeros(2, 16)}) as checkpoint:
        (spec,) = taken(checkpoint, {"lora_alpha": 8}).specs
    assert (spec.tensor, spec.role) == (name, "classifier")


def test_the_middle_factor_of_a_convolution_takes_part(tmp_path: Path) -> None:
    down, mid, up = torch.randn(3, 5, 1, 1), torch.randn(3, 3, 2, 2), torch.randn(7, 3, 1, 1)
    name = "lora_unet_mid_block_resnets_0_conv1.lora"
    stored = {f"{name}_down.weight": down, f"{name}_mid.weight": mid, f"{name}_up.weight": up}
    with opened(tmp_path, stored) as checkpoint:
        found = taken(checkpoint, None)
        weight = found.specs[0].weight
        assert weight is not None
        values = weight.load(checkpoint)
    expected = torch.einsum("or,rskl,si->oikl", up[:, :, 0, 0], mid, down[:, :, 0, 0])
    torch.testing.assert_close(values, expected)
    assert sorted(e.fate for e in found.entries) == ["analysed", "companion", "companion"]


def test_alpha_is_read_from_the_header_that_diffusers_writes(tmp_path: Path) -> None:
    a, b = factors()
    name = "transformer.transformer_blocks.0.attn.to_q"
    said = {"lora_adapter_metadata": '{"transformer.lora_alpha": 8, "transformer.r": 4}'}
    tensors = {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}
    save_file(tensors, tmp_path / "pytorch_lora_weights.safetensors", metadata=said)
    with open_checkpoint(LocalLocation(str(tmp_path)).open()) as checkpoint:
        (spec,) = take(checkpoint, account(checkpoint), LayerSelection()).specs
        found = update(spec, checkpoint)
    torch.testing.assert_close(found, (2 * (b.double() @ a.double())).float())


def test_an_adapter_in_a_subfolder_keeps_its_own_config(tmp_path: Path) -> None:
    a, b = factors()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "adapter_config.json").write_text('{"lora_alpha": 12, "r": 4}')
    tensors = {f"{Q}.lora_A.weight": a, f"{Q}.lora_B.weight": b}
    save_file(tensors, tmp_path / "mine" / "adapter_model.safetensors")
    with open_checkpoint(LocalLocation(str(tmp_path)).open()) as checkpoint:
        (spec,) = take(checkpoint, account(checkpoint), LayerSelection()).specs
        found = update(spec, checkpoint)
    torch.testing.assert_close(found, (3 * (b.double() @ a.double())).float())


@pytest.mark.parametrize(
    ("name", "reason"),
    [("lora_magnitude_vector", "dora"), ("dora_scale", "dora"), ("lora_E", "no LoRA pair")],
)
def test_a_third_tensor_that_changes_the_update_is_not_overlooked(
    name: str, reason: str, tmp_path: Path
) -> None:
    a, b = factors()
    stored = {"q.lora_A.weight": a, "q.lora_B.weight": b, f"q.{name}": torch.ones(24, 1)}
    with opened(tmp_path, stored) as checkpoint:
        specs = taken(checkpoint, None).specs
    assert any(reason in (spec.fail_reason or "") for spec in specs)


@pytest.mark.parametrize("leaf", ["hada_w1_a", "lokr_w2", "vera_A", "lora_A.weight"])
def test_a_lone_factor_is_no_weight(leaf: str, tmp_path: Path) -> None:
    with opened(tmp_path, {f"blocks.0.to_q.{leaf}": torch.ones(4, 16)}) as checkpoint:
        (spec,) = taken(checkpoint, None).specs
    assert "no LoRA pair" in (spec.fail_reason or "")


def test_two_adapters_in_one_file_are_two_layers(tmp_path: Path) -> None:
    a, b = factors()
    names = [f"q.lora_{x}.{y}.weight" for y in ("default", "other") for x in "AB"]
    with opened(tmp_path, dict(zip(names, (a, b, a + 1, b + 1), strict=True))) as checkpoint:
        specs = taken(checkpoint, None).specs
    assert [spec.tensor for spec in specs] == ["q.lora", "q.lora.other"]
