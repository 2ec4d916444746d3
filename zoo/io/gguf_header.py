"""The header of a GGUF file: key-value pairs and which tensors lie where.

Layout (version 2 and 3, little-endian): `GGUF`, u32 version, u64 tensors, u64 pairs; the pairs;
the tensors (name, axes fastest first, type, offset); padding; data. Read forward in blocks, with
every length checked against what the file can hold, because all of it may be hostile.

Block sizes of the quantised types come from the `gguf` package, which is loaded here and not before:
it takes a while, and few checkpoints are GGUF.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod

from zoo.errors import HeaderError, TruncatedError
from zoo.io.files import ByteFile
from zoo.io.header import MAX_HEADER_BYTES, MAX_NAME_CHARS, MAX_TENSORS, TensorMeta

_BLOCK_BYTES = 1 << 20
"""Bytes of the header that are read at a time."""
_MAX_PAIRS = 100_000
"""A header with more key-value pairs is refused; real ones have dozens."""
_MAX_STRING_BYTES = 1 << 24
"""A longer string value is refused; the longest real ones, chat templates, take kilobytes."""
_MAX_DIMS = 8
"""A tensor with more axes is refused; GGML itself knows four."""
_MAX_ARRAY_DEPTH = 3
"""Arrays nested deeper are refused, before they cost the stack."""
_NUMBER_FORMATS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
"""Format of `struct` by the number that stands for the type of a value."""
_STRING = 8
"""The number that stands for a string."""
_ARRAY = 9
"""The number that stands for an array."""

Value = str | int | float | bool
"""A value of a pair."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """The header of one file."""

    tensors: tuple[TensorMeta, ...]
    """In file order; `dtype` is the GGML type's name, axes slowest first."""
    pairs: dict[str, Value]
    """Key-value pairs that are single values; arrays (vocabularies) are passed over."""


def read_gguf_start(file: ByteFile) -> tuple[int, dict[str, Value]]:
    """(number of tensors, the key-value pairs up to the tokenizer's): what the file is.

    Writers put what describes the model first; vocabularies, which are megabytes, are not read.
    """
    cursor = _Cursor(file)
    num_tensors, num_pairs = _start(cursor, file)
    return num_tensors, _pairs(cursor, file, num_pairs, stop_before="tokenizer.")


def read_gguf_header(file: ByteFile) -> GgufHeader:
    """The header of `file`. HeaderError or TruncatedError name it and what is wrong."""
    cursor = _Cursor(file)
    num_tensors, num_pairs = _start(cursor, file)
    pairs = _pairs(cursor, file, num_pairs, stop_before=None)
    infos = [_tensor_info(cursor) for _ in range(num_tensors)]
    alignment = pairs.get("general.alignment", 32)
    if type(alignment) is not int or not 0 < alignment <= 1 << 20:
        raise HeaderError(f"{file.name}: general.alignment is {alignment!r}; wanted a power of two")
    base = -(-cursor.position // alignment) * alignment
    return GgufHeader(_placed(infos, base, file), pairs)


def _start(cursor: _Cursor, file: ByteFile) -> tuple[int, int]:
    """(number of tensors, number of pairs)."""
    magic = cursor.take(4)
    version = cursor.number("I")
    if magic != b"GGUF" or version not in (2, 3):
        raise HeaderError(
            f"{file.name}: starts with {magic!r} and version {version}; wanted GGUF version 2 or "
            "3, little-endian. Convert it with a current llama.cpp"
        )
    num_tensors, num_pairs = cursor.number("Q"), cursor.number("Q")
    if num_tensors > MAX_TENSORS or num_pairs > _MAX_PAIRS:
        raise HeaderError(f"{file.name}: {num_tensors:,} tensors and {num_pairs:,} pairs; too many")
    return num_tensors, num_pairs


def _pairs(
    cursor: _Cursor, file: ByteFile, num_pairs: int, *, stop_before: str | None
) -> dict[str, Value]:
    """The pairs that are single values, up to the first key that starts with `stop_before`."""
    pairs: dict[str, Value] = {}
    for _ in range(num_pairs):
        key = cursor.string(MAX_NAME_CHARS)
        if stop_before is not None and key.startswith(stop_before):
            break
        value = _value(cursor, int(cursor.number("I")), depth=0)
        if key in pairs:
            raise HeaderError(f"{file.name}: the key {key!r} occurs twice; wanted it once")
        if value is not None:
            pairs[key] = value
    return pairs


class _Cursor:
    """Reads forward in blocks and never past what the file holds."""

    def __init__(self, file: ByteFile) -> None:
        self._file = file
        self._block = b""
        self._start = 0
        self._at = 0

    @property
    def position(self) -> int:
        return self._start + self._at

    def take(self, length: int) -> bytes:
        self._need(length)
        taken = self._block[self._at : self._at + length]
        self._at += length
        return taken

    def skip(self, length: int) -> None:
        if length <= len(self._block) - self._at:
            self._at += length
            return
        self._check(length)
        self._start, self._block, self._at = self.position + length, b"", 0

    def number(self, code: str) -> int:
        (number,) = struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))
        return int(number)

    def string(self, limit: int) -> str:
        raw = self.take(self.length_of_string(limit))
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise HeaderError(f"{self._file.name}: a string is not UTF-8 ({error})") from error

    def length_of_string(self, limit: int) -> int:
        length = self.number("Q")
        if length > limit:
            raise HeaderError(
                f"{self._file.name}: a string of {length:,} bytes; wanted at most {limit:,}"
            )
        return length

    def _check(self, length: int) -> None:
        """Refuses what the file cannot hold, and headers that are too long."""
        end = self.position + length
        if end > self._file.size:
            raise TruncatedError(
                f"{self._file.name} has {self._file.size:,} bytes; its header goes on to byte "
                f"{end:,}. It is cut short: fetch it again"
            )
        if end > MAX_HEADER_BYTES:
            raise HeaderError(
                f"{self._file.name}: header beyond {MAX_HEADER_BYTES:,} bytes; too long"
            )

    def _need(self, length: int) -> None:
        """Reads on when fewer than `length` bytes of the present block are left."""
        if length <= len(self._block) - self._at:
            return
        self._check(length)
        start = self.position
        size = min(max(length, _BLOCK_BYTES), self._file.size - start)
        buffer = bytearray(size)
        self._file.read_into(start, memoryview(buffer))
        self._block, self._start, self._at = bytes(buffer), start, 0


