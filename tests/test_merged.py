"""Adapters on their base model, against the sums written out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import Zoo
from tests.hub_folders import fresh_session
from tests.test_sweep import ask
from zoo.formats.account import account
from zoo.io.local import LocalLocation
from zoo.io.opening import open_checkpoint
from zoo.io.paired import PairedLocation
from zoo.layers.spec import Taken
from zoo.layers.take import take
from zoo.loopback.server import HubServer
from zoo.options import LayerSelection

Q = "h.0.attn.q_proj"
Tensors = Mapping[str, torch.Tensor]
CONFIG = {"r": 4, "lora_alpha": 8}


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def put(folder: Path, tensors: Tensors, name: str, config: Mapping[str, object]) -> Path:
    folder.mkdir(parents=True)
    kind = "adapter_" if name.startswith("adapter") else ""
    (folder / f"{kind}config.json").write_text(json.dumps(config))
    save_file({n: t.contiguous() for n, t in tensors.items()}, folder / name)
    return folder


def put_base(folder: Path, tensors: Tensors, **config: object) -> Path:
    return put(folder, tensors, "model.safetensors", config)


def put_adapter(folder: Path, tensors: Tensors, **config: object) -> Path:
    named = {f"base_model.model.{name}": tensor for name, tensor in tensors.items()}
    return put(folder, named, "adapter_model.safetensors", {**CONFIG, **config})


def pair(rows: int = 24, cols: int = 16) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Factors by name, and 2·B·A."""
    a, b = normal(4, cols, seed=1), normal(rows, 4, seed=2)
    return {f"{Q}.lora_A.weight": a, f"{Q}.lora_B.weight": b}, 2 * b.double() @ a.double()


def merged(base: Path, adapter: Path, mode: Any = "merged") -> tuple[Taken, list[torch.Tensor]]:
    """What is taken of the pair, and the values of its measurable rows."""
    where = PairedLocation(LocalLocation(str(adapter)), LocalLocation(str(base)))
    with open_checkpoint(where.open()) as checkpoint:
        selection = LayerSelection(adapters=mode)
        found = take(checkpoint, account(checkpoint), selection)
        values = [
            spec.matrices(spec.weight.load(checkpoint))[0]
            for spec in found.specs
            if spec.weight is not None and spec.is_measurable
        ]
        return found, values


@pytest.mark.parametrize("prefix", ["", "model.", None])
def test_the_update_is_added_to_the_base(tmp_path: Path, prefix: str | None) -> None:
    factors, update = pair()
    base = normal(24, 16)
    if prefix is None:  # the file lacks a word that the adapter has in front
        factors = {f"transformer.{name}": tensor for name, tensor in factors.items()}
    stored = {f"{prefix or ''}{Q}.weight": base, "wte.weight": normal(9, 16)}
    found, (values,) = merged(
        put_base(tmp_path / "base", stored), put_adapter(tmp_path / "adapter", factors)
    )
    torch.testing.assert_close(values, (base.double() + update).float())
    assert [(spec.role, spec.block) for spec in found.specs] == [("q", 0)]
    fates = {entry.tensor: entry.fate for entry in found.entries}
    assert fates["@base.wte.weight"] == "skipped"
    assert fates[f"@base.{prefix or ''}{Q}.weight"] == "companion"


@pytest.mark.parametrize("size", [16, 24])
def test_a_transposed_base_takes_the_transposed_update(tmp_path: Path, size: int) -> None:
    factors, update = pair(size, 16)
    base = normal(16, size)
    _, (values,) = merged(
        put_base(tmp_path / "base", {f"{Q}.weight": base}),
        put_adapter(tmp_path / "adapter", factors, fan_in_fan_out=True),
    )
    torch.testing.assert_close(values, (base.double() + update.T).float())


@pytest.mark.parametrize("fan_in_fan_out", [False, True])
def test_dora_gives_every_output_its_length(tmp_path: Path, fan_in_fan_out: bool) -> None:
    factors, update = pair()
    base, length = normal(24, 16), normal(24, seed=3).abs()
    factors[f"{Q}.lora_magnitude_vector"] = length
    flip = (lambda t: t.T) if fan_in_fan_out else (lambda t: t)
    config = {"use_dora": True, "fan_in_fan_out": fan_in_fan_out}
    _, (values,) = merged(
        put_base(tmp_path / "base", {f"{Q}.weight": flip(base)}),
        put_adapter(tmp_path / "adapter", factors, **config),
    )
    whole = base.double() + update
    expected = length[:, None] * whole / whole.norm(dim=1, keepdim=True)
    torch.testing.assert_close(values, flip(expected).float())


def test_a_quantised_base_is_decoded_first(tmp_path: Path) -> None:
    factors, update = pair()
    codes = normal(24, 16).to(torch.float8_e4m3fn)
    stored = {f"{Q}.weight": codes, f"{Q}.weight_scale": torch.tensor([0.5])}
    found, (values,) = merged(
        put_base(tmp_path / "base", stored), put_adapter(tmp_path / "adapter", factors)
    )
    torch.testing.assert_close(values, (0.5 * codes.double() + update).float())
    weight = found.specs[0].weight
    assert weight is not None and weight.is_dequantised


