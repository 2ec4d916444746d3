"""The folder or bucket a catalog lives in: list, read, put whole, delete. Knows no table.

A file appears under its final name whole or not at all. On this machine: written aside in `_tmp/`
(outside every data folder), fsync, rename, fsync of the folder. In a bucket: one put, which
object stores make atomic.

    <root>/_zoo-catalog.json           says that this is a catalog, and of which schema
    <root>/<table>/hot/*.parquet       one file a commit
    <root>/<table>/g000001/*.parquet   compacted files, a folder a compaction; g000000 is empty
    <root>/_tmp/                       files being written, locks; never read

Parquet readers that are pointed at the root pass over names with an underscore. Catalogs that version
0.1.0 made have `zoo-catalog.json` and `tmp/`, and keep them: an older program goes by these names.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from catalog.errors import DiskFullError, StorageError
from catalog.files.room import no_room

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors that say that there is no room: disk, quota, or the limit on the size of a file."""
_STALE_S = 24 * 3600.0
"""Seconds after which a file of `Folder.aside` is deleted, whoever writes it."""
_FRESH_S = 60.0
"""Seconds for which one is kept although its writer seems to be gone: a process of another
container looks dead here."""


OLD_MARKER = "zoo-catalog.json"
"""The file that made a folder a catalog in version 0.1.0; where it is, it is the marker to this day."""


