"""Leases: who may write to a catalog in a bucket, where no kernel holds locks.

    <root>/_tmp/leases/<name>/00000007.json     the seventh holder of the lease `name`, since when, and
                                                its heartbeat, written anew every few seconds

A holder is who created the file of the highest number, its *token*. The store lets only one of all
who try create it (`Folder.create`). A holder is gone when it says so, when its process is seen to
be gone, or without a heartbeat for `DEAD_S`; the next one then creates the next number. So a holder
that was merely asleep (a suspended machine, a network that was away) finds a higher number than its
own: it has lost the lease, and `fence` raises before it writes anything more.

Ages are told by the store's clock or by watching for a heartbeat, never by comparing the clocks of
two machines. Released files stay, so that numbers never repeat; older ones are deleted.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from catalog.errors import LeaseLostError, LockedError, StorageError
from catalog.files.folder import Folder

BEAT_S = 10.0
"""Seconds between two heartbeats."""
DEAD_S = 60.0
"""Seconds without a heartbeat after which a holder is taken for dead."""
_LEASES = "leases"
"""Folder of the leases, within `Folder.aside`."""


@dataclass(frozen=True, slots=True)
class Holder:
    """What the file of a holder says."""

    token: int
    """The fencing token: greater than that of every holder before."""
    who: str
    """Process and machine, for messages."""
    place: str
    """Where process numbers mean the same: the boot of a machine, and the namespace of its container."""
    pid: int
    born: str
    """When the process started, in ticks since that boot; another process may get its number."""
    nonce: str
    """Tells two holders apart, whatever else is equal."""
    since: str
    """When it took the lease, by its own clock, for messages."""
    deletes: bool
    """True: others' files are deleted under this lease, so nobody may commit meanwhile."""
    beat: int = 0
    """Number of the last heartbeat."""
    is_released: bool = False

    def to_bytes(self) -> bytes:
        """The file."""
        return json.dumps(asdict(self)).encode()


def holder_of(folder: Folder, name: str) -> Holder | None:
    """The last holder of the lease `name`, gone or not; None when there was none."""
    for _ in range(5):
        numbers = _tokens(folder, name)
        if not numbers:
            return None
        try:
            return Holder(**json.loads(folder.read(*_path(folder, name, numbers[-1]))))
        except StorageError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            # a newer holder has deleted it since it was listed
        except (ValueError, TypeError) as error:
            raise StorageError(
                f"{folder.at(*_path(folder, name, numbers[-1]))} is no lease of ours ({error}); "
                f"delete it when no sweep and no `zoo compact` runs on this catalog"
            ) from error
    raise StorageError(
        f"the lease {name} of {folder.root} changes hands faster than it can be read"
    )


def is_gone(folder: Folder, name: str, holder: Holder) -> bool:
    """True when `holder` has released the lease, or is dead as far as can be told at once."""
    if holder.is_released:
        return True
    if holder.place == _place() and _born(holder.pid) != holder.born:
        return True  # nobody has to wait for it
    stamp = folder.stamp(*_path(folder, name, holder.token))
    return stamp is None or folder.clock() - stamp.modified_s > DEAD_S


@contextmanager
def lease(folder: Folder, name: str, what: str, *, deletes: bool = False) -> Iterator[None]:
    """Hold the lease `name` of the bucket `folder` while the block runs.

    LockedError when somebody holds it: at once where that is plain, else at its next heartbeat. A
    holder that gives no sign of life for `DEAD_S` is taken over from.
    """
    held = _Lease(folder, name, _acquire(folder, name, what, deletes=deletes))
    _HELD.setdefault(folder.root, []).append(held)
    try:
        held.start()
        yield
    finally:
        _HELD[folder.root].remove(held)
        held.release()


def fence(folder: Folder, *, surely: bool = False) -> None:
    """LeaseLostError when another one took a lease of this process on `folder` since: then nothing
    more may be written. Asks the store when the last heartbeat is old, or to be told `surely`."""
    for held in _HELD.get(folder.root, ()):
        held.check(surely=surely)


def shut_out(folder: Folder, name: str) -> Holder | None:
    """Make sure that nobody holds the lease `name`; the holder, where there is one that lives.

    One that seems to be dead is fenced: a higher token is put above its own, so it stops should it
    wake up.
    """
    holder = holder_of(folder, name)
    if holder is None or holder.is_released:
        return None
    if not is_gone(folder, name, holder):
        return holder
    above = replace(_newcomer(holder.token + 1, deletes=False), is_released=True)
    if folder.create(above.to_bytes(), *_path(folder, name, above.token)):
        return None
    return holder_of(folder, name)  # somebody has just taken it


