"""States and slices met in the field, through `plan`, `analyze`, `sweep`, `show` and the table `tensors`.

One state of one model is measured, whole, and whatever else lies there is named by each of them; or
the failure lists what there is. Values are the float64 SVD of the matrices a case was made of.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, quants

from tests.conftest import Zoo
from tests.test_field_cases import LLAMA, SHAPES, Tensors, llama, pair, pickled, put, save, tops
from tests.test_field_codes import heavy, top

Output = pytest.CaptureFixture[str]
Make = Callable[[Path], "Known | Refused"]


@dataclass(frozen=True)
class Known:
    """What must be measured, and what must be named."""

    values: Mapping[str, float]
    """Largest eigenvalue by tensor."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Files that are not read, and a word of the reason."""
    aside: Mapping[str, str] = field(default_factory=dict)
    """Tensors that are not measured because another one is, and a word of the reason."""


@dataclass(frozen=True)
class Refused:
    """Words of the failure."""

    words: tuple[str, ...]


def two_precisions(folder: Path) -> Known:
    state = {f"encoder.block.0.layer.0.SelfAttention.{k}.weight": heavy(64, 64, seed=i).half()
             for i, k in enumerate("qkvo")}  # fmt: skip
    save(folder, "t5xxl_fp16.safetensors", state)
    small = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in state.items()}
    save(folder, "t5xxl_fp8_e4m3fn.safetensors", small)
    return Known(tops(state), {"t5xxl_fp8_e4m3fn.safetensors": "another precision"})


def lora(seed: int) -> tuple[Tensors, float]:
    base = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    down, up = pair(64, 64, 24, seed)
    state = {f"{base}.lora_down.weight": down, f"{base}.lora_up.weight": up}
    state[f"{base}.alpha"] = torch.tensor(12.0)
    return state, top(up.double() @ down.double() * 0.5)


def epochs_of_kohya(folder: Path) -> Known:
    for i, name in enumerate(("mylora-000002", "mylora-000004", "mylora")):
        state, value = lora(i)
        save(folder, f"{name}.safetensors", state)
    tensor = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.lora"
    left = {f"mylora-00000{i}.safetensors": "another step" for i in (2, 4)}
    return Known({tensor: value}, left)


def steps_of_mlx(folder: Path) -> Known:
    settings = {"rank": 8, "scale": 20.0}
    put(folder, "adapter_config.json", {"fine_tune_type": "lora", "lora_parameters": settings})
    values = {}
    for i, name in enumerate(("0000100_adapters", "0000200_adapters", "adapters")):
        state = {}
        for layer in range(2):
            b = f"model.layers.{layer}.self_attn.q_proj."
            a = heavy(64, 8, seed=10 * i + layer)
            state |= {f"{b}lora_a": a, f"{b}lora_b": a.T.contiguous()}
            values[f"{b}lora"] = top(20.0 * a.double() @ a.double().T)
        save(folder, f"{name}.safetensors", state)
    left = {f"0000{i}00_adapters.safetensors": "another step" for i in (1, 2)}
    return Known(values, left)


def checkpoints_of_a_trainer(folder: Path) -> Known:
    put(folder, "config.json", LLAMA)
    for step in (500, 1000):
        put(folder, f"checkpoint-{step}/config.json", LLAMA)
        save(folder, f"checkpoint-{step}/model.safetensors", llama(step))
        pickled(folder, f"checkpoint-{step}/optimizer.pt", {"state": {}})
    values = {f"checkpoint-1000.{name}": value for name, value in tops(llama(1000)).items()}
    left = {f"checkpoint-{step}/optimizer.pt": "training state" for step in (500, 1000)}
    left["checkpoint-500/model.safetensors"] = "another step"
    return Known(values, left)


def weights_and_their_average(folder: Path) -> Known:
    state = {f"blocks.{i}.mlp.fc1.weight": heavy(128, 64, seed=i) for i in range(2)}
    average = {name: tensor * 0.99 for name, tensor in state.items()}
    optimizer = {"state": {0: {"exp_avg": heavy(128, 64, seed=9)}}, "param_groups": []}
    pickled(folder, "checkpoint.pt", {"model": state, "ema": average, "opt": optimizer})
    return Known(tops(state), {}, {f"ema.{name}": "another state" for name in state})