def test_both_gives_a_row_each_and_delta_needs_no_base(tmp_path: Path) -> None:
    factors, update = pair()
    base = put_base(tmp_path / "base", {f"{Q}.weight": normal(24, 16)})
    adapter = put_adapter(tmp_path / "adapter", factors)
    found, values = merged(base, adapter, "both")
    assert [spec.tensor.rpartition(".")[2] for spec in found.specs] == ["lora", "merged"]
    torch.testing.assert_close(values[0], update.float())


@pytest.mark.parametrize(
    ("stored", "reason"),
    [({"other.weight": (24, 16)}, "has no 'h.0.attn.q_proj'"),
     ({f"{Q}.weight": (24, 17)}, r"[24, 17]")],
)  # fmt: skip
def test_an_update_that_fits_no_base_weight_fails(
    tmp_path: Path, stored: Mapping[str, tuple[int, ...]], reason: str
) -> None:
    base = put_base(tmp_path / "base", {n: normal(*shape) for n, shape in stored.items()})
    found, values = merged(base, put_adapter(tmp_path / "adapter", pair()[0]))
    assert [reason in (spec.fail_reason or "") for spec in found.specs] == [True]
    assert values == []


def swept(tmp_path: Path, zoo: Zoo, spec: str, status: int = 0) -> list[tuple[object, ...]]:
    (tmp_path / "spec.toml").write_text(spec + "[traps]\nshuffle = 'none'\n")
    assert zoo("sweep", tmp_path / "spec.toml", "--out", tmp_path / "cat", "-j", 1) == status
    return ask(
        tmp_path / "cat",
        "select tensor, frobenius_norm_sq, analysis_key from layers join models "
        "using (sweep_id, model_id, revision, analysis_key) where tensor like '%merged' "
        "order by committed_at, layer_index",
    )


def test_the_base_of_a_source_is_part_of_the_units_key(tmp_path: Path, zoo: Zoo) -> None:
    factors, update = pair()
    put_adapter(tmp_path / "adapter", factors)
    for seed in (1, 2):
        put_base(tmp_path / f"base{seed}", {f"{Q}.weight": normal(24, 16, seed=seed)})
    spec = "[[source]]\npath = 'adapter'\nbase = 'base{}'\n[layers]\nadapters = 'merged'\n"
    first, second = (swept(tmp_path, zoo, spec.format(seed))[-1] for seed in (1, 2))
    whole = normal(24, 16, seed=1).double() + update
    assert first[1] == pytest.approx(float((whole**2).sum()), rel=1e-6)
    assert len({first[2], second[2]}) == 2


def test_a_refit_knows_an_adapter_by_its_base_too(tmp_path: Path, zoo: Zoo) -> None:
    put_adapter(tmp_path / "adapter", pair(48, 40)[0])
    spec = "[[source]]\npath = 'adapter'\nbase = 'base{}'\n[layers]\nadapters = 'merged'\n"
    for seed in (1, 2):
        put_base(tmp_path / f"base{seed}", {f"{Q}.weight": normal(48, 40, seed=seed)})
        swept(tmp_path, zoo, spec.format(seed))
    cat, path = tmp_path / "cat", tmp_path / "tail.toml"
    no_shuffle = "[traps]\nshuffle = 'none'\n"
    count = "select count(*), count(distinct frobenius_norm_sq) from layers"
    assert zoo("refit", cat) == 0
    assert ask(cat, count) == [(2, 2)]  # unchanged options: nothing is written
    path.write_text(f"{spec.format(2)}{no_shuffle}[tail]\nclip_fingers = true\n")
    assert zoo("refit", cat, "--spec", path) == 0
    assert zoo("sweep", path, "--out", cat, "-j", 1) == 0
    assert ask(cat, count) == [(3, 2)]  # the sweep finds what the refit made


def test_the_base_may_be_another_source_that_the_adapter_names(tmp_path: Path, zoo: Zoo) -> None:
    factors, _ = pair()
    put_base(tmp_path / "base", {f"{Q}.weight": normal(24, 16)})
    put_adapter(tmp_path / "adapter", factors, base_model_name_or_path="lab/base")
    spec = "[[source]]\npath = 'base'\nname = 'lab'\n[[source]]\npath = 'adapter'\n"
    assert len(swept(tmp_path, zoo, f"{spec}[layers]\nadapters = 'merged'\n")) == 1


def test_adapter_and_base_may_both_be_on_the_hub(
    tmp_path: Path, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors, update = pair()
    put_base(tmp_path / "shelf" / "lab" / "base", {f"{Q}.weight": normal(24, 16)})
    put_adapter(tmp_path / "shelf" / "lab" / "adapter", factors)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with fresh_session(), HubServer(tmp_path / "shelf") as hub:
        source = f"hub = 'lab/adapter'\nbase = 'lab/base@main'\nendpoint = '{hub.url}'\n"
        ((_, norm, _),) = swept(
            tmp_path, zoo, f"[[source]]\n{source}[layers]\nadapters = 'merged'\n"
        )
    whole = normal(24, 16).double() + update
    assert norm == pytest.approx(float((whole**2).sum()), rel=1e-6)


def test_without_a_base_the_reason_says_what_to_give(tmp_path: Path, zoo: Zoo) -> None:
    put_adapter(tmp_path / "adapter", pair()[0])
    swept(tmp_path, zoo, "[[source]]\npath = 'adapter'\n[layers]\nadapters = 'merged'\n")
    ((reason,),) = ask(tmp_path / "cat", "select reason from layers")
    assert "give `base` in the [[source]]" in str(reason)
