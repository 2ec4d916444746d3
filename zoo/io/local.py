"""Folders and files on disk as a store.

A symbolic link may be followed only when its target stays inside the folder, or, when the folder
is a snapshot in the Hub's cache (`models--*/snapshots/*`), inside that model's own `blobs`. Links
to folders are never followed. A snapshot goes by its repository's id and its commit.

A folder can change at any moment. A location that was *pinned* carries what was listed, and a store
of it delivers those bytes or raises StaleListingError: at the first look, at every read, and in
`verify`, which has the last word.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from zoo.errors import CheckpointError, MissingPathError, StaleListingError, UnsafeError
from zoo.io.configs import CONFIG_NAMES, CONFIGS_OF_A_FILE
from zoo.io.file_names import checked_name, shown
from zoo.io.files import ByteFile, Counters, LocalFile
from zoo.io.fingerprint import ListedFile, combine, list_file, that_matter
from zoo.io.hub_cache import cached_repositories, main_snapshot, repo_id_of, snapshot_at
from zoo.io.other_files import is_data_of
from zoo.io.slice_folders import refuse_slice
from zoo.io.stamp import Stamp
from zoo.io.weight_files import is_index_file, is_weight_file
from zoo.io.weights_key import weights_key

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
    """Id to use; None for `local/<folder>`, `local/<stem of the first file>`, or of a snapshot in the Hub's
    cache that of its repository."""
    revision: str | None = None
    """Fingerprint, or a snapshot's commit, if already known; None to find it when first asked for."""
    listed: tuple[ListedFile, ...] | None = None
    """What the fingerprint was computed from, and all that may be read; None: not known yet."""

    @classmethod
    def of(cls, path: str | os.PathLike[str], *, model_id: str | None = None) -> LocalLocation:
        """The location of a folder or of a single weight file; of a repository in the Hub's cache, that
        of its one snapshot or of the one called `main`. MissingPathError, CheckpointError."""
        full = Path(path).expanduser().absolute()
        refuse_slice(full)
        if full.is_dir():
            return cls(str(_model_in(full)), None, model_id)
        if full.is_file():
            beside = [n for n in BESIDE_A_FILE if (full.parent / n).is_file()]
            if full.suffix == ".onnx":
                names = sorted(os.listdir(full.parent))
                beside += [n for n in names if is_data_of(n, full.name)]
            return cls(str(full.parent), (full.name, *beside), model_id)
        raise _no_model_at(full)

    def open(self) -> LocalStore:
        """See `Location.open`."""
        return LocalStore(self)