def names_of_leases(folder: Folder) -> tuple[str, ...]:
    """Every lease that was ever held on `folder`."""
    return folder.folders(folder.aside, _LEASES)


_HELD: dict[str, list[_Lease]] = {}
"""The leases that this process holds, by the root of the catalog; as with the kernel's locks, a
process and not an object has them."""


class _Lease:
    """A lease that this process holds, and the thread that keeps it alive."""

    def __init__(self, folder: Folder, name: str, holder: Holder) -> None:
        self._folder = folder
        self._name = name
        self._holder = holder
        self._beaten_s = _clock()
        """When the last heartbeat that arrived was sent."""
        self._is_lost = False
        self._turn = threading.Lock()
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat_on, name=f"lease-{name}", daemon=True)

    def start(self) -> None:
        self._heart.start()

    def release(self) -> None:
        """Say that the lease is free. Where that fails, it is free after `DEAD_S`."""
        self._ended.set()
        self._heart.join()
        if not self._is_lost:
            with contextlib.suppress(StorageError):
                self._write(replace(self._holder, is_released=True))

    def check(self, *, surely: bool) -> None:
        if surely or _clock() - self._beaten_s > DEAD_S / 2:
            self._beat()
        if self._is_lost:
            raise LeaseLostError(
                f"the lease {self._name} of {self._folder.root} was taken over, as this process "
                f"({self._holder.who}) gave no sign of life for {DEAD_S:g} s: it writes nothing more. "
                f"What was committed is kept; the same command goes on when the other one has ended"
            )

    def _beat_on(self) -> None:
        while not self._ended.wait(BEAT_S):
            with contextlib.suppress(StorageError):  # `check` asks again before anything is written
                self._beat()

    def _beat(self) -> None:
        with self._turn:
            sent_s = _clock()
            if self._is_lost or _tokens(self._folder, self._name)[-1:] != (self._holder.token,):
                self._is_lost = True
                return
            self._holder = replace(self._holder, beat=self._holder.beat + 1)
            self._write(self._holder)
            self._beaten_s = sent_s

    def _write(self, holder: Holder) -> None:
        self._folder.put(holder.to_bytes(), *_path(self._folder, self._name, holder.token))


def _acquire(folder: Folder, name: str, what: str, *, deletes: bool) -> Holder:
    """Become the holder; LockedError when another one lives."""
    watched: tuple[int, int] | None = None
    """Token and heartbeat of the holder that is watched for a sign of life."""
    watched_s = 0.0
    while True:
        holder = holder_of(folder, name)
        if holder is not None and not is_gone(folder, name, holder):
            seen = (holder.token, holder.beat)
            is_seen = holder.place == _place()  # and its process lives
            if is_seen or (watched is not None and seen != watched):
                raise LockedError(
                    f"{what} already runs on {folder.root} ({holder.who} since {holder.since}); wait "
                    f"for it, stop it, or use another name or another catalog"
                )
            if watched is None:
                watched, watched_s = seen, _clock()
            if _clock() - watched_s <= DEAD_S:
                time.sleep(BEAT_S / 10)
                continue
        newcomer = _newcomer(holder.token + 1 if holder else 1, deletes=deletes)
        if folder.create(newcomer.to_bytes(), *_path(folder, name, newcomer.token)):
            numbers = _tokens(folder, name)
            if numbers[-1] == newcomer.token:
                for number in numbers[:-1]:
                    folder.delete(*_path(folder, name, number))
                return newcomer
            # created late, below one that was taken meanwhile
            folder.delete(*_path(folder, name, newcomer.token))
        watched = None


def _newcomer(token: int, *, deletes: bool) -> Holder:
    host = socket.gethostname()
    return Holder(
        token=token,
        who=f"process {os.getpid()} on {host}",
        place=_place(),
        pid=os.getpid(),
        born=_born(os.getpid()),
        nonce=secrets.token_hex(8),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        deletes=deletes,
    )


def _path(folder: Folder, name: str, token: int) -> tuple[str, ...]:
    return (folder.aside, _LEASES, name, f"{token:08d}.json")


def _tokens(folder: Folder, name: str) -> tuple[int, ...]:
    """Tokens of the files of a lease, ascending."""
    names = folder.names(folder.aside, _LEASES, name)
    return tuple(int(file[:8]) for file in names if file[:8].isdigit() and file.endswith(".json"))


def _clock() -> float:
    """Seconds that pass also while the machine is suspended, where the system counts them."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def _place() -> str:
    """This boot of this machine, and the namespace of process numbers in it."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # another system: its holders are told by their heartbeats alone
        return f"{socket.gethostname()} {secrets.token_hex(8)}"


def _born(pid: int) -> str:
    """When a process of this place started; empty when there is none of that number."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        return ""
