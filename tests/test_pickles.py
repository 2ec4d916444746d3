"""PyTorch files: the same tensors as torch.load, and nothing of them is run."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.errors import CheckpointError, MissingShardError, TruncatedError, UnsafeError
from zoo.formats.account import account
from zoo.io.checkpoint import Checkpoint
from zoo.io.local import LocalLocation
from zoo.io.opening import open_checkpoint

A = torch.arange(12.0).reshape(3, 4)


def opened(path: Path) -> Checkpoint:
    return open_checkpoint(LocalLocation.of(path).open())


class Hostile:
    """Runs a command when unpickled by anything that runs pickles."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_state_dict_gives_what_torch_loads(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "pytorch_model.bin"
    big = torch.randn(40, 30, generator=torch.Generator().manual_seed(0))
    state = OrderedDict(
        a=A,
        half=A.half(),
        brain=A.bfloat16(),
        double=A.double(),
        ids=torch.arange(5),
        flags=torch.tensor([True, False]),
        parameter=torch.nn.Parameter(A),
        turned=A.t(),
        columns=big[3:7, 2:9],
        spread=torch.ones(1, 3).expand(4, 3),
        scalar=torch.tensor(3.0),
        none=torch.zeros(0, 4),
    )
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    expected = torch.load(path, weights_only=True)
    with opened(path) as checkpoint:
        assert set(checkpoint.tensors) == set(expected)
        for name, tensor in expected.items():
            assert torch.equal(checkpoint.read(name), tensor.detach()), name
        assert torch.equal(checkpoint.read("columns", (1, 3)), big[4:6, 2:9])


def test_eight_bit_floats_are_found(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"a": A.to(torch.float8_e4m3fn)}, path)
    with opened(path) as checkpoint:
        assert checkpoint.tensors["a"].dtype == "F8_E4M3"
        assert torch.equal(checkpoint.read("a").float(), A.to(torch.float8_e4m3fn).float())


def test_tied_tensors_share_their_bytes(tmp_path: Path) -> None:
    torch.save({"embed.weight": A, "head.weight": A}, tmp_path / "model.pt")
    with opened(tmp_path) as checkpoint:
        one, two = checkpoint.tensors.values()
        assert (one.start, one.end) == (two.start, two.end)


def test_a_training_checkpoint_gives_its_model_and_skips_the_optimizer(tmp_path: Path) -> None:
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.AdamW(model.parameters())
    model(A).sum().backward()
    optimizer.step()
    saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    torch.save({**saved, "loss": np.float64(0.5)}, tmp_path / "last.ckpt")
    with opened(tmp_path) as checkpoint:
        found = account(checkpoint)
        assert [w.name for w in found.weights] == ["weight"]
        skipped = [e.tensor for e in found.entries if "training state" in (e.reason or "")]
        assert "optimizer.state.0.exp_avg" in skipped


def test_names_that_start_with_model_keep_it(tmp_path: Path) -> None:
    torch.save({"model.a": A, "model.b": A + 1}, tmp_path / "model.pt")
    with opened(tmp_path) as checkpoint:
        assert set(checkpoint.tensors) == {"model.a", "model.b"}


