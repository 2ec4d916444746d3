"""Opening folders and files as checkpoints: shards, indexes, components, links, faults."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.reading import read_many
from zoo.errors import (
    ChangedError,
    CheckpointError,
    HeaderError,
    MissingShardError,
    NotFoundError,
    ResourceError,
    TruncatedError,
    UnsafeError,
    UseError,
)
from zoo.io.checkpoint import Checkpoint
from zoo.io.fsspec_store import FsspecLocation
from zoo.io.local import LocalLocation, LocalStore
from zoo.io.memory import memory_checkpoint
from zoo.io.opening import open_checkpoint
from zoo.io.tensors import empty_bytes

A = torch.arange(6.0).reshape(2, 3)
B = torch.arange(8.0).reshape(4, 2)


def opened(path: Path) -> Checkpoint:
    return open_checkpoint(LocalLocation.of(path).open())


def save(path: Path, **tensors: torch.Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)


def sharded(folder: Path, weight_map: dict[str, str] | None = None) -> Path:
    save(folder / "model-00001-of-00002.safetensors", a=A)
    save(folder / "model-00002-of-00002.safetensors", b=B)
    index = weight_map or {
        "a": "model-00001-of-00002.safetensors",
        "b": "model-00002-of-00002.safetensors",
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return folder


def test_a_single_file_is_read_with_the_config_beside_it(tmp_path: Path) -> None:
    save(tmp_path / "step10.safetensors", a=A)
    (tmp_path / "config.json").write_text('{"model_type": "mlp"}')
    with opened(tmp_path / "step10.safetensors") as checkpoint:
        assert torch.equal(checkpoint.read("a"), A)
        assert checkpoint.config == {"model_type": "mlp"}


def test_shards_are_found_through_the_index(tmp_path: Path) -> None:
    with opened(sharded(tmp_path)) as checkpoint:
        assert list(checkpoint.tensors) == ["a", "b"]
        assert torch.equal(checkpoint.read("b"), B)


def test_numbered_shards_are_found_without_an_index(tmp_path: Path) -> None:
    (sharded(tmp_path) / "model.safetensors.index.json").unlink()
    with opened(tmp_path) as checkpoint:
        assert set(checkpoint.tensors) == {"a", "b"}


def test_rows_are_read_alone(tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", b=B)
    with opened(tmp_path) as checkpoint:
        assert torch.equal(checkpoint.read("b", rows=(1, 3)), B[1:3])


@pytest.mark.parametrize("keep_index", [True, False])
def test_a_missing_shard_is_named(tmp_path: Path, keep_index: bool) -> None:
    (sharded(tmp_path) / "model-00002-of-00002.safetensors").unlink()
    if not keep_index:
        (tmp_path / "model.safetensors.index.json").unlink()
    message = "00002-of-00002.*index.json" if keep_index else "1 of the 2 shards"
    with pytest.raises(MissingShardError, match=message):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("weight_map", "error", "message"),
    [
        ({"a": "../x.safetensors"}, UnsafeError, "leaves the folder"),
        ({"a": "/etc/passwd"}, UnsafeError, "is absolute"),
        ({"a": "C:\\x"}, UnsafeError, "backslash"),
        ({"a": "x\n.safetensors"}, UnsafeError, "control character"),
        ({"a": 3}, HeaderError, "wanted a file name"),
        ({"c": "model-00001-of-00002.safetensors"}, CheckpointError, "no shard has it"),
        ({"a": "model-00002-of-00002.safetensors"}, CheckpointError, "no shard has it"),
    ],
)
def test_an_index_that_lies_is_refused(
    tmp_path: Path, weight_map: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        opened(sharded(tmp_path, weight_map))


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"weight_map": []}', b'{"weight_map": {}}'])
def test_an_index_that_is_no_index_is_refused(tmp_path: Path, raw: bytes) -> None:
    (sharded(tmp_path) / "model.safetensors.index.json").write_bytes(raw)
    with pytest.raises(HeaderError, match=r"model\.safetensors\.index\.json"):
        opened(tmp_path)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "model-00001-of-00002.safetensors", a=A)
    save(tmp_path / "model-00002-of-00002.safetensors", a=A)
    with pytest.raises(CheckpointError, match="wanted it once"):
        opened(tmp_path)


def test_a_file_cut_short_is_refused_before_reading(tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", a=A)
    os.truncate(tmp_path / "model.safetensors", 90)
    with pytest.raises(TruncatedError, match=r"has 90 bytes; wanted \d+"):
        opened(tmp_path)


def test_a_file_cut_short_while_open_is_noticed(tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", a=A)
    with opened(tmp_path) as checkpoint:
        os.truncate(tmp_path / "model.safetensors", 80)
        with pytest.raises(TruncatedError, match="ends at byte 80"):
            checkpoint.read("a")


def test_a_file_written_to_while_open_is_noticed(tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", a=A)
    with opened(tmp_path) as checkpoint:
        checkpoint.read("a")
        with open(tmp_path / "model.safetensors", "r+b") as file:
            file.seek(-4, os.SEEK_END)
            file.write(b"1234")
        os.utime(tmp_path / "model.safetensors", (1, 1))
        with pytest.raises(ChangedError, match="written to while it was being read"):
            checkpoint.read("a")


def test_memory_that_is_not_there_is_a_resource_error() -> None:
    with pytest.raises(ResourceError, match="wanted a worker with more memory"):
        empty_bytes(1 << 60, what="tensor 'a'")


def test_an_empty_folder_says_what_was_wanted(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(CheckpointError, match=r"it holds notes.txt; wanted a .safetensors"):
        opened(tmp_path)


def test_a_path_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="check the path"):
        LocalLocation.of(tmp_path / "nowhere")


def test_a_diffusers_folder_is_its_components(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    save(tmp_path / "all_in_one.safetensors", a=A)
    save(tmp_path / "unet" / "diffusion_pytorch_model.safetensors", a=A)
    save(tmp_path / "unet" / "diffusion_pytorch_model.fp16.safetensors", a=A.half())
    save(tmp_path / "vae" / "diffusion_pytorch_model.safetensors", a=B)
    (tmp_path / "vae" / "config.json").write_text('{"latent_channels": 4}')
    with opened(tmp_path) as checkpoint:
        assert set(checkpoint.tensors) == {"unet.a", "vae.a"}
        assert checkpoint.config_of("vae.a") == {"latent_channels": 4}
        assert len(checkpoint.left_out) == 2


def test_subfolders_named_by_modules_belong_to_the_model(tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", a=A)
    save(tmp_path / "2_Dense" / "model.safetensors", a=B)
    save(tmp_path / "old" / "model.safetensors", a=B)
    (tmp_path / "modules.json").write_text('[{"path": ""}, {"path": "2_Dense"}]')
    with opened(tmp_path) as checkpoint:
        assert set(checkpoint.tensors) == {"a", "2_Dense.a"}


def test_the_second_copy_called_consolidated_is_left_out(tmp_path: Path) -> None:
    save(sharded(tmp_path) / "consolidated.safetensors", c=A)
    with opened(tmp_path) as checkpoint:
        assert set(checkpoint.tensors) == {"a", "b"}
        assert [left.file for left in checkpoint.left_out] == ["consolidated.safetensors"]


def test_slices_for_several_devices_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "consolidated.00.safetensors", a=A)
    save(tmp_path / "consolidated.01.safetensors", a=A)
    with pytest.raises(CheckpointError, match="slices of one model"):
        opened(tmp_path)


def test_files_with_the_same_names_are_models_apart_and_refused_with_their_list(
    tmp_path: Path,
) -> None:
    save(tmp_path / "one.safetensors", a=A)
    save(tmp_path / "two.safetensors", a=B)
    with pytest.raises(
        CheckpointError, match=r"one\.safetensors, two\.safetensors.*several models"
    ):
        opened(tmp_path)


def test_training_state_is_left_out(tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", a=A)
    save(tmp_path / "optimizer.safetensors", a=A)
    with opened(tmp_path) as checkpoint:
        assert [left.file for left in checkpoint.left_out] == ["optimizer.safetensors"]


@pytest.mark.parametrize("raw", [b"[1]", b"{", b'{"a": ' + b"[" * 100_000, b"\xff\xfe\xfd"])
def test_a_broken_config_is_named(tmp_path: Path, raw: bytes) -> None:
    save(tmp_path / "model.safetensors", a=A)
    (tmp_path / "config.json").write_bytes(raw)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        opened(tmp_path)


def test_a_huge_config_is_refused_unread(tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", a=A)
    with open(tmp_path / "config.json", "wb") as file:
        file.truncate(17 << 20)
    with pytest.raises(CheckpointError, match="at most 16 MiB"):
        opened(tmp_path)


def test_infinity_in_a_config_is_let_through(tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", a=A)
    (tmp_path / "config.json").write_text('{"time_step_limit": [0.0, Infinity]}')
    with opened(tmp_path) as checkpoint:
        assert checkpoint.config["time_step_limit"] == [0.0, float("inf")]


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "secret.safetensors", a=A)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").symlink_to(tmp_path / "secret.safetensors")
    with pytest.raises(UnsafeError, match="leads out of the folder"):
        opened(tmp_path / "model")


def test_a_snapshot_of_the_hub_cache_may_link_to_its_blobs(tmp_path: Path) -> None:
    repo = tmp_path / "models--a--b"
    save(repo / "blobs" / "abc", a=A)
    snapshot = repo / "snapshots" / "1234"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to("../../blobs/abc")
    with opened(snapshot) as checkpoint:
        assert torch.equal(checkpoint.read("a"), A)


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    save(tmp_path / "outside" / "model.safetensors", a=A)
    save(tmp_path / "model" / "model.safetensors", b=B)
    (tmp_path / "model" / "loop").symlink_to(tmp_path / "model")
    (tmp_path / "model" / "more").symlink_to(tmp_path / "outside")
    assert list(LocalStore(LocalLocation.of(tmp_path / "model")).files()) == ["model.safetensors"]


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(UnsafeError, match="not a regular file"):
        opened(tmp_path)


def test_a_fingerprint_follows_content_and_nothing_else(tmp_path: Path) -> None:
    def revision(folder: Path) -> str:
        return LocalLocation.of(folder).open().revision

    save(tmp_path / "one" / "model.safetensors", a=A)
    save(tmp_path / "two" / "model.safetensors", a=A)
    os.utime(tmp_path / "two" / "model.safetensors", (0, 0))
    (tmp_path / "two" / ".cache").write_text("x")
    assert revision(tmp_path / "one") == revision(tmp_path / "two")
    assert len(revision(tmp_path / "one")) == 40
    changed = A.clone()
    changed[1, 2] += 1
    save(tmp_path / "three" / "model.safetensors", a=changed)
    (tmp_path / "one" / "config.json").write_text("{}")
    seen = {revision(tmp_path / name) for name in ("one", "two", "three")}
    assert len(seen) == 3


def test_locations_survive_pickling(tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", a=A)
    location = LocalLocation.of(tmp_path, model_id="me/mine")
    store = pickle.loads(pickle.dumps(location)).open()
    assert store.model_id == "me/mine"


@pytest.mark.parametrize("dtype", [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn,
    torch.float8_e5m2, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8,
    torch.uint16, torch.uint32, torch.uint64, torch.bool, torch.complex64,
])  # fmt: skip
def test_every_torch_type_comes_back_as_it_was(tmp_path: Path, dtype: torch.dtype) -> None:
    made = torch.tensor([[0, 1, 2], [3, 4, 5]]).to(dtype)
    save(tmp_path / "model.safetensors", pad=torch.zeros(3, dtype=torch.uint8), a=made)
    with opened(tmp_path) as checkpoint:
        found = checkpoint.read("a")
    assert found.dtype == made.dtype
    assert torch.equal(found.view(torch.uint8), made.view(torch.uint8))


def test_types_torch_lacks_come_as_raw_bytes(tmp_path: Path) -> None:
    packed = torch.arange(8, dtype=torch.uint8).reshape(2, 4)
    save(
        tmp_path / "model.safetensors",
        f4=packed.view(torch.float4_e2m1fn_x2),
        e8=packed.clone().view(torch.float8_e8m0fnu),
    )
    with opened(tmp_path) as checkpoint:
        assert torch.equal(checkpoint.read("f4"), packed)
        assert torch.equal(checkpoint.read("e8"), packed)
        assert checkpoint.tensors["f4"].shape == (2, 8)


def test_empty_tensors_and_scalars_are_read(tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", none=torch.zeros(0, 5), one=torch.tensor(2.5))
    with opened(tmp_path) as checkpoint:
        assert checkpoint.read("none").shape == (0, 5)
        assert checkpoint.read("one").item() == 2.5


def test_neighbours_are_fetched_in_one_request(tmp_path: Path) -> None:
    tensors = {f"t{i}": torch.full((100, 10), float(i)) for i in range(10)}
    save(tmp_path / "model.safetensors", **tensors)
    store = FsspecLocation(f"file://{tmp_path}").open()
    with open_checkpoint(store) as checkpoint:
        before = store.counters.requests
        found = read_many(checkpoint, tensors)
    assert store.counters.requests - before == 1
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_spans_do_not_read_much_that_nobody_wants(tmp_path: Path) -> None:
    tensors = {f"t{i}": torch.full((100, 10), float(i)) for i in range(10)}
    save(tmp_path / "model.safetensors", **tensors)
    store = FsspecLocation(f"file://{tmp_path}").open()
    with open_checkpoint(store) as checkpoint:
        before = store.counters.bytes_read
        wanted = ["t0", "t3", "t4", "t9"]
        found = read_many(checkpoint, wanted)
    assert store.counters.bytes_read - before <= 1.02 * sum(t.nbytes for t in found.values())


def test_a_url_of_nothing_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nothing at"):
        FsspecLocation(f"file://{tmp_path}/none").open().files()


def test_a_url_and_its_folder_hold_the_same_tensors(tmp_path: Path) -> None:
    sharded(tmp_path)
    store = FsspecLocation(f"file://{tmp_path}").open()
    assert len(store.revision) == 40
    with open_checkpoint(store) as remote, opened(tmp_path) as local:
        assert dict(remote.tensors) == dict(local.tensors)


def test_a_module_in_memory_is_a_checkpoint_and_ties_share_bytes() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    module[1].weight = module[0].weight
    with memory_checkpoint(module, {"model_type": "x"}) as checkpoint:
        first, second = checkpoint.tensors["0.weight"], checkpoint.tensors["1.weight"]
        assert (first.start, first.end) == (second.start, second.end)
        assert torch.equal(checkpoint.read("1.weight", (0, 2)), module[0].weight.detach()[:2])
        assert checkpoint.config["model_type"] == "x"


def test_values_that_are_no_dense_tensors_are_refused() -> None:
    with pytest.raises(UseError, match="meta device"):
        memory_checkpoint({"a": torch.empty(2, 2, device="meta")})
    with pytest.raises(UseError, match=r"layout torch\.sparse_coo; wanted a dense one"):
        memory_checkpoint({"a": torch.eye(2).to_sparse()})
