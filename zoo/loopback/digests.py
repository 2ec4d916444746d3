"""Hashes of files: sha256 as large files are named by, and the git blob id as small ones are.

Each file is read once, and its digest remembered by (path, size, time of change), in memory only.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

from zoo.errors import ChangedError, UnsafeError

BLOCK_BYTES = 2**20
"""Bytes read and hashed at a time."""
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n"
"""What git itself holds for a file stored out of it."""


@dataclass(frozen=True, slots=True)
class Blob:
    """One regular file below the served folder, as it was when the folder was scanned."""

    name: str
    """Posix path inside its repository."""
    path: str
    """Where it really lives: links resolved."""
    size: int
    """Bytes."""
    mtime_ns: int
    """Time of the last change, nanoseconds."""

    def open_fd(self) -> int:
        """A descriptor of the file. UnsafeError if it has become a link or is no regular file."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as err:
            raise UnsafeError(f"{self.name} cannot be opened any more: {err.strerror}") from err
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise UnsafeError(f"{self.name} is not a regular file")
        return fd

    def head(self, length: int) -> bytes:
        """The first `length` bytes (fewer when the file is shorter)."""
        fd = self.open_fd()
        try:
            return os.pread(fd, length, 0)
        finally:
            os.close(fd)


@dataclass(frozen=True, slots=True)
class Digest:
    """What names a file's content."""

    sha256: str
    """64 hex digits."""
    git_oid: str
    """40 hex digits: the git blob id of the file, or of the pointer git holds for a large one."""


class Digests:
    """Remembers the digests of files; safe to share between threads."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], Digest] = {}
        self._busy: dict[tuple[str, int, int], threading.Lock] = {}
        self._lock = threading.Lock()

    def of(self, blob: Blob, *, is_lfs: bool) -> Digest:
        """The digest of a file. ChangedError when it has another size than when scanned."""
        key = (blob.path, blob.size, blob.mtime_ns)
        known = self._known.get(key)
        if known is not None:
            return known
        with self._lock:
            busy = self._busy.setdefault(key, threading.Lock())
        with busy:  # a client that has given up and asks again must not start a second pass
            if key not in self._known:
                self._known[key] = _digest(blob, is_lfs=is_lfs)
        return self._known[key]


def _digest(blob: Blob, *, is_lfs: bool) -> Digest:
    sha256 = hashlib.sha256()
    git = hashlib.sha1(b"blob %d\0" % blob.size, usedforsecurity=False)
    done = 0
    with open(blob.open_fd(), "rb", buffering=0) as file:
        while block := file.read(BLOCK_BYTES):
            sha256.update(block)
            if not is_lfs:
                git.update(block)
            done += len(block)
    if done != blob.size:
        raise ChangedError(f"{Path(blob.path).name} had {blob.size} bytes, now {done}")
    if is_lfs:
        pointer = LFS_POINTER % (sha256.hexdigest().encode(), blob.size)
        git = hashlib.sha1(b"blob %d\0" % len(pointer) + pointer, usedforsecurity=False)
    return Digest(sha256.hexdigest(), git.hexdigest())
