"""Locks of a catalog on this machine.

The kernel holds a lock (flock), so it vanishes with its process, kill -9 included. Other machines
and buckets are not covered: there, equal sweeps write equal files under equal names, and compaction
must not run beside a sweep.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from catalog.errors import DiskFullError, LockedError, StorageError
from catalog.files.folder import FULL, Folder
from catalog.files.room import no_room


@contextmanager
def sweep_lock(root: str, name: str) -> Iterator[None]:
    """One sweep called `name` at a time on the catalog `root`; LockedError for the second.

    Not inherited by programs that are executed. A fork that outlives the holder keeps the lock, as
    the sweep is then still running.
    """
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    with _exclusive(Folder.parse(root), f"sweep-{digest}.lock", f"sweep {name!r}"):
        yield


@contextmanager
def compact_lock(root: str) -> Iterator[None]:
    """One compaction at a time; LockedError for the second."""
    with _exclusive(Folder.parse(root), "compact.lock", "zoo compact"):
        yield


@contextmanager
def writing(folder: Folder, *, alone: bool) -> Iterator[None]:
    """Wait for, then hold, the right to commit (with others) or to delete merged files (alone).

    Both last milliseconds; together they keep a file that was just replaced from being deleted.
    """
    if not folder.is_local:
        yield
        return
    handle = _open(folder, "writing.lock")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


@contextmanager
def _exclusive(folder: Folder, file: str, what: str) -> Iterator[None]:
    """Holds the lock `file`, and says in it who holds it; LockedError when another process does."""
    if not folder.is_local:
        yield
        return
    handle = _open(folder, file)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(
                f"{what} already runs on {folder.root} ({_holder(handle)}); wait for it, "
                f"stop it, or use another name or another catalog"
            ) from error
        since = datetime.now(UTC).isoformat(timespec="seconds")
        with contextlib.suppress(OSError):  # a note for the message of a second one, on a full disk
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps({"pid": os.getpid(), "since": since}).encode(), 0)
        yield
    finally:
        os.close(handle)


def _open(folder: Folder, file: str) -> int:
    path = folder.at(folder.aside, file)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in FULL:
            raise DiskFullError(
                f"cannot lock {path}: {error.strerror}. {no_room(error.errno, path, None)}"
            ) from error
        raise StorageError(
            f"cannot lock {path}: {error.strerror}; give a folder this user may write to (--out)"
        ) from error


def _holder(handle: int) -> str:
    """Who holds a lock, for a message."""
    try:
        held = json.loads(os.pread(handle, 4096, 0))
        return f"process {held['pid']} since {held['since']}"
    except (ValueError, KeyError, TypeError):
        return "a process that has only just started"
