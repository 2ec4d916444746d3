"""The safetensors header parser against sound, hostile and random headers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import CheckpointError, HeaderError, TruncatedError
from zoo.io.dtypes import DTYPE_BITS
from zoo.io.files import Counters, MemoryFile
from zoo.io.header import header_length, parse_header, read_header

ONE = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}


def parse(header: object, data_bytes: int = 24) -> object:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return parse_header(raw, file_size=8 + len(raw) + data_bytes, file="x.safetensors")


def one(**changes: object) -> dict[str, object]:
    return {"a": {**ONE["a"], **changes}}


def test_a_sound_header_gives_absolute_offsets() -> None:
    raw = json.dumps(ONE).encode()
    header = parse_header(raw, file_size=8 + len(raw) + 24, file="x.safetensors")
    assert header.tensors[0].start == 8 + len(raw)
    assert header.tensors[0].nbytes == 24
    assert header.tensors[0].numel == 6


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"[1]", "starts with"),
        (b"", "starts with"),
        (b'{"a": ', "not JSON"),
        (b'{"a": {"dtype": "F32", "shape": [\xff]}}', "not UTF-8"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"a": NaN}', "holds NaN"),
        (b'{"a": -Infinity}', "holds -Infinity"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"a": 1, "a": 2}', "occurs twice"),
        (b'{"a": {"dtype": "F32", "dtype": "F32"}}', "'dtype' occurs twice"),
        (b"{" + b"[" * 1_000_003, "1,000,003 openings"),
        ({"__metadata__": {"format": 1}}, "wanted an object of strings"),
        ({"__metadata__": "pt"}, "wanted an object of strings"),
        ({"a": 3}, "is 3; wanted an object"),
        ({"": ONE["a"]}, "wanted a name"),
        ({"\ud800": ONE["a"]}, "wanted a name"),
        ({"a": {}}, "has dtype None"),
        (one(dtype="F33"), "has dtype 'F33'; wanted one of"),
        (one(dtype=["F32"]), "has dtype"),
        (one(dtype="Z" * 10_000), r"ZZZ\.\.\.; wanted one of"),
        (one(shape=[-2, -3]), "wanted at most 32 whole numbers, none negative"),
        (one(shape=[2.0, 3]), "wanted at most 32 whole numbers, none negative"),
        (one(shape=[True, 6]), "wanted at most 32 whole numbers, none negative"),
        (one(shape=[2**63, 0]), "wanted at most 32 whole numbers, none negative"),
        (one(shape="23"), "wanted at most 32 whole numbers, none negative"),
        (one(shape=[1] * 33), "wanted at most 32 whole numbers, none negative"),
        (one(shape=[2**62] * 32), "wanted [0-9,]+ bytes"),
        (one(shape=[2, 4]), "has 24 bytes; wanted 32 bytes"),
        (one(dtype="F4", shape=[3]), "wanted 12 bits"),
        (one(data_offsets=[24, 0]), r"wanted \[begin, end\]"),
        (one(data_offsets=[0]), r"wanted \[begin, end\]"),
        (one(data_offsets=[-24, 0]), r"wanted \[begin, end\]"),
        (one(data_offsets=None), r"wanted \[begin, end\]"),
        (one(data_offsets=[8, 32]), "starts 8 bytes into the data"),
        ({**ONE, "b": {**ONE["a"], "data_offsets": [16, 40]}}, "overlap"),
        ({**ONE, "b": {**ONE["a"], "data_offsets": [32, 56]}}, "leave a hole"),
    ],
)
def test_a_hostile_header_is_refused_by_name(header: object, message: str) -> None:
    with pytest.raises(HeaderError, match=message) as caught:
        parse(header)
    assert "x.safetensors" in str(caught.value)
    assert len(str(caught.value)) < 2000


def test_bytes_after_the_last_tensor_are_refused() -> None:
    with pytest.raises(HeaderError, match="6 more than its tensors take"):
        parse(ONE, data_bytes=30)


def test_a_file_cut_short_says_what_it_has_and_what_it_wants() -> None:
    with pytest.raises(TruncatedError, match=r"has \d+ bytes; wanted \d+, as its header says"):
        parse(ONE, data_bytes=23)


@pytest.mark.parametrize(
    ("length", "message"),
    [(101, "header of 101 bytes in a file of 108"), (100_000_001, "wanted at most 100,000,000")],
)
def test_a_header_longer_than_allowed_is_never_read(length: int, message: str) -> None:
    with pytest.raises(HeaderError, match=message):
        header_length(length.to_bytes(8, "little"), file_size=108, file="x")


def test_a_file_without_room_for_a_length_is_refused() -> None:
    with pytest.raises(HeaderError, match="has 5 bytes; wanted at least the 8"):
        read_header(MemoryFile("x", b"12345", Counters()))


@st.composite
def _headers(draw: st.DrawFn) -> tuple[dict[str, object], int]:
    names = draw(st.lists(st.text(min_size=1, max_size=20), max_size=6, unique=True))
    header: dict[str, object] = {}
    at = 0
    for name in names:
        if name == "__metadata__" or any("\ud800" <= c <= "\udfff" for c in name):
            continue
        dtype = draw(st.sampled_from(sorted(DTYPE_BITS)))
        shape = [*draw(st.lists(st.integers(0, 5), max_size=3)), 8]
        num_bytes = DTYPE_BITS[dtype]
        for n in shape[:-1]:
            num_bytes *= n
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + num_bytes]}
        at += num_bytes
    return header, at


@given(_headers())
def test_every_sound_header_comes_back_as_it_was(made: tuple[dict[str, object], int]) -> None:
    header, data_bytes = made
    raw = json.dumps(header).encode() + b"   "
    found = parse_header(raw, file_size=8 + len(raw) + data_bytes, file="x")
    back = {
        t.name: {
            "dtype": t.dtype,
            "shape": list(t.shape),
            "data_offsets": [t.start - 8 - len(raw), t.end - 8 - len(raw)],
        }
        for t in found.tensors
    }
    assert back == header


@given(st.binary(max_size=300), st.integers(0, 2**40))
def test_random_bytes_give_a_checkpoint_error_or_a_header(raw: bytes, file_size: int) -> None:
    try:
        parse_header(b"{" + raw, file_size=file_size, file="x")
    except CheckpointError:
        pass


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["F32", "F4"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["dtype", "shape", "data_offsets", "__metadata__", "a"]), inner, max_size=4
    ),
)  # fmt: skip


@given(st.dictionaries(st.text(max_size=5), _JSON, max_size=4), st.integers(0, 100))
def test_any_json_gives_a_checkpoint_error_or_a_header(header: object, data_bytes: int) -> None:
    try:
        parse(json.dumps(header).encode(), data_bytes)
    except CheckpointError:
        pass
