"""A folder in shared memory for the weights on their way to the process beside a training.

Both processes remove it. Should both be killed, the next training that starts on this machine does: whoever
lives holds a lock on a file in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from pathlib import Path

from zoo.errors import UseError

SHARED_MEMORY = Path("/dev/shm")
"""Where Linux keeps files in memory."""
_SPARE = 64 << 20
"""Bytes that are left free there."""
_PREFIX = "spectral-zoo-training-"
_ALIVE = "alive"
"""The file that the training holds a lock on."""


class Scratch:
    """A folder of its own, until `remove`."""

    def __init__(self, num_bytes: int, wanted: str | os.PathLike[str] | None = None) -> None:
        """`num_bytes`: of a snapshot. `wanted`: where, if not in memory. UseError when that is no folder."""
        parent = place_for(num_bytes, wanted)
        remove_orphans(parent)
        hidden = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=parent))
        self._lock = os.open(hidden / _ALIVE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.folder = parent / f"{_PREFIX}{secrets.token_hex(6)}"
        hidden.rename(self.folder)  # seen by others once it is locked, and not before
        (self.folder / "model").mkdir()

    def remove(self) -> None:
        """Delete it. Calling twice is harmless."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(self._lock)
        self._lock = -1


def place_for(num_bytes: int, wanted: str | os.PathLike[str] | None) -> Path:
    """Where a snapshot of that size goes: the caller's choice, else shared memory if there is room, else
    the folder for temporary files."""
    if wanted is not None:
        if not os.path.isdir(wanted):
            raise UseError(f"scratch: got {os.fspath(wanted)!r}, no folder; wanted one to write in")
        return Path(wanted).absolute()
    if SHARED_MEMORY.is_dir() and os.access(SHARED_MEMORY, os.W_OK):
        room = os.statvfs(SHARED_MEMORY)
        if room.f_bavail * room.f_frsize > num_bytes + _SPARE:
            return SHARED_MEMORY
    return Path(tempfile.gettempdir())


def remove_orphans(parent: Path) -> None:
    """Delete folders of trainings that were killed together with the process beside them."""
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            handle = os.open(folder / _ALIVE, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # another user's, or on its way out
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)