def stable_diffusion_with_its_average(folder: Path) -> Known:
    names = [f"model.diffusion_model.input_blocks.{i}.1.proj_in.weight" for i in range(3)]
    state = {name: heavy(64, 64, seed=i) for i, name in enumerate(names)}
    average = {
        "model_ema." + name.removeprefix("model.").replace(".", ""): tensor * 0.9
        for name, tensor in state.items()
    }
    save(folder, "v1-5-pruned.safetensors", {**state, **average})
    save(folder, "v1-5-pruned-emaonly.safetensors", {n: t * 0.9 for n, t in state.items()})
    aside = dict.fromkeys(average, "another state")
    return Known(tops(state), {"v1-5-pruned-emaonly.safetensors": "an average"}, aside)


def student_and_teacher(folder: Path) -> Known:
    names = [f"module.backbone.blocks.{i}.attn.proj.weight" for i in range(2)]
    student = {name: heavy(64, 64, seed=i) for i, name in enumerate(names)}
    teacher = {n.removeprefix("module."): tensor * 0.9 for n, tensor in student.items()}
    pickled(folder, "checkpoint0100.pth", {"student": student, "teacher": teacher, "epoch": 100})
    values = {f"student.{name}": value for name, value in tops(student).items()}
    return Known(values, {}, {f"teacher.{name}": "another state" for name in teacher})


