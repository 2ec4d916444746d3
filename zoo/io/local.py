"""Folders and files on disk as a store.

A symbolic link may be followed only when its target stays inside the folder, or, when the folder
is a snapshot in the Hub's cache (`models--*/snapshots/*`), inside that model's own `blobs`. Links
to folders are never followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from zoo.errors import CheckpointError, NotFoundError, UnsafeError
from zoo.io.configs import CONFIGS_OF_A_FILE
from zoo.io.files import ByteFile, Counters, LocalFile
from zoo.io.fingerprint import fingerprint_files
from zoo.io.names import checked_name

MAX_FILES = 100_000
"""A folder that holds more files is refused: it is not that of one model."""
BESIDE_A_FILE = (*CONFIGS_OF_A_FILE, "README.md")
"""Files that belong to a single weight file when they lie next to it."""


@dataclass(frozen=True, slots=True)
class LocalLocation:
    """A folder, or some files of it."""

    root: str
    """Absolute path of the folder."""
    files: tuple[str, ...] | None = None
    """Relative names that make up the model, the weights first; None for all of the folder."""
    model_id: str | None = None
    """Id to use; None for `local/<folder>`, or `local/<stem of the first file>`."""
    revision: str | None = None
    """Fingerprint if already known; None to compute it when first asked for."""

    @classmethod
    def of(cls, path: str | os.PathLike[str], *, model_id: str | None = None) -> LocalLocation:
        """The location of a folder or of a single weight file."""
        full = Path(path).expanduser().absolute()
        if full.is_dir():
            return cls(str(full), None, model_id)
        if full.is_file():
            beside = [n for n in BESIDE_A_FILE if (full.parent / n).is_file()]
            return cls(str(full.parent), (full.name, *beside), model_id)
        raise NotFoundError(f"no folder or file at {full}; check the path")

    def open(self) -> LocalStore:
        """See `Location.open`."""
        return LocalStore(self)


class LocalStore:
    """See `Store`; `LocalLocation` says where."""

    def __init__(self, location: LocalLocation) -> None:
        self._location = location
        self._root = Path(location.root).resolve()
        if not self._root.is_dir():
            raise NotFoundError(f"no folder at {location.root}; check the path")
        self._allowed = (self._root, *_blobs_of(self._root))
        self._listing: dict[str, int] | None = None
        self._revision = location.revision
        self._open: list[LocalFile] = []
        self.counters = Counters()

    span_bytes = 0

    @property
    def model_id(self) -> str:
        """See `Store.model_id`."""
        if self._location.model_id is not None:
            return self._location.model_id
        named = self._location.files
        return "local/" + (Path(named[0]).stem if named else self._root.name)

    @property
    def revision(self) -> str:
        """Content fingerprint: computed by reading every file once, then kept."""
        if self._revision is None:
            self._revision = fingerprint_files(
                [(name, str(self._path(name))) for name in self.files()]
            )
        return self._revision

    def files(self) -> Mapping[str, int]:
        """See `Store.files`."""
        if self._listing is None:
            names = self._location.files
            listed = self._walk() if names is None else list(names)
            self._listing = {n: self._path(n).stat().st_size for n in sorted(listed)}
        return self._listing

    def open(self, name: str) -> ByteFile:
        """See `Store.open`."""
        file = LocalFile(str(self._path(name)), name, self.counters)
        self._open.append(file)
        return file

    def close(self) -> None:
        """See `Store.close`."""
        while self._open:
            self._open.pop().close()

    def _walk(self) -> list[str]:
        """Names of all files that are not hidden, relative to the root."""
        relative: list[str] = []
        for folder, subfolders, names in os.walk(self._root, followlinks=False):
            subfolders[:] = sorted(n for n in subfolders if not n.startswith("."))
            prefix = Path(folder).relative_to(self._root)
            relative += [(prefix / n).as_posix() for n in names if not n.startswith(".")]
            if len(relative) > MAX_FILES:
                raise CheckpointError(
                    f"{self._location.root} holds more than {MAX_FILES:,} files; wanted one "
                    "model's folder. Point the source at it, or name the files"
                )
        return relative

    def _path(self, name: str) -> Path:
        """Where `name` really lives; refuses links that lead out and things that are no file."""
        path = self._root / checked_name(name, said_by=self._location.root)
        try:
            real = path.resolve(strict=True)
            mode = real.stat().st_mode
        except (FileNotFoundError, NotADirectoryError, RuntimeError) as error:
            raise NotFoundError(
                f"no file {name!r} in {self._location.root} ({error}); was it removed?"
            ) from error
        if not any(real.is_relative_to(root) for root in self._allowed):
            raise UnsafeError(
                f"{name!r} in {self._location.root} is a link that leads out of the folder; "
                "wanted a file inside it. Copy the file in, or use the folder it points to"
            )
        if not stat.S_ISREG(mode):
            raise UnsafeError(f"{name!r} in {self._location.root} is not a regular file")
        return real


def _blobs_of(root: Path) -> tuple[Path, ...]:
    """The blob folder a snapshot of the Hub's cache links into; empty for any other folder."""
    is_snapshot = root.parent.name == "snapshots" and root.parent.parent.name.startswith("models--")
    return (root.parent.parent / "blobs",) if is_snapshot else ()