class LocalStore:
    """See `Store`; `LocalLocation` says where."""

    span_bytes = 0

    def __init__(self, location: LocalLocation) -> None:
        self._location = location
        self._root = Path(os.path.realpath(location.root))
        if not self._root.is_dir():
            error = _no_model_at(Path(location.root))
            if location.listed is None:
                raise error
            raise StaleListingError(f"{error}; it was there when it was listed")
        self._snapshot = snapshot_at(self._root) if location.files is None else None
        self._allowed = (self._root, *_blobs_of(self._root))
        self._sizes: dict[str, int] | None = None
        self._refused: dict[str, str] = {}
        self._revision = location.revision
        self._listed: dict[str, ListedFile] | None = None
        if location.listed is not None:
            self._listed = {file.name: file for file in location.listed}
        self._open: list[LocalFile] = []
        self.counters = Counters()

    @property
    def model_id(self) -> str:
        """See `Store.model_id`."""
        if self._location.model_id is not None:
            return self._location.model_id
        if self._snapshot is not None:
            return self._snapshot.repo_id
        named = self._location.files
        return "local/" + shown(Path(named[0]).stem if named else self._root.name)

    @property
    def revision(self) -> str:
        """Content fingerprint, or the commit of a snapshot in the Hub's cache: every file is read once,
        and what it held is kept and held to."""
        if self._revision is None:
            names = sorted(that_matter(self._names()))
            listed = [list_file(name, str(self._path(name))) for name in names]
            self._listed = {file.name: file for file in listed}
            self._revision = (
                combine((file.name, file.digest) for file in listed)
                if self._snapshot is None
                else self._snapshot.commit
            )
        return self._revision

    @property
    def weights_key(self) -> str | None:
        """See `Store.weights_key`: by the digests that the revision was computed from."""
        _ = self.revision  # computed first, the digests come with it
        if self._listed is None or self.refused():
            return None  # its account names the refused files, and no other model's does
        digests = {name: f"blake2b:{file.digest}" for name, file in self._listed.items()}
        return weights_key(self.files(), digests)

    def pinned(self) -> LocalLocation:
        """The location with its revision and all that this stands for: it opens these bytes or none."""
        revision = self.revision
        listed = None if self._listed is None else tuple(self._listed.values())
        return replace(self._location, revision=revision, listed=listed)

    def files(self) -> Mapping[str, int]:
        """See `Store.files`. The first call holds the folder against what was listed."""
        if self._sizes is None:
            names = self._names()
            self._hold_to_listing(names, prove=False)  # before anything is believed of it
            self._sizes = {name: self._path(name).stat().st_size for name in names}
        return self._sizes

    def refused(self) -> Mapping[str, str]:
        """See `Store.refused`: links that lead out or nowhere, pipes, devices."""
        self.files()
        return self._refused

    def open(self, name: str) -> ByteFile:
        """See `Store.open`."""
        self.files()
        path = str(self._path(name))
        try:
            file = LocalFile(path, name, self.counters)
        except OSError as error:
            raise CheckpointError(
                f"{name!r} in {self._location.root} cannot be opened: {error.strerror}; "
                "wanted a file this user may read"
            ) from error
        self._open.append(file)
        self._check(name, file.stamp, path, prove=False)
        return file

    def verify(self) -> None:
        """See `Store.verify`. Compares stamps, and reads bytes again where stamps do not tell."""
        if self._listed is None:
            return
        try:
            self._hold_to_listing(self._names(), prove=True)
        except (CheckpointError, MissingPathError, OSError) as error:
            raise StaleListingError(
                f"{self._location.root} changed since it was listed: {error}"
            ) from error

    def close(self) -> None:
        """See `Store.close`."""
        while self._open:
            self._open.pop().close()

    def _hold_to_listing(self, names: list[str], *, prove: bool) -> None:
        """StaleListingError unless the files that matter are those listed, none more and none less."""
        if self._listed is None:
            return
        there = that_matter(names)
        if other := there ^ set(self._listed):
            raise StaleListingError(
                f"{self._location.root}: {min(other)!r} came or went since the folder was listed"
            )
        for name in self._listed:
            try:
                path = self._path(name)
                stamp = Stamp.of(path.stat())
            except (MissingPathError, FileNotFoundError) as error:  # it went since the names were read
                raise StaleListingError(
                    f"{self._location.root}: {name!r} went since the folder was listed"
                ) from error
            self._check(name, stamp, str(path), prove=prove)

    def _check(self, name: str, stamp: Stamp, path: str, *, prove: bool) -> None:
        """StaleListingError unless the file of this stamp at `path` holds what was listed.

        Without `prove`, an equal stamp will do even when the file had not settled when it was
        listed: good enough before it is read, as `verify` comes afterwards.
        """
        listed = None if self._listed is None else self._listed.get(name)
        if self._listed is None or listed is None:
            return
        if stamp == listed.stamp and (listed.is_settled or not prove):
            return
        now = list_file(name, path)
        if now.digest != listed.digest or now.stamp != stamp:
            raise StaleListingError(
                f"{name!r} in {self._location.root} changed since it was listed; "
                "the model has to be listed again"
            )
        self._listed[name] = now  # touched, or another machine's copy: the same bytes

    def _names(self) -> list[str]:
        """Names of the files that are read, or whose opening will say why not; notes those refused."""
        names = self._location.files
        reasons = {name: self._refusal(name) for name in (self._walk() if names is None else names)}
        self._refused = {name: reason for name, reason in reasons.items() if reason is not None}
        return sorted(name for name, reason in reasons.items() if reason is None)

    def _refusal(self, name: str) -> str | None:
        """Why a file that can be done without is not followed; None for all others.

        A model is measured by its weights and its configs; a card, a log or a note that is a link to
        some other place is no reason to refuse it, nor to read that place.
        """
        if is_weight_file(name) or is_index_file(name) or Path(name).name in CONFIG_NAMES:
            return None
        path = self._root / name
        try:
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                return None
            self._path(name)
        except MissingPathError:
            return "a link that leads nowhere"
        except UnsafeError:
            is_link = stat.S_ISLNK(mode)
            return "a link that leads out of the folder" if is_link else "not a regular file"
        except (CheckpointError, OSError):
            return None  # gone, or a name that is no name: told by whoever looks at it
        return None

    def _walk(self) -> list[str]:
        """Names of all files that are not hidden, relative to the root."""
        names: list[str] = []
        for folder, subfolders, inside in os.walk(self._root, onerror=_raise):
            subfolders[:] = sorted(n for n in subfolders if not n.startswith("."))
            prefix = Path(folder).relative_to(self._root)
            names += [(prefix / n).as_posix() for n in inside if not n.startswith(".")]
            if len(names) > MAX_FILES:
                raise CheckpointError(
                    f"{self._location.root} holds more than {MAX_FILES:,} files; wanted one "
                    "model's folder. Point the source at it, or name the files"
                )
        return names

    def _path(self, name: str) -> Path:
        """Where `name` really lives; refuses links that lead out and things that are no file."""
        path = self._root / checked_name(name, said_by=self._location.root)
        try:
            real = path.resolve(strict=True)
            mode = real.stat().st_mode
        except (FileNotFoundError, NotADirectoryError, RuntimeError) as error:
            raise MissingPathError(
                f"no file {name!r} in {self._location.root} ({error}); was it removed?"
            ) from error
        except OSError as error:
            raise CheckpointError(
                f"{name!r} in {self._location.root} cannot be looked at: {error.strerror}"
            ) from error
        if not any(real.is_relative_to(root) for root in self._allowed):
            raise UnsafeError(
                f"{name!r} in {self._location.root} is a link that leads out of the folder; "
                "wanted a file inside it. Copy the file in, or use the folder it points to"
            )
        if not stat.S_ISREG(mode):
            raise UnsafeError(f"{name!r} in {self._location.root} is not a regular file")
        return real