def test_sharded_pickles_are_found_through_their_index(tmp_path: Path) -> None:
    torch.save({"a": A}, tmp_path / "pytorch_model-00001-of-00002.bin")
    torch.save({"b": A}, tmp_path / "pytorch_model-00002-of-00002.bin")
    torch.save({"lr": 1.0}, tmp_path / "training_args.bin")
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(
        '{"weight_map": {"a": "pytorch_model-00001-of-00002.bin",'
        ' "b": "pytorch_model-00002-of-00002.bin"}}'
    )
    with opened(tmp_path) as checkpoint:
        assert set(checkpoint.tensors) == {"a", "b"}
        assert [left.file for left in checkpoint.left_out] == ["training_args.bin"]
    (tmp_path / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(MissingShardError, match="00002-of-00002"):
        opened(tmp_path)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    mark = tmp_path / "was_run"
    path = tmp_path / "model.pt"
    torch.save({"a": A, "x": Hostile(mark)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsafeError, match=r"model\.pt: its pickle holds the global posix\.system"):
        opened(path)
    assert not mark.exists()


def test_a_whole_module_is_refused_with_advice(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(UnsafeError, match="Save its state_dict alone"):
        opened(tmp_path)


def test_a_program_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("m/data.pkl", pickle.dumps({}))
        archive.writestr("m/code/__torch__.py", "")
    with pytest.raises(UnsafeError, match="TorchScript"):
        opened(tmp_path)


def rezipped(path: Path, changes: dict[str, bytes | None]) -> None:
    """The archive again, with some entries changed or left out."""
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            key = name.partition("/")[2]
            if changes.get(key, data) is not None:
                archive.writestr(name, changes.get(key, data) or b"")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"data.pkl": None}, CheckpointError, "0 files called data.pkl"),
        ({"data/0": None}, TruncatedError, "nothing for storage"),
        ({"data/0": b"1234"}, TruncatedError, "4 bytes for storage .* wanted 48 bytes"),
        ({"byteorder": b"big"}, CheckpointError, "big-endian"),
        ({"data.pkl": b"\x80\x02"}, CheckpointError, "cannot be read"),
        ({"data.pkl": b"\x80\x02N."}, CheckpointError, "no weights in model.pt"),
        ({"data.pkl": b"\x80\x04r\xff\xff\xff\x7f."}, CheckpointError, "cannot be read"),
        ({"data.pkl": b"cos\nsystem\n."}, UnsafeError, "the global os.system"),
        ({"data.pkl": b"cbuiltins\neval\n."}, UnsafeError, "the global builtins.eval"),
    ],
)
def test_a_damaged_archive_is_refused_by_name(
    tmp_path: Path, changes: dict[str, bytes | None], error: type[Exception], message: str
) -> None:
    torch.save({"a": A}, tmp_path / "model.pt")
    rezipped(tmp_path / "model.pt", changes)
    with pytest.raises(error, match=message) as caught:
        opened(tmp_path)
    assert "model.pt" in str(caught.value)


def test_an_entry_that_claims_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"a": torch.zeros(1000)}, path)
    rezipped(path, {"data/0": b"1234"})
    data = bytearray(path.read_bytes())
    entry = data.index(b"/data/0", data.index(b"PK\x01\x02")) - len("model") - 46
    data[entry + 20 : entry + 28] = struct.pack("<II", 4000, 4000)  # packed and plain size
    path.write_bytes(data)
    with pytest.raises(TruncatedError, match=r"wanted .* for 'a'"):
        opened(path)


def test_a_view_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    torch.save({"a": A}, tmp_path / "model.pt")
    with zipfile.ZipFile(tmp_path / "model.pt") as archive:
        name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        data = archive.read(name)
    rezipped(tmp_path / "model.pt", {"data.pkl": data.replace(b"K\x03K\x04", b"K\x03K\x05", 1)})
    with pytest.raises(CheckpointError, match="reaches byte"):
        opened(tmp_path)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_file_cut_short_is_refused(tmp_path: Path, zipped: bool, share: float) -> None:
    path = tmp_path / "model.pt"
    torch.save({"a": torch.randn(50, 50)}, path, _use_new_zipfile_serialization=zipped)
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(CheckpointError, match=r"model\.pt"):
        opened(path)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"hello, this is text")
    with pytest.raises(CheckpointError, match=r"wanted a file saved by torch\.save"):
        opened(tmp_path)


def test_safetensors_are_preferred(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.save({"x": Hostile(tmp_path)}, tmp_path / "pytorch_model.bin")
    save_file({"a": A}, tmp_path / "model.safetensors")
    with opened(tmp_path) as checkpoint:
        assert checkpoint.container == "safetensors"
        assert [left.file for left in checkpoint.left_out] == ["pytorch_model.bin"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=3))
def test_changed_bytes_give_a_checkpoint_error_or_a_table(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.mktemp("pickle") / "model.pt"
    torch.save({"a": A, "b": A.t()}, path)
    data = bytearray(path.read_bytes())
    for at, value in changes:
        data[at % len(data)] = value
    path.write_bytes(data)
    try:
        opened(path).close()
    except CheckpointError:
        pass


def test_the_table_of_a_legacy_file_is_read_without_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"a": torch.zeros(1000, 1000)}, path, _use_new_zipfile_serialization=False)
    store = LocalLocation.of(path).open()
    with open_checkpoint(store) as checkpoint:
        assert checkpoint.tensors["a"].shape == (1000, 1000)
        assert store.counters.bytes_read < 100_000
