"""GGUF files, written and decoded by the gguf package."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import dequantize, quantize
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import CheckpointError, HeaderError, MissingShardError, TruncatedError
from zoo.formats.account import account
from zoo.io.checkpoint import Checkpoint
from zoo.io.files import Counters, MemoryFile
from zoo.io.gguf_header import read_gguf_header
from zoo.io.local import LocalLocation
from zoo.io.opening import open_checkpoint

KINDS = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS")


def opened(path: Path) -> Checkpoint:
    return open_checkpoint(LocalLocation.of(path).open())


def stored(kind: GGMLQuantizationType, rows: int, cols: int) -> np.ndarray:
    """Random numbers quantised by the package, or random blocks where it cannot quantise."""
    rng = np.random.default_rng(0)
    try:
        return quantize(rng.normal(size=(rows, cols)).astype(np.float32), kind)
    except NotImplementedError:
        block, num_bytes = GGML_QUANT_SIZES[kind]
        raw = rng.integers(0, 60, (rows, cols // block * num_bytes)).astype(np.uint8)
        return raw  # small bytes: the half floats among them stay finite


def written(path: Path, kind: str = "Q4_0", *, cols: int = 512) -> Path:
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_token_list(["a", "bc", "d" * 300])
    writer.add_tensor("output_norm.weight", np.ones(cols, dtype=np.float32))
    writer.add_tensor("token_embd.weight", np.ones((6, cols), dtype=np.float16))
    quant = GGMLQuantizationType[kind]
    writer.add_tensor("blk.0.attn_q.weight", stored(quant, 7, cols), raw_dtype=quant)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_a_quantised_tensor_matches_the_package(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path / "m.gguf", kind)
    with opened(path) as checkpoint:
        weight = next(w for w in account(checkpoint).weights if w.name == "blk.0.attn_q.weight")
        values = weight.load(checkpoint)
        assert torch.equal(weight.load(checkpoint, (2, 5)), values[2:5])
    raw = GGUFReader(path).tensors[2]
    assert weight.decoder == f"gguf_{kind.lower()}"
    assert weight.shape == (7, 512)
    assert np.array_equal(values.numpy(), dequantize(raw.data, raw.tensor_type))


def test_plain_types_need_no_decoder_and_pairs_become_the_config(tmp_path: Path) -> None:
    with opened(written(tmp_path / "m.gguf")) as checkpoint:
        found = account(checkpoint)
        assert {w.name: w.decoder for w in found.weights}["token_embd.weight"] == "none"
        assert checkpoint.read("token_embd.weight").dtype == torch.float16
        assert checkpoint.config["general.architecture"] == "llama"
        assert checkpoint.config["llama.block_count"] == 2
        assert [e.fate for e in found.entries] == ["skipped", "analysed", "analysed"]


def test_the_most_precise_of_several_files_is_read(tmp_path: Path) -> None:
    written(tmp_path / "m-q4_0.gguf", "Q4_0")
    written(tmp_path / "m-q8_0.gguf", "Q8_0")
    with opened(tmp_path) as checkpoint:
        assert checkpoint.tensors["blk.0.attn_q.weight"].dtype == "Q8_0"
        assert [left.file for left in checkpoint.left_out] == ["m-q4_0.gguf"]


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    written(tmp_path / "m-00001-of-00002.gguf")
    with pytest.raises(MissingShardError, match="1 of the 2 shards"):
        opened(tmp_path)


def header_of(data: bytes) -> object:
    return read_gguf_header(MemoryFile("m.gguf", data, Counters()))


def gguf_bytes(num_tensors: int = 0, num_pairs: int = 0, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, num_tensors, num_pairs) + rest


def string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GGML" + bytes(30), "wanted GGUF version 2 or 3"),
        (b"GGUF" + struct.pack("<I", 1) + bytes(30), "version 1"),
        (gguf_bytes(2**40), "too many"),
        (gguf_bytes(0, 1, struct.pack("<Q", 2**60)), "a string of 1,152,"),
        (gguf_bytes(0, 1, string(b"k") + struct.pack("<I", 77)), "value of kind 77"),
        (gguf_bytes(0, 1, string(b"\xff") + bytes(12)), "not UTF-8"),
        (gguf_bytes(1, 0, string(b"t") + struct.pack("<I", 99)), "99 axes"),
        (gguf_bytes(1, 0, string(b"t") + struct.pack("<IQIQ", 1, 8, 999, 0)), "type 999"),
        (gguf_bytes(1, 0, string(b"t") + struct.pack("<IQIQ", 1, 8, 2, 0)), "wants rows of 32"),
    ],
)
def test_a_hostile_header_is_refused_by_name(data: bytes, message: str) -> None:
    with pytest.raises(HeaderError, match=message) as caught:
        header_of(data)
    assert "m.gguf" in str(caught.value)


@pytest.mark.parametrize("length", [0, 3, 30, 200, -1])
def test_a_file_cut_short_is_refused(tmp_path: Path, length: int) -> None:
    data = written(tmp_path / "m.gguf").read_bytes()
    with pytest.raises(TruncatedError, match=r"m\.gguf"):
        header_of(data[:length])


def test_an_array_longer_than_the_file_is_not_walked() -> None:
    pair = string(b"k") + struct.pack("<IIQ", 9, 0, 2**62)
    with pytest.raises(TruncatedError, match="its header goes on"):
        header_of(gguf_bytes(0, 1, pair))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return written(tmp_path_factory.mktemp("gguf") / "m.gguf", cols=32).read_bytes()


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_give_a_checkpoint_error_or_a_header(
    sound: bytes, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(sound)
    for at, value in changes:
        data[at % len(data)] = value
    try:
        header_of(bytes(data))
    except CheckpointError:
        pass
