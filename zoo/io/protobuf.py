"""Protocol buffers on the wire: the fields of a message, without reading what is skipped.

A message is a run of fields, each a key (number and kind) and a value. Weights are fields of many bytes
whose place is wanted, not their content. Everything is treated as hostile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from zoo.errors import CheckpointError, TruncatedError
from zoo.io.blocks import BlockFile
from zoo.io.files import ByteFile, read_bytes

MAX_FIELDS: Final = 20_000_000
"""A file of more fields is refused."""
_BLOCK_BYTES: Final = 4 << 10
"""Bytes that are looked at together, one after the other."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
"""Kinds of values."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message."""

    number: int
    value: int
    """A number's value; 0 for bytes."""
    start: int
    """First byte of the value in the file."""
    end: int
    """One past its last byte."""
    is_bytes: bool
    """True for texts, messages and packed numbers."""


class Wire:
    """Reads the fields of a file, in blocks."""

    def __init__(self, file: ByteFile, kind: str) -> None:
        """`kind` of file, for messages."""
        self._file = BlockFile(file)
        self._what = f"{file.name}: no sound {kind} file"
        self._block, self._at = b"", 0
        self._num_fields = 0

    def fields(self, start: int, end: int) -> Iterator[Field]:
        """The fields of the message in the bytes from `start` to `end`."""
        at = start
        while at < end:
            self._num_fields += 1
            if self._num_fields > MAX_FIELDS:
                raise CheckpointError(f"{self._what} of more than {MAX_FIELDS:,} fields")
            key, at = self._varint(at, end)
            number, kind = key >> 3, key & 7
            value, begin = 0, at
            if kind == _VARINT:
                value, at = self._varint(at, end)
            elif kind == _BYTES:
                length, begin = self._varint(at, end)
                at = begin + length
            elif kind in (_FIXED64, _FIXED32):
                at += 8 if kind == _FIXED64 else 4
            else:
                raise CheckpointError(
                    f"{self._what}: byte {at:,} is no field of a protocol buffer; fetch it again"
                )
            if at > end:
                raise TruncatedError(
                    f"{self._what}: a field reaches byte {at:,} of {end:,}; fetch it again"
                )
            yield Field(number, value, begin, at, kind == _BYTES)

    def text(self, field: Field, most: int) -> str:
        """A field as text. CheckpointError when it is longer than `most` bytes."""
        if field.end - field.start > most:
            raise CheckpointError(f"{self._what}: a name of {field.end - field.start:,} bytes")
        return self._bytes(field.start, field.end).decode("utf-8", "replace")

    def numbers(self, field: Field) -> Iterator[int]:
        """The numbers of a repeated field, packed or not."""
        if not field.is_bytes:
            yield field.value
            return
        at = field.start
        while at < field.end:
            value, at = self._varint(at, field.end)
            yield value

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """(value, position behind it) of the number at `at`."""
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                break
            byte = self._bytes(at, at + 1)[0]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, at
        raise TruncatedError(f"{self._what}: a number breaks off at byte {at:,}; fetch it again")

    def _bytes(self, start: int, end: int) -> bytes:
        """Bytes of the file."""
        if end - start == 1:  # most reads are of one byte, from the block that the last one was in
            if not self._at <= start < self._at + len(self._block):
                self._at = start - start % _BLOCK_BYTES
                length = min(_BLOCK_BYTES, self._file.size - self._at)
                self._block = read_bytes(self._file, self._at, length)
            return self._block[start - self._at : end - self._at]
        return read_bytes(self._file, start, end - start)
