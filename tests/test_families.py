"""Layers of the main model families, from tiny random models written to disk by `transformers`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.family_tables import TABLES
from tests.tiny_models import MODELS, build
from zoo.formats.account import account
from zoo.io.checkpoint import Checkpoint
from zoo.io.local import LocalLocation
from zoo.io.opening import open_checkpoint
from zoo.layers.roles import ROLES
from zoo.layers.spec import LayerSpec, Taken
from zoo.layers.take import take, take_layers
from zoo.options import LayerSelection

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # transformers warns about its own defaults
    pytest.mark.usefixtures("_quiet"),
]


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    yield
    logging.enable_progress_bar()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders already written, by family."""
    return {"": tmp_path_factory.mktemp("families")}


def opened(family: str, folders: dict[str, Path]) -> Checkpoint:
    if family not in folders:
        folders[family] = folders[""] / family
        build(family).save_pretrained(folders[family])
    return open_checkpoint(LocalLocation(str(folders[family])).open())


def taken(checkpoint: Checkpoint, **selection: Any) -> Taken:
    return take(checkpoint, account(checkpoint), LayerSelection(**selection))


def test_every_family_has_a_table() -> None:
    assert TABLES.keys() == MODELS.keys()


def template(tensor: str) -> str:
    """The tensor's module path with its numbers written #."""
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "#", tensor).removesuffix(".weight")


@pytest.mark.parametrize("family", MODELS)
def test_every_matrix_has_its_role(family: str, folders: dict[str, Path]) -> None:
    found: dict[str, set[str]] = {}
    rows: dict[tuple[str, int | None], list[LayerSpec]] = {}
    with opened(family, folders) as checkpoint:
        for spec in taken(checkpoint).specs:
            rows.setdefault((spec.tensor, spec.expert), []).append(spec)
    for (tensor, _), specs in rows.items():
        words = [s.role if s.part in (None, s.role) else f"{s.role}:{s.part}" for s in specs]
        found.setdefault(template(tensor), set()).add(" ".join(words))
    lines = [line.split(maxsplit=1) for line in TABLES[family].strip().splitlines()]
    assert found == {module: {roles} for module, roles in lines}


@pytest.mark.parametrize("family", MODELS)
def test_every_layer_loads_in_its_promised_shape(family: str, folders: dict[str, Path]) -> None:
    with opened(family, folders) as checkpoint:
        specs = taken(checkpoint, fused="both").specs
        assert [spec.layer_index for spec in specs] == list(range(len(specs)))
        for spec in specs:
            assert spec.weight is not None
            assert spec.role in ROLES
            assert spec.is_measurable
            assert spec.note is None
            matrices = spec.matrices(spec.weight.load(checkpoint))
            assert matrices.shape == (spec.num_slices, spec.rows, spec.cols)
            if spec.leading is not None:
                rows = spec.weight.load(checkpoint, spec.leading)
                assert torch.equal(matrices, spec.matrices(rows, offset=spec.leading[0]))


@pytest.mark.parametrize("family", MODELS)
def test_parts_hold_every_value_once(family: str, folders: dict[str, Path]) -> None:
    with opened(family, folders) as checkpoint:
        split = taken(checkpoint).specs
        whole = {s.tensor: s for s in taken(checkpoint, fused="whole").specs if s.weight}
        for tensor in {spec.tensor for spec in split if spec.part is not None}:
            weight = whole[tensor].weight
            assert weight is not None
            loaded = weight.load(checkpoint)
            pieces = [s.matrices(loaded).flatten() for s in split if s.tensor == tensor]
            both = torch.cat(pieces).sort().values, loaded.flatten().sort().values
            assert torch.equal(*both)


@pytest.mark.parametrize("family", MODELS)
def test_every_stored_tensor_is_accounted_for(family: str, folders: dict[str, Path]) -> None:
    with opened(family, folders) as checkpoint:
        found = taken(checkpoint)
        assert [entry.tensor for entry in found.entries] == list(checkpoint.tensors)
        analysed = {entry.tensor for entry in found.entries if entry.fate == "analysed"}
        assert analysed == {s.weight.sources[0] for s in found.specs if s.weight}
        assert all(e.reason for e in found.entries if e.fate != "analysed")
        assert not [entry for entry in found.entries if entry.fate == "unknown"]


@pytest.mark.parametrize(
    ("family", "number"),
    [("mixtral", 2), ("qwen3_moe", 2), ("gpt_oss", 2), ("llama4", 2), ("granitemoe", 2)],
)
def test_every_block_has_all_its_experts(
    family: str, number: int, folders: dict[str, Path]
) -> None:
    with opened(family, folders) as checkpoint:
        rows = [s for s in taken(checkpoint).specs if s.expert is not None]
    expected = {(b, e, role) for b in range(number) for e in range(4)
                for role in ("gate", "up", "down")}  # fmt: skip
    assert {(s.block, s.expert, s.role) for s in rows} == expected
    assert len(rows) == len(expected)


@pytest.mark.parametrize("family", ["mixtral", "gpt_oss"])
def test_a_sample_of_experts_is_the_same_for_all_matrices_of_a_block(
    family: str, folders: dict[str, Path]
) -> None:
    with opened(family, folders) as checkpoint:
        found = taken(checkpoint, experts="sample:2")
        again = taken(checkpoint, experts="sample:2")
    assert [(s.tensor, s.expert) for s in found.specs] == [
        (s.tensor, s.expert) for s in again.specs
    ]
    for block in (0, 1):
        rows = [s for s in found.specs if s.block == block and s.expert is not None]
        chosen = {role: {s.expert for s in rows if s.role == role} for role in ("gate", "down")}
        assert len(chosen["gate"]) == 2
        assert chosen["gate"] == chosen["down"]


