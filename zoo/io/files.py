"""Reading bytes of one file by position, into memory the caller already holds.

Knows nothing of headers, tensors or where files live; a store hands these out.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

from zoo.errors import StaleListingError, TruncatedError
from zoo.io.stamp import Stamp


@dataclass(slots=True)
class Counters:
    """What reading has cost so far; one object is shared by a store and all its files."""

    bytes_read: int = 0
    """Bytes delivered into buffers."""
    requests: int = 0
    """Calls that fetched something: HTTP requests for a Hub, `read_into` calls for a folder."""


class ByteFile(Protocol):
    """A file that can be read by position. Implementations may cache nothing and seek freely."""

    @property
    def name(self) -> str:
        """Posix name relative to the root of the store."""

    @property
    def size(self) -> int:
        """Bytes in the whole file."""

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes from `start` on.

        Delivers exactly `len(buffer)` bytes, or raises TruncatedError (the file is shorter),
        ChangedError (it is being written to) or another TransientError (worth another try).
        """

    def close(self) -> None:
        """Release what is held open. Calling twice is harmless."""


class LocalFile:
    """A file on disk, read with `pread`: no shared position, no mapping that faults when the
    file is cut short meanwhile."""

    def __init__(self, path: str, name: str, counters: Counters) -> None:
        self.name = name
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.stamp = Stamp.of(os.fstat(self._fd))
        """Size and times of the file when it was opened."""
        self.size = self.stamp.size
        self._counters = counters

    def read_into(self, start: int, buffer: memoryview) -> None:
        """See `ByteFile.read_into`."""
        wanted, done = len(buffer), 0
        self._counters.requests += 1
        while done < wanted:
            num_read = os.preadv(self._fd, [buffer[done:]], start + done)
            if num_read == 0:
                raise TruncatedError(
                    f"{self.name} ends at byte {start + done:,}; wanted bytes {start:,} to "
                    f"{start + wanted:,}. Fetch the file again"
                )
            done += num_read
            self._counters.bytes_read += num_read
        if Stamp.of(os.fstat(self._fd)) != self.stamp:
            raise StaleListingError(
                f"{self.name} was written to while it was being read; wanted a finished file. "
                "Try again when its writer is done"
            )

    def close(self) -> None:
        """See `ByteFile.close`."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class MemoryFile:
    """Bytes that are in memory already, as a file: for small metadata and for tests."""

    def __init__(self, name: str, data: bytes, counters: Counters) -> None:
        self.name = name
        self.size = len(data)
        self._data = memoryview(data)
        self._counters = counters

    def read_into(self, start: int, buffer: memoryview) -> None:
        """See `ByteFile.read_into`."""
        if start < 0 or start + len(buffer) > self.size:
            raise TruncatedError(
                f"{self.name} has {self.size:,} bytes; wanted bytes {start:,} to "
                f"{start + len(buffer):,}. Fetch the file again"
            )
        buffer[:] = self._data[start : start + len(buffer)]
        self._counters.requests += 1
        self._counters.bytes_read += len(buffer)

    def close(self) -> None:
        """Nothing to release."""


def read_bytes(file: ByteFile, start: int, length: int) -> bytes:
    """`length` bytes from `start` on, as one object: for headers and small files only."""
    buffer = bytearray(length)
    file.read_into(start, memoryview(buffer))
    return bytes(buffer)