def a_folder_for_each_precision(folder: Path) -> Known:
    put(folder, "config.json", LLAMA)
    matrix = heavy(64, 64, seed=1)
    for name, kind in (("Q4_0", GGMLQuantizationType.Q4_0), ("F32", None)):
        (folder / name).mkdir()
        writer = GGUFWriter(folder / name / f"Tiny-{name}.gguf", "llama")
        data = matrix.numpy() if kind is None else quants.quantize(matrix.numpy(), kind)
        writer.add_tensor("blk.0.attn_output.weight", data, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    value = {"F32.blk.0.attn_output.weight": top(matrix)}
    return Known(value, {"Q4_0/Tiny-Q4_0.gguf": "another precision"})


AXES = {"wq": 0, "wo": 1, "w1": 0, "w2": 1}


def slices(folder: Path, name: str, seed: int = 0) -> dict[str, float]:
    """A small model cut for two devices; the values of its whole tensors."""
    shapes = {"attn.wq": (64, 64), "attn.wo": (64, 64), "ffn.w1": (128, 64), "ffn.w2": (64, 128)}
    state = {f"layers.0.{n}.weight": heavy(*s, seed=seed + i) for i, (n, s) in enumerate(shapes.items())}  # fmt: skip
    for i in range(2):
        part = {n: t.chunk(2, AXES[n.split(".")[-2]])[i].clone() for n, t in state.items()}
        write = save if name.endswith("safetensors") else pickled
        write(folder, name.format(i), part)
    return tops(state)


def slices_of_deepseek(folder: Path) -> Known:
    return Known(slices(folder, "model{}-mp2.safetensors"))


def slices_of_two_iterations(folder: Path) -> Known:
    put(folder, "config.json", LLAMA)
    for step in (10, 20):
        values = slices(folder, f"iter_{step:07}/mp_rank_0{{}}/model_optim_rng.pt", seed=step)
    left = {f"iter_0000010/mp_rank_0{i}/model_optim_rng.pt": "another step" for i in range(2)}
    return Known({f"iter_0000020.{name}": value for name, value in values.items()}, left)


def slices_nobody_knows(folder: Path) -> Refused:
    for i in range(2):
        state = {f"layers.0.{n}.weight": heavy(32, 64, seed=i) for n in ("mystery", "riddle")}
        save(folder, f"model{i}-mp2.safetensors", state)
    return Refused(("model0-mp2.safetensors", "model1-mp2.safetensors", "axis"))


def one_slice_of_two(folder: Path) -> Refused:
    slices(folder, "model{}-mp2.safetensors")
    (folder / "model1-mp2.safetensors").unlink()
    return Refused(("slice 1 of 2 is not there", "model0-mp2.safetensors"))


def models_side_by_side(folder: Path) -> Refused:
    for i, name in enumerate(("alice", "bob")):
        save(folder, f"{name}.safetensors", llama(i))
    return Refused(("alice.safetensors", "bob.safetensors", "nothing says which"))


def models_of_two_widths(folder: Path) -> Refused:
    for rows, name in ((64, "clip_l"), (96, "clip_g")):
        state = {f"text_model.{n}.weight": heavy(rows, 32, seed=rows) for n in SHAPES}
        save(folder, f"{name}.safetensors", state)
    return Refused(("clip_g.safetensors, clip_l.safetensors", "several models"))


CASES = (
    two_precisions, epochs_of_kohya, steps_of_mlx, checkpoints_of_a_trainer,
    weights_and_their_average, stable_diffusion_with_its_average, student_and_teacher,
    a_folder_for_each_precision, slices_of_deepseek, slices_of_two_iterations,
    slices_nobody_knows, one_slice_of_two, models_side_by_side, models_of_two_widths,
)  # fmt: skip


def rows_of(capsys: Output) -> list[dict[str, Any]]:
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_analyze_measures_one_state_and_names_the_others(
    case: Make, zoo: Zoo, capsys: Output, tmp_path: Path
) -> None:
    expected = case(tmp_path)
    code = zoo("analyze", tmp_path, "--format", "json", "--metrics", "tail", "--shuffle", "none")
    out, err = capsys.readouterr()
    if isinstance(expected, Refused):
        assert code == 1 and all(word in err for word in expected.words), err
        return
    assert code == 0, err
    values = {row["tensor"]: row["lambda_max"] for row in json.loads(out)}
    assert values == pytest.approx(expected.values, rel=1e-5)
    assert all(name in err and word in err for name, word in expected.files.items()), err
    assert all(word in err for word in expected.aside.values()), err


def test_plan_sweep_and_show_name_what_is_not_measured(
    zoo: Zoo, capsys: Output, tmp_path: Path
) -> None:
    """All cases at once: one plan, one sweep."""
    cases: dict[str, Known | Refused] = {}
    for case in CASES:
        (tmp_path / "zoo" / case.__name__).mkdir(parents=True)
        cases[f"local/{case.__name__}"] = case(tmp_path / "zoo" / case.__name__)
    spec, catalog = tmp_path / "spec.toml", tmp_path / "out"
    spec.write_text(f"[[source]]\npath = '{tmp_path}/zoo/*'\n[traps]\nshuffle = 'none'\n")
    assert zoo("plan", spec, "--format", "json") == 1
    planned = {row["model"]: row for row in rows_of(capsys)}
    assert zoo("sweep", spec, "--out", catalog, "--runner", "local") == 1
    capsys.readouterr()
    zoo("sql", catalog, "select model_id, message from failures", "--format", "json")
    failures = {row["model_id"]: row["message"] for row in rows_of(capsys)}
    zoo("sql", catalog, "select model_id, tensor, reason from tensors", "--format", "json")
    reasons = {(row["model_id"], row["tensor"]): row["reason"] for row in rows_of(capsys)}
    assert planned.keys() == cases.keys()
    for model, expected in cases.items():
        if isinstance(expected, Refused):
            assert all(word in planned[model]["note"] for word in expected.words), model
            assert all(word in failures[model] for word in expected.words), model
            continue
        named = {**expected.files, **expected.aside}
        assert planned[model]["layers"] == len(expected.values), model
        assert all(word in (planned[model]["note"] or "") for word in named.values()), model
        assert all(word in reasons[model, name] for name, word in named.items()), model
        zoo("show", catalog, model, "--format", "json")
        out, err = capsys.readouterr()
        assert {row["tensor"] for row in json.loads(out)} == expected.values.keys(), model
        assert all(word in err for word in named.values()), (model, err)


def test_folders_of_a_trainer_are_steps_where_a_pattern_asks_for_them(
    zoo: Zoo, capsys: Output, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    checkpoints_of_a_trainer(tmp_path / "run")
    spec, catalog = tmp_path / "spec.toml", tmp_path / "out"
    pattern = r"checkpoint-(\d+)"
    spec.write_text(
        f"[[source]]\npath = '{tmp_path}/run'\nstep_pattern = '{pattern}'\n[traps]\nshuffle = 'none'\n"
    )
    assert zoo("sweep", spec, "--out", catalog, "--runner", "local") == 0
    capsys.readouterr()
    question = "select model_id, step, tensor, lambda_max from layers"
    zoo("sql", catalog, question, "--format", "json")
    rows = rows_of(capsys)
    assert {row["model_id"] for row in rows} == {"local/run"}
    for step in (500, 1000):
        values = {row["tensor"]: row["lambda_max"] for row in rows if row["step"] == step}
        assert values == pytest.approx(tops(llama(step)), rel=1e-5)
    assert len(rows) == 18
