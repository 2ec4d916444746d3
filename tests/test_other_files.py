"""ONNX, Keras and numpy files are read where nothing else is there, each against its own library."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import zoo
from jobs.sources.find import find_targets
from jobs.spec.load import parse_spec
from tests.catalogs import ROOT
from tests.conftest import Zoo
from tests.hub_folders import fresh_session
from zoo.errors import CheckpointError, MissingShardError, TransientError, UnsafeError
from zoo.io.checkpoint import Checkpoint
from zoo.io.files import Counters, MemoryFile
from zoo.io.hdf5 import keras_name, read_hdf5_table
from zoo.io.local import LocalLocation
from zoo.io.opening import open_checkpoint
from zoo.loopback import HubServer
from zoo.options import AnalysisOptions

h5py = pytest.importorskip("h5py")
onnx = pytest.importorskip("onnx")
TAIL = AnalysisOptions(metrics="tail")
Caught = pytest.CaptureFixture[str]


def matrix(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def opened(path: Path) -> Checkpoint:
    return open_checkpoint(LocalLocation.of(path).open())


def read(path: Path) -> dict[str, np.ndarray]:
    """Every tensor of a file or folder, by name."""
    with opened(path) as checkpoint:
        return {name: checkpoint.read(name).numpy() for name in checkpoint.tensors}


class Net(torch.nn.Module):
    """What exporters treat in different ways: an embedding, linear layers, a kernel, a mask."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.emb = torch.nn.Embedding(50, 32)
        self.q_proj = torch.nn.Linear(32, 48, bias=False)
        self.fc = torch.nn.Linear(48, 40)
        self.conv = torch.nn.Conv1d(40, 36, 3)
        self.head = torch.nn.Linear(36, 24)
        self.register_buffer("mask", torch.tril(torch.ones(30, 30)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.fc(self.q_proj(self.emb(x)))
        hidden = hidden * self.mask[: x.shape[1], : x.shape[1]].sum()
        return self.head(self.conv(hidden.transpose(1, 2)).mean(-1))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module of torch as its own exporter writes it."""
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = (torch.zeros(1, 20, dtype=torch.long),)
        torch.onnx.export(Net().eval(), example, path, dynamo=False)
    return path


def rows(report: zoo.Report) -> dict[str, tuple[object, ...]]:
    names = ("role", "num_rows", "num_cols", "receptive_field", "alpha")
    return {str(row["tensor"]): tuple(row[name] for name in names) for row in report.layers}


def test_an_exported_module_gives_the_rows_of_the_module(exported: Path) -> None:
    assert rows(zoo.analyze(exported, options=TAIL)) == rows(zoo.analyze(Net(), options=TAIL))


def test_constants_that_nobody_named_and_no_layer_uses_are_buffers(exported: Path) -> None:
    entries = zoo.analyze(exported, options=TAIL).entries
    constants = [entry for entry in entries if entry.tensor.startswith("onnx::")]
    assert constants and all("buffer" in str(entry.reason) for entry in constants)


def test_every_tensor_holds_what_onnx_reads(exported: Path) -> None:
    ours = read(exported)
    for initializer in onnx.load(exported).graph.initializer:
        theirs = onnx.numpy_helper.to_array(initializer)
        if initializer.name in ours:
            assert np.array_equal(ours[initializer.name], theirs)
        else:  # lent a name, and turned
            assert any(np.array_equal(mine.T, theirs) for mine in ours.values() if mine.ndim == 2)


def test_tensors_in_a_file_apart_are_read_from_the_folder_and_from_the_file(
    exported: Path, tmp_path: Path
) -> None:
    model = onnx.load(exported)
    where = "model.onnx_data"
    onnx.save(
        model, tmp_path / "model.onnx", save_as_external_data=True, location=where, size_threshold=0
    )
    assert (tmp_path / where).stat().st_size > 10_000
    whole = rows(zoo.analyze(exported, options=TAIL))
    assert rows(zoo.analyze(tmp_path, options=TAIL)) == whole
    assert rows(zoo.analyze(tmp_path / "model.onnx", options=TAIL)) == whole
    assert zoo.analyze(tmp_path, options=TAIL).left_out == ()
    (tmp_path / where).unlink()
    with pytest.raises(MissingShardError, match=r"'model\.onnx_data', which is not here"):
        zoo.analyze(tmp_path)


def graph_of(*tensors: object, nodes: list[object]) -> Any:
    """A model of these initializers; its nodes need not be sound."""
    graph = onnx.helper.make_graph(nodes, "graph", [], [], initializer=tensors)
    return onnx.helper.make_model(graph)


def node(operator: str, weight: str, **attributes: object) -> Any:
    return onnx.helper.make_node(operator, ["x", weight], ["y" + weight], **attributes)


@pytest.mark.parametrize(
    ("made", "shape"),
    [
        (node("MatMul", "w"), (30, 20)),
        (node("Gemm", "w"), (30, 20)),
        (node("Gemm", "w", transB=1), (20, 30)),
        (node("Gather", "w"), (20, 30)),
        (node("Attention", "w"), (30, 20)),
    ],
    ids=["MatMul", "Gemm", "Gemm of the transpose", "Gather", "Attention"],
)
def test_matrices_are_given_out_by_in(made: object, shape: tuple[int, int], tmp_path: Path) -> None:
    values = matrix(0, 20, 30)
    onnx.save(
        graph_of(onnx.numpy_helper.from_array(values, "w"), nodes=[made]), tmp_path / "m.onnx"
    )
    given = read(tmp_path / "m.onnx")["w"]
    assert given.shape == shape
    assert np.array_equal(given if shape == (20, 30) else given.T, values)


def test_a_kernel_of_onnx_has_the_axes_of_torch_whatever_it_is_called(tmp_path: Path) -> None:
    values = onnx.numpy_helper.from_array(matrix(0, 32, 24, 3, 3), "layer/conv/kernel:0")
    onnx.save(graph_of(values, nodes=[node("Conv", values.name)]), tmp_path / "m.onnx")
    (row,) = zoo.analyze(tmp_path / "m.onnx", options=TAIL).layers
    assert row["tensor"] == "layer.conv.kernel.weight"
    assert (row["num_rows"], row["num_cols"], row["receptive_field"]) == (32, 24, 9)


@pytest.mark.parametrize("kind", ["float_data", "double_data", "constant"])
def test_other_places_for_numbers_are_read(kind: str, tmp_path: Path) -> None:
    values = matrix(0, 20, 30)
    number = onnx.TensorProto.DOUBLE if kind == "double_data" else onnx.TensorProto.FLOAT
    tensor = onnx.helper.make_tensor("w", number, values.shape, values.ravel().tolist())
    if kind == "constant":
        constant = onnx.helper.make_node("Constant", [], ["w"], value=tensor)
        model = graph_of(nodes=[constant, node("Gather", "w")])
    else:
        assert len(getattr(tensor, kind))
        model = graph_of(tensor, nodes=[node("Gather", "w")])
    onnx.save(model, tmp_path / "m.onnx")
    assert np.array_equal(read(tmp_path / "m.onnx")["w"].astype("float32"), values)


@pytest.mark.parametrize("kind", ["INT8", "UINT8", "INT4"])
def test_codes_of_onnx_fail_by_name(kind: str, tmp_path: Path) -> None:
    tensor = onnx.helper.make_tensor(
        "w_quantized",
        getattr(onnx.TensorProto, kind),
        (40, 30),
        bytes(600 if kind == "INT4" else 1200),
        raw=True,
    )
    scale = onnx.numpy_helper.from_array(matrix(1, 30), "w_scale")
    dequantised = onnx.helper.make_node("DequantizeLinear", ["w_quantized", "w_scale"], ["w"])
    model = graph_of(tensor, scale, nodes=[dequantised, node("MatMul", "w")])
    onnx.save(model, tmp_path / "m.onnx")
    (row,) = zoo.analyze(tmp_path / "m.onnx", options=TAIL).layers
    assert row["status"] == "failed" and row["reason"]


def test_numbers_stored_one_by_one_are_refused(tmp_path: Path) -> None:
    values = matrix(0, 20, 30).astype("float16")
    tensor = onnx.helper.make_tensor(
        "w", onnx.TensorProto.FLOAT16, values.shape, values.ravel().tolist()
    )
    onnx.save(graph_of(tensor, nodes=[node("MatMul", "w")]), tmp_path / "m.onnx")
    with pytest.raises(CheckpointError, match="stores its numbers one by one"):
        zoo.analyze(tmp_path / "m.onnx")


@pytest.mark.parametrize("location", ["../outside", "/etc/passwd", ""])
def test_a_file_apart_may_not_lie_outside(location: str, tmp_path: Path) -> None:
    tensor = onnx.TensorProto(name="w", dims=[20, 30], data_type=1, data_location=1)
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    (tmp_path / "m.onnx").write_bytes(
        graph_of(tensor, nodes=[node("MatMul", "w")]).SerializeToString()
    )
    with pytest.raises(UnsafeError):
        zoo.analyze(tmp_path / "m.onnx")


def test_damaged_onnx_is_a_checkpoint_error(exported: Path, tmp_path: Path) -> None:
    data = exported.read_bytes()
    rng = np.random.default_rng(0)
    for number in range(40):
        broken = bytearray(data[: int(rng.integers(1, len(data)))] if number % 2 else data)
        for at in rng.integers(0, len(broken), 30):
            broken[at] = int(rng.integers(0, 256))
        (tmp_path / "m.onnx").write_bytes(broken)
        try:
            opened(tmp_path / "m.onnx").close()
        except CheckpointError:
            continue


def test_arrays_of_numpy_are_read_in_either_order(tmp_path: Path) -> None:
    arrays = {
        "block_0/dense/kernel": matrix(0, 30, 20),
        "turned": np.asfortranarray(matrix(1, 20, 30)),
        "stack": np.asfortranarray(matrix(2, 4, 5, 6)),
        "half": matrix(3, 12, 10).astype("float16"),
        "number": np.float32(3.0),
    }
    np.savez(tmp_path / "params.npz", **arrays)
    given = read(tmp_path / "params.npz")
    assert set(given) == {name.replace("/", ".") for name in arrays}
    for name, values in arrays.items():
        assert np.array_equal(given[name.replace("/", ".")], values)


def test_files_of_one_array_each_are_one_model(tmp_path: Path) -> None:
    for name in ("w1", "w2"):
        np.save(tmp_path / f"{name}.npy", matrix(len(name), 30, 20))
    assert set(read(tmp_path)) == {"w1", "w2"} and set(read(tmp_path / "w1.npy")) == {"w1"}


@pytest.mark.parametrize(
    ("save", "words"),
    [
        (lambda p: np.savez_compressed(p, w=matrix(0, 9, 9)), "compressed.*numpy.savez"),
        (
            lambda p: np.savez(p, w=np.array([{1: 2}], dtype=object)),
            "pickled objects, which are not",
        ),
        (lambda p: np.savez(p, w=matrix(0, 9, 9).astype(">f4")), "the type '>f4'"),
        (lambda p: np.savez(p, w=np.array(["a"])), "the type '<U1'"),
        (lambda p: p.write_bytes(b"no archive"), "no sound archive of numpy"),
    ],
)
def test_arrays_that_are_no_plain_numbers_are_refused(
    save: Callable[[Path], object], words: str, tmp_path: Path
) -> None:
    save(tmp_path / "w.npz")
    with pytest.raises(CheckpointError, match=words):
        opened(tmp_path / "w.npz")


def put_hdf5(path: Path, arrays: dict[str, np.ndarray], **options: object) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, **options)
    return path


KERAS_2 = {
    "model_weights/dense/dense/kernel": matrix(0, 30, 20),
    "model_weights/dense/dense/bias": matrix(1, 20),
    "model_weights/conv/conv/kernel": matrix(2, 3, 3, 24, 32),
    "model_weights/mha/mha/attention_output/kernel": matrix(3, 4, 8, 40),
    "optimizer_weights/adam/dense_kernel_momentum": matrix(4, 30, 20),
}
KERAS_3 = {
    "layers/dense/vars/0": KERAS_2["model_weights/dense/dense/kernel"],
    "layers/dense/vars/1": KERAS_2["model_weights/dense/dense/bias"],
    "layers/conv/vars/0": KERAS_2["model_weights/conv/conv/kernel"],
    "layers/mha/output_dense/vars/0": KERAS_2["model_weights/mha/mha/attention_output/kernel"],
    "optimizer/vars/1": KERAS_2["optimizer_weights/adam/dense_kernel_momentum"],
}


def test_both_layouts_of_keras_give_the_same_rows(tmp_path: Path) -> None:
    two = put_hdf5(tmp_path / "two.h5", KERAS_2)
    three = put_hdf5(tmp_path / "three.weights.h5", KERAS_3)
    with zipfile.ZipFile(tmp_path / "packed.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.write(three, "model.weights.h5")
    expected = rows(zoo.analyze(two, options=TAIL))
    assert {name: row[:4] for name, row in expected.items()} == {
        "dense.kernel": ("dense", 30, 20, 1),
        "conv.kernel": ("conv", 24, 32, 9),
        "mha.attention_output.kernel": ("o", 32, 40, 1),
    }
    assert rows(zoo.analyze(three, options=TAIL)) == expected
    assert rows(zoo.analyze(tmp_path / "packed.keras", options=TAIL)) == expected


def test_what_an_optimizer_keeps_is_named_and_not_measured(tmp_path: Path) -> None:
    for number, arrays in enumerate((KERAS_2, KERAS_3)):
        entries = zoo.analyze(put_hdf5(tmp_path / f"{number}.h5", arrays), options=TAIL).entries
        (kept,) = (entry for entry in entries if entry.tensor.startswith("optimizer"))
        assert kept.fate == "skipped"
        assert re.search("training state|not learned", str(kept.reason))


def test_data_sets_hold_what_h5py_reads(tmp_path: Path) -> None:
    given = read(put_hdf5(tmp_path / "m.h5", KERAS_2))
    assert np.array_equal(given["conv.kernel"], KERAS_2["model_weights/conv/conv/kernel"])


@pytest.mark.parametrize(
    ("path", "num_axes", "name"),
    [
        ("bert/tf_bert/bert/encoder/layer_._3/attention/self/query/kernel:0", 2,
         "bert.tf_bert.bert.encoder.layer.3.attention.self.query.kernel"),
        ("layers/lstm/cell/vars/1", 2, "lstm.cell.recurrent_kernel"),
        ("layers/gru/cell/vars/2", 2, "gru.cell.bias"),
        ("layers/separable_conv2d/vars/1", 4, "separable_conv2d.pointwise_kernel"),
        ("layers/embedding/vars/0", 2, "embedding.embeddings"),
        ("layers/mha/query_dense/vars/1", 2, "mha.query.bias"),
        ("layers/odd/vars/1", 2, "odd.vars.1"),
    ],
)  # fmt: skip
def test_variables_of_keras_are_called_by_their_names(path: str, num_axes: int, name: str) -> None:
    assert keras_name(path, num_axes) == name


def test_compressed_data_sets_are_refused(tmp_path: Path) -> None:
    path = put_hdf5(tmp_path / "m.h5", {"w": matrix(0, 30, 20)}, compression="gzip")
    with pytest.raises(CheckpointError, match="compressed or cut into chunks"):
        zoo.analyze(path)


def test_a_damaged_hdf5_file_is_a_checkpoint_error(tmp_path: Path) -> None:
    data = put_hdf5(tmp_path / "whole.h5", KERAS_2).read_bytes()
    for end in (0, 10, 600, len(data) // 2):
        (tmp_path / "cut.h5").write_bytes(data[:end])
        with pytest.raises(CheckpointError):
            opened(tmp_path / "cut.h5")


class Unreachable(MemoryFile):
    """A file whose server is gone after so many reads."""

    reads_left = 0

    def read_into(self, start: int, buffer: memoryview) -> None:
        self.reads_left -= 1
        if self.reads_left < 0:
            raise TransientError("connection broke")
        super().read_into(start, buffer)


@pytest.mark.parametrize("reads", [0, 1, 2])
def test_a_line_that_breaks_is_no_damage(reads: int, tmp_path: Path) -> None:
    layers = {f"layer{i}/kernel": matrix(i, 60, 50) for i in range(9)}
    data = put_hdf5(tmp_path / "m.h5", layers).read_bytes()
    file = Unreachable("m.h5", data, Counters())
    file.reads_left = reads
    with pytest.raises(TransientError, match="connection broke"):
        read_hdf5_table(file)


def test_a_process_ends_well_after_a_line_that_broke() -> None:
    """h5py, left alone with an exception while it opens a file, ended in a segmentation fault."""
    code = (
        "from tests.test_other_files import Unreachable, read_hdf5_table, Counters, TransientError\n"
        "try: read_hdf5_table(Unreachable('m.h5', bytes(9999), Counters()))\n"
        "except TransientError: print('transient')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "transient\n"), done.stderr


def test_without_h5py_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put_hdf5(tmp_path / "m.h5", KERAS_2)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(CheckpointError, match=r"pip install 'spectral-zoo\[hdf5\]'"):
        zoo.analyze(path)


def test_beside_other_weights_they_are_left_out_by_name(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(exported.read_bytes())
    save_file({"a.weight": matrix(0, 30, 20)}, tmp_path / "model.safetensors")
    report = zoo.analyze(tmp_path, options=TAIL)
    assert [row["tensor"] for row in report.layers] == ["a.weight"]
    assert [left.file for left in report.left_out] == ["model.onnx"]


def test_of_several_files_the_usual_name_counts_and_the_others_are_named(
    exported: Path, tmp_path: Path
) -> None:
    for name in ("model.onnx", "model_quantized.onnx", "other.onnx"):
        (tmp_path / name).write_bytes(exported.read_bytes())
    report = zoo.analyze(tmp_path, options=TAIL)
    assert [left.file for left in report.left_out] == ["model_quantized.onnx", "other.onnx"]
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(CheckpointError, match=r"holds 2 models .*name its file"):
        zoo.analyze(tmp_path)


def test_a_tree_lists_what_is_surely_a_model_and_no_data(exported: Path, tmp_path: Path) -> None:
    for place in ("net/model.onnx", "data/features.npz", "data/images.h5"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_bytes(exported.read_bytes())
    (tmp_path / "plain").mkdir()
    save_file({"a.weight": matrix(0, 30, 20)}, tmp_path / "plain" / "model.safetensors")
    spec = parse_spec(f"[[source]]\npath = '{tmp_path}'\n", folder=tmp_path)
    assert [t.model_id for t in find_targets(spec)] == ["local/net", "local/plain"]


def test_a_change_of_such_a_file_is_another_revision(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", w=matrix(0, 30, 20))
    before = LocalLocation.of(tmp_path).open().revision
    np.savez(tmp_path / "w.npz", w=matrix(1, 30, 20))
    assert LocalLocation.of(tmp_path).open().revision != before


@pytest.mark.parametrize("kind", ["onnx", "h5"])
def test_a_directory_costs_few_reads_and_few_bytes(kind: str, tmp_path: Path) -> None:
    arrays = {f"layers.{i}.weight": matrix(i, 200, 300) for i in range(20)}
    path = tmp_path / f"m.{kind}"
    if kind == "h5":
        put_hdf5(path, arrays)
    else:
        tensors = [onnx.numpy_helper.from_array(values, name) for name, values in arrays.items()]
        onnx.save(graph_of(*tensors, nodes=[node("Gather", name) for name in arrays]), path)
    store = LocalLocation.of(path).open()
    with open_checkpoint(store) as checkpoint:
        assert set(checkpoint.tensors) == set(arrays)
        assert store.counters.requests < 3 * len(arrays)
        assert store.counters.bytes_read < 0.1 * path.stat().st_size


@pytest.fixture(scope="module", autouse=True)
def _session() -> Iterator[None]:
    with fresh_session():
        yield


def test_they_are_read_from_a_hub_by_ranges_and_the_account_adds_up(
    exported: Path, tmp_path: Path, zoo: Zoo, capsys: Caught, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = tmp_path / "acme" / "net"
    repo.mkdir(parents=True)
    (repo / "model.onnx").write_bytes(exported.read_bytes())
    put_hdf5(tmp_path / "keras.h5", KERAS_2)
    keras = tmp_path / "acme" / "keras"
    keras.mkdir()
    (tmp_path / "keras.h5").rename(keras / "tf_model.h5")
    (keras / "config.json").write_text("{}")
    spec = tmp_path / "spec.toml"
    spec.write_text('[sweep]\nname = "x"\n[[source]]\nquery = { author = "acme" }\n')
    with HubServer(tmp_path) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert zoo("analyze", "acme/net", "--format", "json", "--metrics", "tail") == 0
        assert len(json.loads(capsys.readouterr().out)) == 5
        assert zoo("plan", spec, "--account", "--format", "json") == 0
    account = json.loads(capsys.readouterr().out)
    for model, folder in (("acme/net", repo), ("acme/keras", keras)):
        listed = sum(row["nbytes"] for row in account if row["model"] == model)
        assert listed == sum(file.stat().st_size for file in folder.iterdir())
