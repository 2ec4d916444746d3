"""A folder of checkpoints seen as repositories with revisions.

    DIR/<owner>/<name>/...            repository `owner/name`, its `main` branch
    DIR/<name>/<files>                repository `name` (a top folder that holds files itself)
    .../.hub/branches/<branch>/...    another branch (%-quote characters a file name cannot have)
    .../.hub/tags/<tag>/...           a tag
    .../.hub/repo.json                what the Hub knows besides: gated, private, disabled,
                                      downloads, likes, last_modified, created_at

A revision's sha is a hash of its names and contents: copy the folder and it stays, change one byte
and it moves. Hidden files are not part of a revision. A link is followed only when its target is a
regular file (or folder) inside DIR. Knows nothing of HTTP.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from zoo.errors import NotFoundError
from zoo.loopback.digests import Blob, Digest, Digests

LFS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".npz", ".h5", ".onnx", ".msgpack")
"""Files the Hub stores out of git, and names by sha256."""
LFS_BYTES = 10 * 2**20
"""Any file of this size or more is stored out of git."""
SETTINGS_BYTES = 2**16
"""Bytes read of `.hub/repo.json`; a longer one cannot be used."""
_ID_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}")
"""An owner's or a repository's name."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`.hub/repo.json`: what a repository's files cannot say."""

    gated: str | None = None
    """`auto` or `manual`: files need a token; None: open."""
    private: bool = False
    """Only visible with a token that opens it."""
    disabled: bool = False
    """Taken down: every access is refused."""
    downloads: int = 0
    likes: int = 0
    last_modified: str | None = None
    """ISO time; None: the newest file's."""
    created_at: str | None = None


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of one revision."""

    files: Mapping[str, Blob]
    """Name -> file, sorted by name."""
    digests: Digests = field(repr=False)

    def digest(self, name: str) -> Digest:
        """Hashes of one file."""
        return self.digests.of(self.files[name], is_lfs=self.is_lfs(name))

    def sha(self) -> str:
        """40 hex digits naming the content of all files."""
        total = hashlib.sha1(usedforsecurity=False)
        for name in self.files:
            total.update(f"{name}\0{self.digest(name).sha256}\n".encode())
        return total.hexdigest()

    def is_lfs(self, name: str) -> bool:
        """Whether the Hub would store this file out of git."""
        return name.endswith(LFS_SUFFIXES) or self.files[name].size >= LFS_BYTES

    def etag(self, name: str) -> str:
        """sha256 of a large file, git blob id of a small one."""
        digest = self.digest(name)
        return digest.sha256 if self.is_lfs(name) else digest.git_oid


@dataclass(frozen=True, slots=True)
class Repo:
    """One repository as it is on disk now."""

    id: str
    settings: Settings
    branches: Mapping[str, Tree]
    """Always holds `main`."""
    tags: Mapping[str, Tree]

    def tree(self, revision: str) -> Tree:
        """The files at a branch, tag or sha. NotFoundError when there is no such revision."""
        name = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        for trees in (self.branches, self.tags):
            if name in trees:
                return trees[name]
        if re.fullmatch(r"[0-9a-f]{40}", revision):
            for tree in (*self.branches.values(), *self.tags.values()):
                if tree.sha() == revision:
                    return tree
        raise NotFoundError(f"{self.id} has no revision {revision!r}")


class Shelf:
    """The repositories below one folder; looks at the disk again on every question."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).resolve(strict=True)
        if not self.root.is_dir():
            raise NotFoundError(f"{root} is not a folder; expected one that holds checkpoints")
        self._digests = Digests()

    def ids(self) -> tuple[str, ...]:
        """Ids of all repositories, sorted."""
        return tuple(sorted(self._ids()))

    def repo(self, repo_id: str) -> Repo:
        """One repository. NotFoundError when there is none of that id."""
        parts = repo_id.split("/")
        if len(parts) > 2 or not all(_ID_PART.fullmatch(part) for part in parts):
            raise NotFoundError(f"no repository {repo_id!r}")
        folder = self._inside(self.root.joinpath(*parts))
        if folder is None or not folder.is_dir() or (len(parts) == 1) != self._holds_files(folder):
            raise NotFoundError(f"no repository {repo_id!r}")
        hub = folder / ".hub"
        if not hub.exists():
            return Repo(repo_id, Settings(), {"main": self._tree(folder)}, {})
        branches = {"main": self._tree(folder), **self._trees(hub / "branches")}
        return Repo(repo_id, self._settings(hub), branches, self._trees(hub / "tags"))

    def _ids(self) -> Iterator[str]:
        for owner in self._folders(self.root):
            if self._holds_files(owner):
                yield owner.name
            else:
                for folder in self._folders(owner):
                    yield f"{owner.name}/{folder.name}"

    def _folders(self, parent: Path) -> Iterator[Path]:
        for entry in parent.iterdir():
            if _ID_PART.fullmatch(entry.name) and entry.is_dir() and self._inside(entry):
                yield entry

    def _holds_files(self, folder: Path) -> bool:
        """Top folders with files (or `.hub`) are repositories themselves, others are owners."""
        if folder.parent != self.root:
            return False
        with os.scandir(folder) as entries:
            return any(e.name == ".hub" or (e.is_file() and e.name[0] != ".") for e in entries)

    def _inside(self, path: Path) -> Path | None:
        """`path` with links resolved, or None when it is missing or leads out of the root."""
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError):
            return None
        return real if real.is_relative_to(self.root) else None

    def _trees(self, folder: Path) -> dict[str, Tree]:
        real = self._inside(folder)
        if real is None or not real.is_dir():
            return {}
        folders = [e for e in sorted(real.iterdir()) if e.is_dir() and self._inside(e)]
        return {unquote(folder.name): self._tree(folder) for folder in folders}

    def _tree(self, folder: Path) -> Tree:
        real = self._inside(folder)
        blobs = self._walk(str(real), "", frozenset()) if real else ()
        return Tree({b.name: b for b in sorted(blobs, key=lambda b: b.name)}, self._digests)

    def _walk(self, folder: str, prefix: str, above: frozenset[str]) -> Iterator[Blob]:
        """Regular files below a folder whose own links are resolved."""
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = entry.path
                if entry.is_symlink():
                    real = self._inside(Path(path))
                    if real is None or str(real) in above:
                        continue
                    path = str(real)
                try:
                    info = entry.stat()
                except OSError:  # removed since the folder was read
                    continue
                if stat.S_ISDIR(info.st_mode):
                    yield from self._walk(path, f"{prefix}{entry.name}/", above | {folder})
                elif stat.S_ISREG(info.st_mode):
                    yield Blob(prefix + entry.name, path, info.st_size, info.st_mtime_ns)

    def _settings(self, hub: Path) -> Settings:
        path = self._inside(hub / "repo.json")
        if path is None or not path.is_file():
            return Settings()
        try:
            with path.open("rb") as file:
                settings = json.loads(file.read(SETTINGS_BYTES))
            return Settings(
                gated=str(settings["gated"]) if settings.get("gated") else None,
                private=bool(settings.get("private", False)),
                disabled=bool(settings.get("disabled", False)),
                downloads=int(settings.get("downloads", 0)),
                likes=int(settings.get("likes", 0)),
                last_modified=settings.get("last_modified"),
                created_at=settings.get("created_at"),
            )
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as err:
            raise NotFoundError(f"{hub.parent.name}/.hub/repo.json cannot be used: {err}") from err


def iso_time(ns: int) -> str:
    """Nanoseconds since 1970 as the Hub writes times: `2026-11-23T10:00:00.000Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // 10**9)) + (
        f".{ns // 10**6 % 1000:03d}Z"
    )