def _model_in(folder: Path) -> Path:
    """`folder`, or the snapshot that is meant by a repository in the Hub's cache."""
    if repo_id_of(folder) is not None:
        return main_snapshot(folder).folder
    repositories = cached_repositories(folder)
    if repositories:
        some = ", ".join(path.name for path in repositories[:3])
        raise CheckpointError(
            f"{folder} is a cache of the Hub with {len(repositories)} models ({some}"
            f"{', ...' if len(repositories) > 3 else ''}); wanted one: name its folder"
        )
    return folder


def _blobs_of(root: Path) -> tuple[Path, ...]:
    """The blob folder a snapshot of the Hub's cache links into; empty for any other folder."""
    is_snapshot = root.parent.name == "snapshots" and root.parent.parent.name.startswith("models--")
    return (root.parent.parent / "blobs",) if is_snapshot else ()


def _raise(error: OSError) -> None:
    """A subfolder that cannot be listed may hold weights: not left out in silence."""
    raise CheckpointError(
        f"{error.filename} cannot be listed: {error.strerror}; wanted a folder this user may read"
    ) from error


def _no_model_at(path: Path) -> MissingPathError | CheckpointError:
    """Why `path` is neither a folder nor a file: gone, a link that leads nowhere, or a device."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        is_link = os.path.islink(path)
        if error.errno == errno.ELOOP:
            return MissingPathError(f"no folder or file at {path}: a link that leads to itself")
        if isinstance(error, PermissionError):
            return CheckpointError(
                f"{path} cannot be looked at: {error.strerror}; check its rights"
            )
        where = "a link that leads nowhere; check where it points" if is_link else "check the path"
        return MissingPathError(f"no folder or file at {path}; {where}")
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device",
             stat.S_IFBLK: "a device"}  # fmt: skip
    kind = kinds.get(stat.S_IFMT(mode), "something else")
    return UnsafeError(f"{path} is {kind}; wanted a folder or a regular file")