def _value(cursor: _Cursor, kind: int, *, depth: int) -> Value | None:
    """The value of a pair; None for an array, which is passed over."""
    if kind in _NUMBER_FORMATS:
        code = _NUMBER_FORMATS[kind]
        (number,) = struct.unpack("<" + code, cursor.take(struct.calcsize("<" + code)))
        return number if isinstance(number, (bool, int, float)) else None
    if kind == _STRING:
        return cursor.string(_MAX_STRING_BYTES)
    if kind != _ARRAY or depth > _MAX_ARRAY_DEPTH:
        raise HeaderError(f"{cursor._file.name}: value of kind {kind} at depth {depth}; unknown")
    inner, count = cursor.number("I"), cursor.number("Q")
    if inner in _NUMBER_FORMATS:
        cursor.skip(count * struct.calcsize("<" + _NUMBER_FORMATS[inner]))
    elif inner == _STRING:
        for _ in range(count):
            cursor.skip(cursor.length_of_string(_MAX_STRING_BYTES))
    else:
        for _ in range(count):
            _value(cursor, inner, depth=depth + 1)
    return None


def _tensor_info(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    """Name, axes slowest first, type number, offset."""
    name = cursor.string(MAX_NAME_CHARS)
    num_dims = cursor.number("I")
    if num_dims > _MAX_DIMS or not name:
        raise HeaderError(
            f"{cursor._file.name}: tensor {name!r} with {num_dims} axes; wanted a name and at most "
            f"{_MAX_DIMS} axes"
        )
    dims = [cursor.number("Q") for _ in range(num_dims)]
    return name, tuple(reversed(dims)), cursor.number("I"), cursor.number("Q")


def _placed(
    infos: list[tuple[str, tuple[int, ...], int, int]], base: int, file: ByteFile
) -> tuple[TensorMeta, ...]:
    """The tensors with absolute offsets, in file order; refuses overlaps and what lies outside."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    known = {kind.value for kind in GGMLQuantizationType}
    metas: dict[str, TensorMeta] = {}
    for name, shape, kind, offset in sorted(infos, key=lambda info: info[3]):
        what = f"{file.name}: tensor {name!r}"
        if name in metas:
            raise HeaderError(f"{what} occurs twice; wanted it once")
        if kind not in known:
            raise HeaderError(f"{what} has type {kind}, which gguf does not know. Update gguf")
        quant = GGMLQuantizationType(kind)
        block, block_bytes = GGML_QUANT_SIZES[quant]
        if shape and shape[-1] % block:
            raise HeaderError(f"{what} {list(shape)}: {quant.name} wants rows of {block}")
        num_bytes = prod(shape) // block * block_bytes
        start = base + offset
        last = next(reversed(metas.values())) if metas else None
        if last and start < last.end and num_bytes:
            raise HeaderError(f"{what} overlaps {last.name!r}; save the file again")
        if start + num_bytes > file.size:
            raise TruncatedError(
                f"{file.name} has {file.size:,} bytes; wanted {start + num_bytes:,} for {name!r}. "
                "It is cut short: fetch it again"
            )
        metas[name] = TensorMeta(name, quant.name, shape, file.name, start, start + num_bytes)
    return tuple(metas.values())
