"""Every file of a folder or repository is read, or named with the reason: through the commands.

Layouts met in the field, shrunk; the same from a folder and from a Hub.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from safetensors.torch import save_file

from tests.conftest import Zoo
from tests.hub_folders import fresh_session
from zoo.loopback.server import HubServer

PIPELINE = {
    "_class_name": "P", "unet": ["diffusers", "U"], "vae": ["diffusers", "V"],
    "text_encoder": ["transformers", "T"],
}  # fmt: skip


def matrix(seed: int, rows: int = 24, cols: int = 16) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((rows, cols))).float()


def save(path: Path, **tensors: torch.Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)


def pickled(path: Path, **tensors: torch.Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, path)


def put_index(path: Path, weight_map: dict[str, str]) -> None:
    path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def put_gguf(path: Path, seed: int, architecture: str = "llama", **pairs: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, architecture)
    for key, value in pairs.items():
        writer.add_string(key.replace("__", "."), value)
    writer.add_tensor("blk.0.attn_q.weight", matrix(seed).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


Output = pytest.CaptureFixture[str]
Analysed = Callable[[Path], tuple[int, list[str], str]]


@pytest.fixture
def analysed(zoo: Zoo, capsys: Output) -> Analysed:
    """`zoo analyze`: exit code, tensors of the layers, standard error."""

    def call(source: Path) -> tuple[int, list[str], str]:
        code = zoo("analyze", source, "--format", "json", "--metrics", "tail", "--shuffle", "none")
        out, err = capsys.readouterr()
        return code, [row["tensor"] for row in json.loads(out or "[]")], err

    return call


def pipeline(folder: Path) -> Path:
    """A pipeline with safetensors here and pickles there, and files beside that are not read."""
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps(PIPELINE))
    save(folder / "unet" / "diffusion_pytorch_model.safetensors", q=matrix(1))
    save(folder / "unet" / "diffusion_pytorch_model.fp16.safetensors", q=matrix(1).half())
    pickled(folder / "vae" / "diffusion_pytorch_model.bin", conv=matrix(2))
    pickled(folder / "text_encoder" / "pytorch_model.bin", k=matrix(3))
    (folder / "text_encoder" / "flax_model.msgpack").write_bytes(b"x" * 9)
    save(folder / "all_in_one.safetensors", a=matrix(4))
    save(folder / "checkpoint-5" / "model.safetensors", a=matrix(4))
    (folder / "README.md").write_text("# P")
    return folder


LEFT_OUT = {
    "all_in_one.safetensors", "checkpoint-5/model.safetensors", "text_encoder/flax_model.msgpack",
    "unet/diffusion_pytorch_model.fp16.safetensors",
}  # fmt: skip


def test_a_pipeline_is_read_with_the_container_of_each_folder(
    tmp_path: Path, analysed: Analysed
) -> None:
    code, tensors, told = analysed(pipeline(tmp_path / "p"))
    assert (code, sorted(tensors)) == (0, ["text_encoder.k", "unet.q", "vae.conv"])
    assert all(name in told for name in LEFT_OUT) and "Flax" in told


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a Hub on loopback that serves `acme/p`, a pipeline."""
    pipeline(tmp_path / "shelf" / "acme" / "p")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with HubServer(tmp_path / "shelf") as server, fresh_session():
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server.url


