"""Zip archives whose entries are stored plainly: where each entry's bytes lie, so that they are read by
range like those of any other file.
"""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

from zoo.errors import CheckpointError
from zoo.io.files import ByteFile, read_bytes
from zoo.io.header import MAX_HEADER_BYTES, MAX_TENSORS

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


def zip_entries(
    file: ByteFile, *, kind: str = "zip archive", advice: str = "save it with torch"
) -> dict[str, tuple[int, int]]:
    """(position of its local header, size in bytes) of every entry of the archive, by name.

    CheckpointError for a damaged archive, called a `kind`, and for compressed entries, with `advice`.
    """
    try:
        with zipfile.ZipFile(Seekable(file)) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, ValueError) as error:
        raise CheckpointError(
            f"{file.name}: no sound {kind} ({error}). It is cut short or damaged: fetch it again"
        ) from error
    compressed = next((i for i in infos if i.compress_type != zipfile.ZIP_STORED), None)
    if compressed is not None or len(infos) > 2 * MAX_TENSORS:
        raise CheckpointError(f"{file.name}: compressed, or too many entries; {advice}")
    return {info.filename: (info.header_offset, info.file_size) for info in infos}


def data_start(file: ByteFile, header_at: int) -> int:
    """Where an entry's bytes start, after its local header."""
    if header_at < 0 or header_at + 30 > file.size:
        raise CheckpointError(f"{file.name}: an entry outside the file; fetch it again")
    local = read_bytes(file, header_at, 30)
    if local[:4] != b"PK\x03\x04":
        raise CheckpointError(f"{file.name}: no entry at byte {header_at:,}; fetch it again")
    name_bytes, extra_bytes = (int.from_bytes(local[i : i + 2], "little") for i in (26, 28))
    return header_at + 30 + name_bytes + extra_bytes


class Seekable(io.RawIOBase):
    """A `ByteFile`, or the part of one from `start` on, as a seekable file of Python; refuses a read of
    more than a header may take."""

    def __init__(self, file: ByteFile, start: int = 0, size: int | None = None) -> None:
        self._file, self._start, self._at = file, start, 0
        self._size = file.size - start if size is None else size

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("a position before the start")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    @property
    def position(self) -> int:
        """Where the next read starts in the whole file."""
        return self._start + self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size - self._at)
        length = left if size is None or size < 0 else min(size, left)
        if length > MAX_HEADER_BYTES:
            raise CheckpointError(f"{self._file.name}: a directory of {length:,} bytes")
        data = read_bytes(self._file, self._start + self._at, length)
        self._at += length
        return data

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)
