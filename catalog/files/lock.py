"""Locks of a catalog: who may write what at the same time.

On this machine the kernel holds a lock (flock), so it vanishes with its process, kill -9 included;
a compaction may run beside sweeps, as each waits for the other file by file (`writing`). In a bucket a
lock is a lease (`catalog/files/lease.py`) and a compaction runs beside no sweep. In a bucket that
cannot create a file once only, there are no locks: equal sweeps write equal files under equal names,
and a compaction has to be told that it is alone. Folders that several machines share (NFS) are locked
as far as their file system passes flock on.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from catalog.errors import DiskFullError, LockedError, StorageError
from catalog.files.folder import FULL, Folder
from catalog.files.lease import fence, holder_of, lease, names_of_leases, shut_out
from catalog.files.room import no_room

_SWEEP = "sweep-"
"""What the names of the locks of sweeps begin with."""
_HOUSEKEEPING = "compact"
"""The lock of a compaction, and of what must not run beside one: refits and probes."""
_LOOK_EVERY_S = 2.0
"""Seconds between two looks whether a compaction of a bucket is through."""


@contextmanager
def sweep_lock(root: str, name: str, *, say: Callable[[str], None] | None = None) -> Iterator[None]:
    """One sweep called `name` at a time on the catalog `root`; LockedError for the second.

    Not inherited by programs that are executed. A fork that outlives the holder keeps the lock, as
    the sweep is then still running. In a bucket a running compaction is waited for, which `say` hears.
    """
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    folder = Folder.parse(root)
    with _exclusive(folder, f"{_SWEEP}{digest}", f"sweep {name!r}"):
        # after our own lease: of a sweep and a compaction that start at once, one sees the other
        _wait_for_compaction(folder, say)
        yield


@contextmanager
def compact_lock(root: str) -> Iterator[None]:
    """One compaction, refit or run of probes at a time; LockedError for the second."""
    with _exclusive(Folder.parse(root), _HOUSEKEEPING, "zoo compact"):
        yield


@contextmanager
def compaction(root: str, *, alone: bool = False) -> Iterator[None]:
    """`compact_lock` for a compaction, which deletes others' files: in a bucket it runs beside no sweep.

    LockedError when one lives; a dead one is fenced, so that it writes nothing should it wake up. Where
    the bucket cannot tell, LockedError unless the caller says that no sweep runs (`alone`).
    """
    folder = Folder.parse(root)
    if not folder.is_local and not folder.creates_once():
        if not alone:
            raise LockedError(
                f"{folder.root} cannot create a file once only, so a sweep that runs on it cannot be "
                f"told; make sure that none does, then say so with --alone"
            )
        yield
        return
    with _exclusive(folder, _HOUSEKEEPING, "zoo compact", deletes=True):
        for name in () if folder.is_local else names_of_leases(folder):
            holder = shut_out(folder, name) if name.startswith(_SWEEP) else None
            if holder is not None:
                raise LockedError(
                    f"a sweep runs on {folder.root} ({holder.who} since {holder.since}), and in a bucket "
                    f"files are not merged beside one; wait for it. One that was killed on another "
                    f"machine counts for a minute after its last sign of life"
                )
        yield


def still_ours(folder: Folder) -> None:
    """LeaseLostError when a lease of this process on a bucket was taken over; asks the bucket."""
    fence(folder, surely=True)


@contextmanager
def writing(folder: Folder, *, alone: bool) -> Iterator[None]:
    """Wait for, then hold, the right to commit (with others) or to delete merged files (alone).

    Both last milliseconds; together they keep a file that was just replaced from being deleted. In a
    bucket leases keep committing and deleting apart: LeaseLostError when ours was taken over.
    """
    if not folder.is_local:
        fence(folder, surely=alone)
        yield
        return
    handle = _open(folder, "writing.lock")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def _wait_for_compaction(folder: Folder, say: Callable[[str], None] | None) -> None:
    """Return when no compaction of a bucket runs; one that died is fenced."""
    is_said = False
    while not folder.is_local:
        holder = holder_of(folder, _HOUSEKEEPING)
        if holder is None or not holder.deletes or shut_out(folder, _HOUSEKEEPING) is None:
            return
        if say is not None and not is_said:
            say(f"waiting for zoo compact on {folder.root} ({holder.who} since {holder.since})")
            is_said = True
        time.sleep(_LOOK_EVERY_S)


@contextmanager
def _exclusive(folder: Folder, name: str, what: str, *, deletes: bool = False) -> Iterator[None]:
    """Holds the lock `name`, and says in it who holds it; LockedError when another process does.

    `deletes`: see `Holder`.
    """
    if not folder.is_local:
        if folder.creates_once():
            with lease(folder, name, what, deletes=deletes):
                yield
        else:
            yield
        return
    handle = _open(folder, f"{name}.lock")
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