@pytest.mark.parametrize("is_remote", [False, True])
def test_the_table_and_the_account_hold_every_file(
    tmp_path: Path, zoo: Zoo, capsys: Output, hub: str, is_remote: bool
) -> None:
    folder = tmp_path / "shelf" / "acme" / "p"
    source = f'hub = "acme/p"\nendpoint = "{hub}"' if is_remote else f'path = "{folder}"'
    spec = tmp_path / "spec.toml"
    spec.write_text(f"[[source]]\n{source}\n[traps]\nshuffle = 'none'\n")
    assert zoo("plan", spec, "--account", "--format", "json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert sum(r["nbytes"] for r in rows) == sum(
        path.stat().st_size for path in folder.rglob("*") if path.is_file()
    )
    assert {r["file"] for r in rows if r["fate"] == "left_out"} == LEFT_OUT
    assert zoo("plan", spec, "--format", "json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["layers"] == 3 and all(name in row["note"] for name in LEFT_OUT)
    assert zoo("sweep", spec, "--out", tmp_path / "out") == 0
    question = "select tensor, nbytes, dtype, shape from tensors where fate = 'left_out'"
    assert zoo("sql", tmp_path / "out", question, "--format", "json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["tensor"] for row in rows} == LEFT_OUT
    assert {row["dtype"] for row in rows} == {None} == {row["shape"] for row in rows}
    model = "acme/p" if is_remote else "local/p"
    assert zoo("show", tmp_path / "out", model, "--format", "json") == 0
    out, told = capsys.readouterr()
    assert len(json.loads(out)) == 3 and all(name in told for name in LEFT_OUT)


def test_modules_of_a_sentence_transformer_have_containers_of_their_own(
    tmp_path: Path, analysed: Analysed
) -> None:
    save(tmp_path / "model.safetensors", a=matrix(1))
    pickled(tmp_path / "2_Dense" / "pytorch_model.bin", a=matrix(2))
    (tmp_path / "modules.json").write_text('[{"path": ""}, {"path": "2_Dense"}]')
    assert analysed(tmp_path)[:2] == (0, ["a", "2_Dense.a"])


def test_folders_that_nothing_declares_parts_of_one_model_are_read_unless_they_are_copies(
    tmp_path: Path, analysed: Analysed
) -> None:
    (tmp_path / "config.json").write_text("{}")
    save(tmp_path / "a" / "model.safetensors", x=matrix(1))
    pickled(tmp_path / "b" / "pytorch_model.bin", y=matrix(2))
    pickled(tmp_path / "c" / "pytorch_model.bin", x=matrix(1))
    code, tensors, told = analysed(tmp_path)
    assert (code, sorted(tensors)) == (0, ["a.x", "b.y"])
    assert "c/pytorch_model.bin (holds 'x' again" in told


def test_empty_tensors_where_weights_belong_are_a_failure(
    tmp_path: Path, zoo: Zoo, capsys: Output, analysed: Analysed
) -> None:
    folder = tmp_path / "zero3"
    names = [f"layers.{i}.q_proj.lora_{x}.weight" for i in range(2) for x in "AB"]
    save(folder / "adapter_model.safetensors", **{name: torch.zeros(0) for name in names})
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 8, "lora_alpha": 8}')
    code, tensors, told = analysed(folder)
    assert code == 1 and not tensors and "4 of 4 tensors are empty" in told
    spec = tmp_path / "spec.toml"
    spec.write_text(f'[[source]]\npath = "{folder}"\n')
    assert zoo("plan", spec, "--format", "json") == 1
    assert zoo("sweep", spec, "--out", tmp_path / "out") == 1
    capsys.readouterr()
    zoo("sql", tmp_path / "out", "select cause, message from failures", "--format", "json")
    (row,) = json.loads(capsys.readouterr().out)
    assert row["cause"] == "data" and "are empty" in row["message"]


def test_a_model_of_vectors_alone_fails_with_its_reasons(
    tmp_path: Path, analysed: Analysed
) -> None:
    save(tmp_path / "model.safetensors", **{"norm.weight": torch.ones(4), "a.bias": torch.ones(4)})
    code, _, told = analysed(tmp_path)
    assert code == 1 and "1 vector" in told and "1 bias" in told


def test_a_model_whose_layers_the_spec_leaves_out_has_not_failed(
    tmp_path: Path, zoo: Zoo, capsys: Output
) -> None:
    save(tmp_path / "m" / "model.safetensors", a=matrix(1))
    spec = tmp_path / "spec.toml"
    spec.write_text(f'[[source]]\npath = "{tmp_path / "m"}"\n[layers]\nexclude = ["a"]\n')
    assert zoo("plan", spec, "--format", "json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert "[layers] of the spec leaves out all" in row["note"]
    assert zoo("sweep", spec, "--out", tmp_path / "out") == 0


@pytest.mark.parametrize(
    ("shard", "index"),
    [
        ("model.fp16-{}-of-00002.safetensors", "model.safetensors.index.fp16.json"),
        ("model-{}-of-00002.fp16.safetensors", "model.safetensors.index.fp16.json"),
        ("pytorch_model.fp16-{}-of-00002.bin", "pytorch_model.bin.index.fp16.json"),
        ("model-{}-of-00002.safetensors", None),
        ("weights_{}_of_00002.safetensors", None),
    ],
)
def test_a_missing_shard_is_named_whatever_its_variant(
    tmp_path: Path, analysed: Analysed, shard: str, index: str | None
) -> None:
    first, second = shard.format("00001"), shard.format("00002")
    write = pickled if shard.endswith(".bin") else save
    write(tmp_path / first, a=matrix(1))
    if index:
        put_index(tmp_path / index, {"a": first, "b": second})
    code, _, told = analysed(tmp_path)
    assert code == 1 and second in told
    write(tmp_path / second, b=matrix(2))
    assert analysed(tmp_path)[:2] == (0, ["a", "b"])


def test_an_index_whose_shards_are_all_missing_names_them(
    tmp_path: Path, analysed: Analysed
) -> None:
    put_index(tmp_path / "model.safetensors.index.json", {"a": "model-00001-of-00001.safetensors"})
    code, _, told = analysed(tmp_path)
    assert code == 1 and "model-00001-of-00001.safetensors" in told


@pytest.mark.parametrize("has_shards", [False, True])
def test_a_whole_file_wins_over_a_stale_index(
    tmp_path: Path, analysed: Analysed, has_shards: bool
) -> None:
    save(tmp_path / "model.safetensors", new=matrix(1))
    shards = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    put_index(tmp_path / "model.safetensors.index.json", {"a": shards[0], "b": shards[1]})
    if has_shards:
        save(tmp_path / shards[0], a=matrix(2))
        save(tmp_path / shards[1], b=matrix(3))
    code, tensors, told = analysed(tmp_path)
    assert (code, tensors) == (0, ["new"])
    assert "model.safetensors.index.json (a stale index" in told
    assert has_shards == (shards[1] in told)


def test_an_index_that_names_the_whole_file_is_not_stale(
    tmp_path: Path, analysed: Analysed
) -> None:
    save(tmp_path / "model.safetensors", a=matrix(1))
    save(tmp_path / "mtp.safetensors", b=matrix(2))
    put_index(
        tmp_path / "model.safetensors.index.json",
        {"a": "model.safetensors", "b": "mtp.safetensors"},
    )
    code, tensors, told = analysed(tmp_path)
    assert (code, tensors) == (0, ["a", "b"]) and "not read" not in told


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4f5f\nsize 988097824\n"


@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "pytorch_model.bin", "m.gguf", "model.safetensors.index.json", "x.ckpt"],
)
def test_a_git_lfs_pointer_is_named(tmp_path: Path, analysed: Analysed, name: str) -> None:
    (tmp_path / name).write_text(POINTER)
    code, _, told = analysed(tmp_path)
    assert code == 1 and f"{name} is a Git LFS pointer" in told and "git lfs pull" in told