FUSED_ATTENTION = ["gpt2", "gpt_bigcode", "codegen", "gpt_neox", "bloom", "falcon_7b",
                   "falcon_40b", "falcon_rw", "phi3", "modernbert"]  # fmt: skip


def positions(spec: LayerSpec, parameter: torch.Tensor) -> torch.Tensor:
    """Where the layer's entries lie in the flattened parameter."""
    return spec.matrices(torch.arange(parameter.numel()).view(parameter.shape)).flatten()


def attention_output(model: Any, module: str) -> torch.Tensor:
    """What enters the output projection `module` for one fixed text."""
    seen: list[torch.Tensor] = []
    hook = model.get_submodule(module).register_forward_hook(lambda _, x, __: seen.append(x[0]))
    with torch.no_grad():
        model(input_ids=torch.arange(3, 9).unsqueeze(0))
    hook.remove()
    return seen[0]


@pytest.mark.parametrize("family", FUSED_ATTENTION)
def test_parts_of_fused_attention_are_what_the_model_computes_with(
    family: str, folders: dict[str, Path]
) -> None:
    with opened(family, folders) as checkpoint:
        rows = {s.role: s for s in taken(checkpoint).specs if s.block == 0}
    model = build(family)
    weight = model.get_parameter(rows["q"].tensor)
    output = rows["o"].tensor.removesuffix(".weight")

    def change(role: str, factor: float) -> torch.Tensor:
        changed = weight.detach().clone().flatten()
        changed[positions(rows[role], weight)] *= factor
        kept = weight.detach().clone()
        with torch.no_grad():
            weight.copy_(changed.view(weight.shape))
            found = attention_output(model, output)
            weight.copy_(kept)
        return found

    plain = attention_output(model, output)
    torch.testing.assert_close(change("v", 2.0), 2 * plain)  # linear in the values
    assert not torch.allclose(change("q", -30.0), plain, rtol=1e-3)  # and in nothing else
    torch.testing.assert_close(change("q", 3.0), change("k", 3.0))  # scores are bilinear


@pytest.mark.parametrize(
    ("family", "mlp"),
    [("phi3", "model.layers.0.mlp"), ("modernbert", "model.layers.0.mlp"),
     ("llama4", "model.layers.0.feed_forward.experts")],
)  # fmt: skip
def test_up_is_the_half_that_enters_linearly(
    family: str, mlp: str, folders: dict[str, Path]
) -> None:
    with opened(family, folders) as checkpoint:
        specs = [s for s in taken(checkpoint).specs if s.tensor.startswith(f"{mlp}.")]
    model = build(family)
    assert_linear_in_up_only(model, specs, model.get_submodule(mlp))


def assert_linear_in_up_only(model: Any, specs: list[LayerSpec], mlp: Any) -> None:
    outputs: list[torch.Tensor] = []
    for role, factor in ((None, 1.0), ("up", 2.0), ("gate", 2.0)):
        changed = [s for s in specs if s.role == role]
        with torch.no_grad():
            for spec in changed:
                weight = model.get_parameter(spec.tensor)
                weight.view(-1)[positions(spec, weight)] *= factor
            outputs.append(mlp(0.5 * torch.ones(4, 32).view(*_mlp_input(mlp), 32)))
            for spec in changed:
                weight = model.get_parameter(spec.tensor)
                weight.view(-1)[positions(spec, weight)] /= factor
    torch.testing.assert_close(outputs[1], 2 * outputs[0])
    assert not torch.allclose(outputs[2], 2 * outputs[0], rtol=1e-4)


def _mlp_input(mlp: Any) -> tuple[int, ...]:
    """Experts want the tokens of all experts in one axis."""
    return (4,) if hasattr(mlp, "num_experts") else (1, 4)


def test_gpt_oss_interleaves_gate_and_up(folders: dict[str, Path]) -> None:
    with opened("gpt_oss", folders) as checkpoint:
        specs = taken(checkpoint).specs
        fused = checkpoint.read("model.layers.1.mlp.experts.gate_up_proj")
        parts = {s.role: s.matrices(fused)[0] for s in specs
                 if s.block == 1 and s.expert == 2 and s.role in ("gate", "up")}  # fmt: skip
    assert torch.equal(parts["gate"], fused[2][:, ::2])
    assert torch.equal(parts["up"], fused[2][:, 1::2])


def test_a_stack_whose_size_the_config_denies_fails_and_says_so(folders: dict[str, Path]) -> None:
    with opened("gpt_oss", folders) as checkpoint:
        config = json.loads((folders["gpt_oss"] / "config.json").read_text())
        found = take_layers(
            account(checkpoint), {**config, "num_local_experts": 8}, LayerSelection()
        )
    failed = [s for s in found.specs if s.fail_reason]
    assert {s.role for s in failed} == {"gate_up", "down"}
    assert failed[0].fail_reason == "unknown_layout: 4 experts stacked, config.json says 8"


def test_weight_normalised_convolutions_are_what_the_model_computes_with(
    folders: dict[str, Path],
) -> None:
    with opened("wav2vec2", folders) as checkpoint:
        (spec,) = (s for s in taken(checkpoint).specs if "pos_conv" in s.tensor)
        assert spec.weight is not None
        loaded = spec.weight.load(checkpoint)
    expected = build("wav2vec2").wav2vec2.encoder.pos_conv_embed.conv.weight.detach()
    torch.testing.assert_close(loaded, expected)