_CHANGED = ("LastModified", "mtime", "last_modified", "created")
"""What drivers call the time of a file's last change."""
_PROBES = "probe-"
"""What the names of files begin with that ask a bucket something, and are deleted at once."""
_CREATES_ONCE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "memory"}
"""Schemes whose services create a file for one of all who try at once, by If-None-Match (S3, Azure) or
ifGenerationMatch=0 (Google), and whose drivers ask for it (s3fs, gcsfs, adlfs: `mode="create"`)."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells a file from another one of the same name."""

    size: int
    """Bytes."""
    modified_s: float
    """Last change, seconds since 1970; now, where the bucket does not say."""
    identity: str
    """Differs when the file was replaced: inode and time, or the bucket's etag."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Where a catalog lives."""

    root: str
    """Absolute path, or URL (`s3://bucket/zoo`); DuckDB understands both."""
    remote: Any | None
    """The fsspec file system of a URL; None on this machine."""

    @classmethod
    def parse(cls, root: str | os.PathLike[str]) -> Folder:
        """The folder `root`: a path, a `file://` URL or any URL fsspec knows. Touches nothing."""
        text = os.fspath(root)
        if text.startswith("file://"):
            text = unquote(urlsplit(text).path)
        if "://" not in text:
            return cls(os.path.abspath(os.path.expanduser(text)), None)
        import fsspec  # not needed on this machine, and slow to load

        try:
            remote, path = fsspec.core.url_to_fs(text)
        except (ImportError, ValueError) as error:
            raise StorageError(
                f"cannot open {text}: {error}; install the fsspec driver of that scheme "
                f"or give a folder on this machine"
            ) from error
        return cls(str(remote.unstrip_protocol(path)).rstrip("/"), remote)

    @property
    def aside(self) -> str:
        """Name of the folder, on this machine, of locks and of files being written."""
        return "tmp" if os.path.exists(self.at(OLD_MARKER)) else "_tmp"

    @property
    def is_local(self) -> bool:
        """True on this machine's file systems."""
        return self.remote is None

    def at(self, *parts: str) -> str:
        """The path or URL of `parts` below the root."""
        return "/".join((self.root, *parts))

    def glob(self, *parts: str) -> str:
        """`at` for DuckDB: wildcards in `parts` count, those in the root itself do not."""
        root = re.sub(r"([*?\[])", r"[\1]", self.root)
        return "/".join((root, *parts))

    def exists(self, *parts: str) -> bool:
        """True when there is a file or folder of that name."""
        with _explained("look at", self.at(*parts)):
            if self.remote is None:
                return os.path.exists(self.at(*parts))
            self.remote.invalidate_cache()
            return bool(self.remote.exists(self.at(*parts)))

    def names(self, *parts: str) -> tuple[str, ...]:
        """Names of the files directly in the folder `parts`, sorted; empty without the folder."""
        return self._entries("file", *parts)

    def sizes(self, *parts: str) -> dict[str, int]:
        """Bytes of the files directly in the folder `parts` by name; empty without the folder.

        One listing, whatever the number of files: none of them is opened.
        """
        with _explained("list", self.at(*parts)):
            try:
                if self.remote is None:
                    with os.scandir(self.at(*parts)) as entries:
                        return {e.name: e.stat().st_size for e in entries if e.is_file()}
                self.remote.invalidate_cache()
                infos = self.remote.ls(self.at(*parts), detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return {}
        files = (info for info in infos if info["type"] == "file")
        return {str(info["name"]).rsplit("/", 1)[-1]: int(info["size"]) for info in files}

    def folders(self, *parts: str) -> tuple[str, ...]:
        """Names of the folders directly in the folder `parts`, sorted; empty without it."""
        return self._entries("directory", *parts)

    def _entries(self, kind: str, *parts: str) -> tuple[str, ...]:
        with _explained("list", self.at(*parts)):
            try:
                if self.remote is None:
                    with os.scandir(self.at(*parts)) as entries:
                        is_folder = kind == "directory"
                        return tuple(sorted(e.name for e in entries if e.is_dir() == is_folder))
                self.remote.invalidate_cache()
                infos = self.remote.ls(self.at(*parts), detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return ()
        paths = (str(info["name"]) for info in infos if info["type"] == kind)
        return tuple(sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in paths))

    def read(self, *parts: str) -> bytes:
        """All bytes of a file."""
        with _explained("read", self.at(*parts)):
            if self.remote is None:
                return Path(self.at(*parts)).read_bytes()
            return bytes(self.remote.cat_file(self.at(*parts)))

    def stamp(self, *parts: str) -> Stamp | None:
        """Size, age and identity of a file; None when there is none."""
        with _explained("look at", self.at(*parts)):
            try:
                if self.remote is None:
                    status = os.stat(self.at(*parts))
                    identity = f"{status.st_ino} {status.st_mtime_ns}"
                    return Stamp(status.st_size, status.st_mtime, identity)
                self.remote.invalidate_cache()
                info = self.remote.info(self.at(*parts))
            except FileNotFoundError:
                return None
        changed = next(filter(None, map(info.get, _CHANGED)), None)  # as each driver calls it
        seconds = changed.timestamp() if isinstance(changed, datetime) else changed or time.time()
        etag = info.get("ETag") or info.get("etag")
        return Stamp(int(info["size"]), float(seconds), f"{etag} {changed}")

    def put(self, data: bytes | memoryview, *parts: str) -> str:
        """Write `data` as the file `parts`, whole or not at all; an older one is replaced."""
        self.put_all({parts: data})
        return self.at(*parts)

    def put_all(self, files: Mapping[tuple[str, ...], bytes | memoryview]) -> None:
        """Write every file, each whole or not at all, in no order; all are safe on return.

        Cheaper than one by one: a disk's journal is flushed once for all, a bucket answers at once.
        """
        if self.remote is None:
            writers = {parts: partial(_fill, data) for parts, data in files.items()}
            self._put_written(writers, nbytes=sum(len(data) for data in files.values()))
            return
        with ThreadPoolExecutor(max(len(files), 1), "put") as pool:
            puts = [pool.submit(self._pipe, data, parts) for parts, data in files.items()]
            for put in puts:
                put.result()

    def _pipe(self, data: bytes | memoryview, parts: tuple[str, ...]) -> None:
        assert self.remote is not None
        with _explained("write", self.at(*parts)):
            self.remote.pipe_file(self.at(*parts), bytes(data))

    def create(self, data: bytes, *parts: str) -> bool:
        """Write the file `parts` of a bucket unless there is one; True when this call has written it.

        Of all who try at once one succeeds, where `creates_once`. `data` has to be unlike that of
        any other writer: an answer that was lost on its way is told from a loss by it.
        """
        assert self.remote is not None
        with _explained("write", self.at(*parts)):
            try:
                self.remote.pipe_file(self.at(*parts), data, mode="create")
                return True
            except OSError as error:
                # refused, or written by a first try whose answer did not arrive
                if isinstance(error, FileExistsError) or self.exists(*parts):
                    return self.read(*parts) == data
                raise

    def creates_once(self) -> bool:
        """True in a bucket that lets one of all who try create a file (`create`).

        The scheme has to be known to promise it, and the service is tried: some that speak S3's
        protocol pass over the condition.
        """
        if self.remote is None or self.root.partition("://")[0] not in _CREATES_ONCE:
            return False
        path = (self.aside, f"{_PROBES}{secrets.token_hex(8)}")
        try:
            return self.create(b"first", *path) and not self.create(b"second", *path)
        finally:
            self.delete(*path)

    def clock(self) -> float:
        """What a bucket's own clock says, in seconds since 1970: the age of a file that is written now."""
        path = (self.aside, f"{_PROBES}{secrets.token_hex(8)}")
        self.put(b"now", *path)
        try:
            stamp = self.stamp(*path)
        finally:
            self.delete(*path)
        return 0.0 if stamp is None else stamp.modified_s

    def put_written(self, write: Callable[[str], None], *parts: str) -> str:
        """Let `write` fill a file aside on this machine, then give it the name `parts`."""
        final = self.at(*parts)
        if self.remote is not None:
            with _explained("write", final), tempfile.TemporaryDirectory() as aside_folder:
                aside = os.path.join(aside_folder, "part")
                write(aside)
                self.remote.put_file(aside, final)
        else:
            self._put_written({parts: write})
        return final

    def _put_written(
        self,
        writers: Mapping[tuple[str, ...], Callable[[str], None]],
        *,
        nbytes: int | None = None,
    ) -> None:
        """Write all files aside, flush them, rename them, and flush the folders, each step for all
        before the next: a disk's journal is flushed once. `nbytes`: of all, where that is known."""
        asides = {self.at(*parts): self._aside() for parts in writers}
        folders = {os.path.dirname(final) for final in asides}
        try:
            for folder in (*folders, self.at(self.aside)):
                with _explained("write", folder, nbytes=nbytes):
                    os.makedirs(folder, exist_ok=True)
            for (final, aside), write in zip(asides.items(), writers.values(), strict=True):
                with _explained("write", final, nbytes=nbytes):
                    write(aside)
            for final, aside in asides.items():
                with _explained("write", final, nbytes=nbytes):
                    _sync(aside)
            for final, aside in asides.items():
                with _explained("write", final, nbytes=nbytes):
                    os.replace(aside, final)
            for folder in folders:
                with _explained("write", folder, nbytes=nbytes):
                    _sync(folder)
        finally:
            for aside in asides.values():
                if os.path.exists(aside):
                    os.unlink(aside)

    def _aside(self) -> str:
        """A path in `aside` that tells its writer's host and process."""
        return self.at(self.aside, f"{_host()}.{os.getpid()}.{secrets.token_hex(8)}.tmp")

    def delete(self, *parts: str) -> None:
        """Remove a file; nothing happens when it is gone already."""
        with _explained("delete", self.at(*parts)):
            try:
                if self.remote is None:
                    os.unlink(self.at(*parts))
                else:
                    self.remote.rm_file(self.at(*parts))
            except FileNotFoundError:
                return

    def clean(self) -> int:
        """Delete what killed writers left in `aside`; returns how many files that were.

        A file goes a minute after its writer's process is gone from this machine, or after a day.
        """
        stale = [name for name in self.names(self.aside) if self._is_stale(name)]
        for name in stale:
            self.delete(self.aside, name)
        return len(stale)

    def _is_stale(self, name: str) -> bool:
        if self.remote is not None:
            stamp = self.stamp(self.aside, name) if name.startswith(_PROBES) else None
            return stamp is not None and time.time() - stamp.modified_s > _STALE_S
        host, _, rest = name.rpartition(".tmp")[0].partition(".")
        pid = rest.partition(".")[0]
        if not name.endswith(".tmp") or not pid.isdigit():
            return False
        try:
            age = time.time() - os.path.getmtime(self.at(self.aside, name))
        except FileNotFoundError:
            return False
        return age > _STALE_S or (age > _FRESH_S and host == _host() and not _is_alive(int(pid)))


@contextmanager
def _explained(verb: str, path: str, *, nbytes: int | None = None) -> Iterator[None]:
    """Turn an OSError into one of ours, which says what to do. `nbytes`: wanted, where it is known."""
    try:
        yield
    except OSError as error:
        what = f"cannot {verb} {path}: {error.strerror or error}"
        if error.errno in FULL:
            raise DiskFullError(f"{what}. {no_room(error.errno, path, nbytes)}") from error
        raise StorageError(
            f"{what}; give a folder this user may write to (--out), then run the same command again"
        ) from error


def _fill(data: bytes | memoryview, path: str) -> None:
    with open(path, "wb") as file:
        file.write(data)


def _sync(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _host() -> str:
    return "".join(c if c.isalnum() or c == "-" else "-" for c in socket.gethostname()) or "host"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