@pytest.mark.parametrize(
    ("name", "architecture", "pairs", "word"),
    [
        ("mmproj-f16.gguf", "clip", {}, "projector"),
        ("vision.gguf", "clip", {"general__type": "mmproj"}, "projector"),
        ("imatrix.gguf", "", {"general__type": "imatrix"}, "importance matrix"),
        ("style.gguf", "llama", {"general__type": "adapter"}, "adapter"),
        ("m-eagle3.gguf", "eagle3", {}, "draft head"),
    ],
)
def test_what_is_no_model_among_gguf_files_is_named_and_never_read(
    tmp_path: Path,
    analysed: Analysed,
    name: str,
    architecture: str,
    pairs: dict[str, str],
    word: str,
) -> None:
    put_gguf(tmp_path / "m-Q8_0.gguf", 1, general__type="model")
    put_gguf(tmp_path / name, 2, architecture, **pairs, general__note="x" * 9_000)
    code, tensors, told = analysed(tmp_path)
    assert (code, tensors) == (0, ["blk.0.attn_q.weight"])
    assert f"{name} (" in told and word in told


def test_several_models_among_gguf_files_are_listed(tmp_path: Path, analysed: Analysed) -> None:
    put_gguf(tmp_path / "llama-a.Q8_0.gguf", 1)
    put_gguf(tmp_path / "qwen-b.f32.gguf", 2, "qwen2")
    code, _, told = analysed(tmp_path)
    assert code == 1 and "llama-a.Q8_0.gguf (llama), qwen-b.f32.gguf (qwen2)" in told
    assert analysed(tmp_path / "qwen-b.f32.gguf")[0] == 0


def test_of_several_precisions_of_one_gguf_model_one_is_read_and_the_others_named(
    tmp_path: Path, analysed: Analysed
) -> None:
    put_gguf(tmp_path / "Tiny-UD-Q4_K_XL.gguf", 1)
    put_gguf(tmp_path / "Tiny.i1-IQ3_XXS.gguf", 2)
    put_gguf(tmp_path / "Tiny-BF16.gguf", 3, general__note="x" * 99)
    code, _, told = analysed(tmp_path)
    assert code == 0 and "2 files not read" in told
    assert "another precision of the same model: Tiny-BF16.gguf is read" in told


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("model.onnx", "ONNX"), ("model.onnx_data", "ONNX"), ("tf_model.h5", "Keras"),
        ("model.weights.h5", "Keras"), ("weights.npz", "numpy"), ("flax_model.msgpack", "Flax"),
        ("model.ckpt.index", "TensorFlow"), ("model.ckpt.data-00000-of-00001", "TensorFlow"),
        ("model.pt2", "exported"), ("openvino_model.bin", "OpenVINO"), ("model.nemo", "archive"),
        ("ggml-model-q4_0.bin", "GGML"), ("model.safetensors.part", "not whole"),
        ("MODEL.SAFETENSORS", "capitals"),
    ],
)  # fmt: skip
def test_weight_files_that_nothing_reads_are_named(
    tmp_path: Path, analysed: Analysed, name: str, word: str
) -> None:
    (tmp_path / name).write_bytes(b"x" * 9)
    code, _, told = analysed(tmp_path)
    assert code == 1 and name in told and word in told
    save(tmp_path / "model.safetensors", a=matrix(1))
    code, tensors, told = analysed(tmp_path)
    assert (code, tensors) == (0, ["a"]) and name in told and word in told
