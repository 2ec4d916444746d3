"""One sweep of a name at a time on one catalog, on this machine.

The kernel holds the lock (flock), so it vanishes with its process, kill -9 included. Other machines
and buckets are not covered; there, two equal sweeps write equal files under equal names.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from catalog.errors import LockedError, StorageError
from catalog.folder import Folder


@contextmanager
def sweep_lock(root: str, name: str) -> Iterator[None]:
    """Hold the lock of sweep `name` on the catalog `root`; LockedError when someone else does.

    Child processes must not inherit it: the file is closed on exec, and a fork that outlives the
    holder keeps the lock, as the sweep is then still running.
    """
    folder = Folder.parse(root)
    if not folder.is_local:
        yield
        return
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    path = folder.at("tmp", f"sweep-{digest}.lock")
    try:
        os.makedirs(folder.at("tmp"), exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageError(
            f"cannot lock {path}: {error.strerror}; give a folder this user may write to (--out)"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(
                f"sweep {name!r} already runs on {folder.root} ({_holder(handle)}); wait for it, "
                f"stop it, or give this one another name or --out"
            ) from error
        os.ftruncate(handle, 0)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        os.pwrite(handle, json.dumps({"pid": os.getpid(), "since": since}).encode(), 0)
        yield
    finally:
        os.close(handle)


def _holder(handle: int) -> str:
    try:
        held = json.loads(os.pread(handle, 4096, 0))
        return f"process {held['pid']} since {held['since']}"
    except (ValueError, KeyError, TypeError):
        return "by a process that has only just started"
