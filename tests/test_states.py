"""The same tensors twice are one model and a word on the other, or a failure that lists them."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import zoo
from zoo.errors import CheckpointError
from zoo.formats.account import account
from zoo.io.local import LocalLocation
from zoo.io.opening import open_checkpoint
from zoo.layers.take import take
from zoo.options import LayerSelection

Tensors = dict[str, torch.Tensor]


def model(seed: int = 0) -> Tensors:
    generator = torch.Generator().manual_seed(seed)
    names = [f"layers.{i}.self_attn.{leaf}_proj.weight" for i in range(2) for leaf in "qkvo"]
    return {name: torch.randn(24, 16, generator=generator) for name in names}


def store(folder: Path, file: str, tensors: Mapping[str, Any]) -> None:
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    if file.endswith(".safetensors"):
        save_file({n: t.contiguous() for n, t in tensors.items()}, folder / file)
    else:
        torch.save(dict(tensors), folder / file)


def measured(folder: Path) -> tuple[list[torch.Tensor], dict[str, str]]:
    """(values of all layers, why each other tensor is none)."""
    with open_checkpoint(LocalLocation(str(folder)).open()) as checkpoint:
        taken = take(checkpoint, account(checkpoint), LayerSelection())
        values = [
            spec.matrices(spec.weight.load(checkpoint))[0].float()
            for spec in taken.specs
            if spec.weight is not None and spec.is_measurable
        ]
        told = {e.tensor: e.reason or "" for e in taken.entries if e.fate != "analysed"}
        return values, told | {left.file: left.reason for left in checkpoint.left_out}


def assert_is(values: list[torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> None:
    assert len(values) == len(wanted)
    ours = sorted(values, key=lambda t: float(t[0, 0]))
    theirs = sorted((t.float() for t in wanted.values()), key=lambda t: float(t[0, 0]))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_of_two_precisions_the_wider_is_measured(tmp_path: Path) -> None:
    wide = {name: tensor.half() for name, tensor in model().items()}
    store(tmp_path, "enc_fp16.safetensors", wide)
    store(
        tmp_path,
        "enc_fp8.safetensors",
        {name: tensor.to(torch.float8_e4m3fn) for name, tensor in wide.items()},
    )
    values, reasons = measured(tmp_path)
    assert_is(values, wide)
    assert reasons == {
        "enc_fp8.safetensors": "another precision of the same weights: enc_fp16.safetensors is read"
    }


@pytest.mark.parametrize(
    "codes",
    [{"qweight": (2, 16), "scales": (1, 16)}, {"weight_packed": (24, 2), "weight_scale": (24, 1)}],
)
def test_codes_are_another_precision_of_the_floats_beside_them(
    codes: dict[str, tuple[int, int]], tmp_path: Path
) -> None:
    store(tmp_path, "enc_bf16.safetensors", model())
    packed = {
        name.replace("weight", word): torch.ones(shape, dtype=torch.int32 if "scale" not in word else torch.half)
        for name in model() for word, shape in codes.items()
    }  # fmt: skip
    store(tmp_path, "enc_w4a16.safetensors", packed)
    values, reasons = measured(tmp_path)
    assert_is(values, model())
    assert reasons == {
        "enc_w4a16.safetensors": "another precision of the same weights: enc_bf16.safetensors is read"
    }


@pytest.mark.parametrize(
    ("files", "kept"),
    [
        (["lora-000002", "lora-000004", "lora"], 2),
        (["0000100_adapters", "0000200_adapters", "adapters"], 2),
        (["run-step-500", "run-step-1000"], 1),
        (["checkpoint-500/model", "checkpoint-1000/model"], 1),
    ],
)
def test_of_several_steps_the_last_is_measured_under_its_own_names(
    files: list[str], kept: int, tmp_path: Path
) -> None:
    for i, file in enumerate(files):
        store(tmp_path, f"{file}.safetensors", model(i))
    values, reasons = measured(tmp_path)
    assert_is(values, model(kept))
    assert reasons.keys() == {f"{file}.safetensors" for i, file in enumerate(files) if i != kept}
    assert all(f"{files[kept].partition('/')[0]}" in reason for reason in reasons.values())


@pytest.mark.parametrize("outer", [("model", "ema"), ("model", "model_ema"), ("params", "params_ema"),
                                   ("student", "teacher"), ("", "copy")])  # fmt: skip
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_an_average_in_the_same_file_is_set_aside(
    outer: tuple[str, str], ending: str, tmp_path: Path
) -> None:
    first, second = (f"{word}." if word else "" for word in outer)
    stored = {first + n: t for n, t in model(0).items()}
    stored |= {second + n: t for n, t in model(1).items()}
    store(tmp_path, f"checkpoint.{ending}", stored)
    values, reasons = measured(tmp_path)
    assert_is(values, model(0))
    assert all("another state" in reason for reason in reasons.values())
    assert len(reasons) == len(model())


@pytest.mark.parametrize(
    "files",
    [
        ["model0-mp2", "model1-mp2"],
        ["mp_rank_00/weights", "mp_rank_01/weights"],
        ["tp0", "tp1"],
        ["alice", "bob"],
        ["alice/model", "bob/model"],
    ],
)
def test_slices_and_unnamed_twins_are_refused_with_their_list(
    files: list[str], tmp_path: Path
) -> None:
    for i, file in enumerate(files):
        store(tmp_path, f"{file}.safetensors", model(i))
    with pytest.raises(CheckpointError) as raised:
        measured(tmp_path)
    for file in files:
        assert file.partition("/")[0] in str(raised.value)


@pytest.mark.parametrize("seed", range(40))
def test_a_model_shuffled_over_files_folders_and_prefixes_is_right_or_named(
    seed: int, tmp_path: Path
) -> None:
    choose = random.Random(seed)
    states = [model(i) for i in range(choose.randint(1, 3))]
    stems = choose.sample(
        ["model", "model-000010", "best", "a_fp16", "x-mp2", "ema", "step_7", "w.01"], len(states)
    )
    folders = choose.choice([[""] * 3, ["checkpoint-1/", "checkpoint-20/", "last/"]])
    prefix = choose.choice(["", "module.", "model."])
    for stem, folder, state in zip(stems, folders, states, strict=False):
        dtype = choose.choice([torch.float32, torch.float16])
        stored = {prefix + n: t.to(dtype) for n, t in state.items()}
        store(tmp_path, f"{folder}{stem}.safetensors", stored)
    try:
        values, _ = measured(tmp_path)
    except CheckpointError as error:
        assert len(states) > 1
        assert sum(stem in str(error) or folder.strip("/") in str(error)
                   for stem, folder in zip(stems, folders, strict=False)) > 1  # fmt: skip
        return
    whole = [[t.to(dtype).float() for t in state.values()]
             for state in states for dtype in (torch.float32, torch.float16)]  # fmt: skip
    assert any(
        len(values) == len(state) and all(any(torch.equal(v, t) for t in state) for v in values)
        for state in whole
    )


@pytest.mark.parametrize(
    ("weights", "average"),
    [
        ("visual_encoder", "visual_encoder_m"),
        ("module.base_encoder", "module.momentum_encoder"),
        ("module.encoder_q", "module.encoder_k"),
        ("encoder.module", "target_encoder.module"),
        ("online_network", "target_network"),
        ("unet", "unet_ema"),
        ("policy", "policy_target"),
        ("model", "extra_state.ema"),
        ("non_ema", "ema"),
    ],
)
def test_the_average_of_a_part_is_set_aside(weights: str, average: str, tmp_path: Path) -> None:
    state = {f"{weights}.{name}": t for name, t in model().items()}
    state["neck.weight"] = torch.ones(3, 4)
    both = state | {f"{average}.{name}": t for name, t in model(1).items()}
    store(tmp_path, "checkpoint.safetensors", both)
    values, reasons = measured(tmp_path)
    assert_is(values, state)
    assert reasons.keys() == {f"{average}.{name}" for name in model(1)}


def test_files_of_an_optimizer_and_of_an_average_beside_the_weights(tmp_path: Path) -> None:
    store(tmp_path, "model010000.pt", model())
    store(tmp_path, "ema_0.9999_010000.pt", model(1))
    moments = {i: {"exp_avg": torch.ones(4, 4), "exp_avg_sq": torch.ones(4, 4)} for i in range(2)}
    store(tmp_path, "opt010000.pt", {"state": moments, "param_groups": []})
    values, reasons = measured(tmp_path)
    assert_is(values, model())
    assert "an average of the same weights" in reasons.pop("ema_0.9999_010000.pt")
    assert set(reasons.values()) == {"training state: not a weight"}


def test_a_tensor_that_two_parts_of_a_model_share_is_measured_once(tmp_path: Path) -> None:
    shared = {"embed.weight": torch.ones(12, 8)}
    store(tmp_path, "a.safetensors", {**model(), **shared})
    store(tmp_path, "b.safetensors", {**{f"mtp.{n}": t for n, t in model(1).items()}, **shared})
    values, reasons = measured(tmp_path)
    assert len(values) == 2 * len(model()) + 1
    assert reasons == {"b.embed.weight": "another tensor of this name (that of a.safetensors is measured)"}  # fmt: skip


def test_parts_that_share_a_name_in_two_shapes_are_refused(tmp_path: Path) -> None:
    store(tmp_path, "a.safetensors", {**model(), "embed.weight": torch.ones(12, 8)})
    apart = {f"mtp.{n}": t for n, t in model(1).items()}
    store(tmp_path, "b.safetensors", {**apart, "embed.weight": torch.ones(8, 8)})
    with pytest.raises(CheckpointError, match=r"\[12, 8\] in a\.safetensors and \[8, 8\] in b\."):
        measured(tmp_path)


def test_of_two_precisions_in_other_numbers_of_shards_the_wider_is_measured(tmp_path: Path) -> None:
    names = list(model())
    for word, dtype, count in (("fp32", torch.float32, 2), ("fp16", torch.float16, 4)):
        for i in range(count):
            part = {name: model()[name].to(dtype) for name in names[i::count]}
            store(tmp_path, f"enc_{word}-{i + 1:05}-of-{count:05}.safetensors", part)
    values, reasons = measured(tmp_path)
    assert_is(values, model())
    assert len(reasons) == 4
    assert all(reason.startswith("another precision") for reason in reasons.values())


def test_declared_parts_of_a_pipeline_may_hold_the_same_names(tmp_path: Path) -> None:
    for i, part in enumerate(("transformer", "transformer_2")):
        store(tmp_path, f"{part}/diffusion_pytorch_model.safetensors", model(i))
    with pytest.raises(CheckpointError, match="transformer, transformer_2 hold the same tensors"):
        measured(tmp_path)
    index = {part: ["diffusers", "M"] for part in ("transformer", "transformer_2")}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    values, _ = measured(tmp_path)
    assert len(values) == 2 * len(model())


def test_a_state_dict_in_memory_is_one_state_too() -> None:
    both = {**model(), **{f"model_ema.{name}": t * 0.9 for name, t in model().items()}}
    report = zoo.analyze(both, options=zoo.AnalysisOptions(metrics="tail", shuffle="none"))
    assert {row["tensor"] for row in report.layers} == model().keys()
    assert all("another state" in (e.reason or "") for e in report.entries if e.fate == "skipped")


@pytest.mark.parametrize(
    "parts",
    [
        ("query_encoder", "doc_encoder"),
        ("encoder", "decoder"),
        ("qf1", "qf2"),
        ("generator", "discriminator"),
        ("layer1", "layer2"),
        ("0", "1"),
    ],
)
def test_two_parts_of_one_shape_are_no_states(parts: tuple[str, str], tmp_path: Path) -> None:
    state = {f"{part}.{name}": t for i, part in enumerate(parts) for name, t in model(i).items()}
    store(tmp_path, "model.safetensors", state)
    values, reasons = measured(tmp_path)
    assert_is(values, state)
    assert not reasons
