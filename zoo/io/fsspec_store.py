"""Any fsspec URL (s3://, gs://, memory://, ...) as a store, read by byte ranges.

A location that was *pinned* carries what the service said of each file (`ListedObject`), and a
store of it raises StaleListingError when that is not so any more, as `zoo.io.local` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from zoo.errors import (
    CheckpointError,
    NotFoundError,
    StaleListingError,
    TransientError,
    TruncatedError,
    UseError,
)
from zoo.io.file_names import checked_name, is_hidden
from zoo.io.files import ByteFile, Counters
from zoo.io.fingerprint import combine, that_matter
from zoo.io.local import MAX_FILES
from zoo.io.weights_key import weights_key

_BLOCK_BYTES = 16 << 20
"""Bytes of one range request: the client holds a copy of what it fetched."""
_CONTENT_TAGS = ("ETag", "etag", "md5Hash", "md5", "content_md5", "crc32c", "sha256")
"""Keys under which services tell a tag that changes with a file's content, the preferred one first."""
_HASHES = ("md5Hash", "md5", "content_md5", "sha256")
"""Those of them that are a hash of the bytes in every service."""
_CHANGE_TAGS = (*_CONTENT_TAGS, "size", "mtime", "LastModified", "last_modified", "updated", "created",
                "generation", "VersionId", "ino")  # fmt: skip
"""Keys of all that changes when a file is written again, whether or not its bytes are others."""


@dataclass(frozen=True, slots=True)
class ListedObject:
    """A file behind a URL as it was when the model was listed."""

    name: str
    """Relative posix name."""
    change_tag: str
    """All that the service said and a write would change."""
    digest: str
    """Of its bytes, by the service or by reading them."""


@dataclass(frozen=True, slots=True)
class FsspecLocation:
    """A folder behind a URL that fsspec understands. Credentials come from the environment."""

    url: str
    """`protocol://path` of the folder."""
    files: tuple[str, ...] | None = None
    """Relative names that make up the model, the weights first; None for all of the folder."""
    model_id: str | None = None
    """Id to use; None for `local/<last part of the path>`."""
    revision: str | None = None
    """Fingerprint if already known; None to compute it when first asked for."""
    listed: tuple[ListedObject, ...] | None = None
    """What the fingerprint was computed from; None: not known yet."""

    def open(self) -> FsspecStore:
        """See `Location.open`."""
        return FsspecStore(self)


class FsspecFile:
    """One remote file; every `read_into` is one range request."""

    def __init__(
        self, fs: AbstractFileSystem, path: str, name: str, size: int, counters: Counters
    ) -> None:
        self._fs, self._path, self._counters = fs, path, counters
        self.name, self.size = name, size

    def read_into(self, start: int, buffer: memoryview) -> None:
        """See `ByteFile.read_into`."""
        stop = start + len(buffer)
        if stop > self.size:
            raise TruncatedError(
                f"{self.name} has {self.size:,} bytes; wanted bytes {start:,} to {stop:,}. "
                "Upload the file again"
            )
        for at in range(
            start, stop, _BLOCK_BYTES
        ):  # in blocks, because the client copies what it fetched
            end = min(at + _BLOCK_BYTES, stop)
            try:
                data = self._fs.cat_file(self._path, start=at, end=end)
            except FileNotFoundError as error:
                raise NotFoundError(f"{self.name} is gone: {error}") from error
            except OSError as error:
                raise TransientError(f"reading {self.name} failed: {error}") from error
            self._counters.requests += 1
            self._counters.bytes_read += len(data)
            if len(data) != end - at:
                raise TransientError(
                    f"{self.name}: got {len(data):,} bytes, wanted {end - at:,}; try again"
                )
            buffer[at - start : end - start] = data

    def close(self) -> None:
        """Nothing is held open."""


class FsspecStore:
    """See `Store`; `FsspecLocation` says where."""

    def __init__(self, location: FsspecLocation) -> None:
        try:
            self._fs, self._root = url_to_fs(location.url)
        except (ImportError, ValueError) as error:
            raise UseError(f"cannot open {location.url!r}: {error}") from error
        self._root = self._root.rstrip("/")
        self._location = location
        self._listing: dict[str, dict[str, Any]] | None = None
        self._revision = location.revision
        self._listed = location.listed
        self.counters = Counters()

    span_bytes = 64 << 20

    @property
    def model_id(self) -> str:
        """See `Store.model_id`."""
        return self._location.model_id or "local/" + (self._root.rsplit("/", 1)[-1] or "root")

    @property
    def revision(self) -> str:
        """Fingerprint over content tags when the service gives them, else over all bytes."""
        if self._revision is None:
            infos = self._infos()
            chosen = that_matter(infos)
            self._listed = tuple(
                ListedObject(
                    name, _change_tag(infos[name]), _content_tag(infos[name]) or self._digest(name)
                )
                for name in infos
                if name in chosen
            )
            self._revision = combine((file.name, file.digest) for file in self._listed)
        return self._revision

    @property
    def weights_key(self) -> str | None:
        """See `Store.weights_key`. None where the service tags a file by what may be equal for two."""
        _ = self.revision  # computed first, the digests come with it
        if self._listed is None:
            return None
        sizes = self.files()  # first: it holds what was listed against what is there
        digests = {file.name: _proof(file.digest, self._fs) for file in self._listed}
        return weights_key(sizes, digests)

    def pinned(self) -> FsspecLocation:
        """The location with its revision and all that this stands for."""
        revision = self.revision
        return replace(self._location, revision=revision, listed=self._listed)

    def refused(self) -> Mapping[str, str]:
        """See `Store.refused`: there are no links here."""
        return {}

    def files(self) -> Mapping[str, int]:
        """See `Store.files`."""
        return {name: int(info["size"]) for name, info in self._infos().items()}

    def open(self, name: str) -> ByteFile:
        """See `Store.open`."""
        infos = self._infos()
        if name not in infos:
            raise NotFoundError(f"no file {name!r} in {self._location.url}")
        path = f"{self._root}/{name}"
        return FsspecFile(self._fs, path, name, int(infos[name]["size"]), self.counters)

    def verify(self) -> None:
        """See `Store.verify`. Lists once more; the bytes are not read again."""
        if self._listed is None:
            return
        self._fs.invalidate_cache()  # the client would repeat what it said before
        self._listing = None
        try:
            self._infos()
        except (CheckpointError, NotFoundError) as error:
            raise StaleListingError(
                f"{self._location.url} changed since it was listed: {error}"
            ) from error

    def close(self) -> None:
        """Nothing is held open."""

    def _hold_to_listing(self, infos: Mapping[str, dict[str, Any]]) -> None:
        if self._listed is None:
            return
        there = that_matter(infos)
        if other := there ^ {file.name for file in self._listed}:
            raise StaleListingError(
                f"{self._location.url}: {min(other)!r} came or went since the folder was listed"
            )
        self._listed = tuple(self._still(file, infos[file.name]) for file in self._listed)

    def _still(self, file: ListedObject, info: dict[str, Any]) -> ListedObject:
        """`file` as it is now; StaleListingError when its bytes are others."""
        tag = _change_tag(info)
        if tag == file.change_tag:
            return file
        if (_content_tag(info) or self._digest(file.name)) != file.digest:
            raise StaleListingError(
                f"{file.name!r} in {self._location.url} changed since it was listed; "
                "the model has to be listed again"
            )
        return replace(file, change_tag=tag)

    def _infos(self) -> dict[str, dict[str, Any]]:
        """What the service tells of every file that belongs to the model, by name; asked once."""
        if self._listing is None:
            try:
                by_path = self._fs.find(self._root, detail=True)
            except FileNotFoundError as error:
                raise NotFoundError(f"nothing at {self._location.url}") from error
            except OSError as error:
                raise TransientError(f"listing {self._location.url} failed: {error}") from error
            if len(by_path) > MAX_FILES:
                raise CheckpointError(
                    f"{self._location.url} holds {len(by_path):,} files; wanted one model's folder "
                    f"of at most {MAX_FILES:,}. Point the source at it"
                )
            by_name = {path[len(self._root) + 1 :]: info for path, info in by_path.items()}
            wanted = self._location.files
            self._listing = {
                checked_name(name, said_by=self._location.url): by_name[name]
                for name in sorted(by_name)
                if name and not is_hidden(name) and (wanted is None or name in wanted)
            }
            self._hold_to_listing(self._listing)
            if not self._listing:
                raise NotFoundError(f"nothing at {self._location.url}; check the URL")
        return self._listing

    def _digest(self, name: str) -> str:
        """Digest of the bytes of a file, all of which are read."""
        file, digest = self.open(name), hashlib.blake2b(digest_size=20)
        for start in range(0, file.size, _BLOCK_BYTES):
            block = bytearray(min(_BLOCK_BYTES, file.size - start))
            file.read_into(start, memoryview(block))
            digest.update(block)
        return digest.hexdigest()


def _content_tag(info: dict[str, Any]) -> str | None:
    """The content tag and size in what the service tells of a file; None without a tag."""
    for key in _CONTENT_TAGS:
        if info.get(key):
            return f"{key}={info[key]}:{info['size']}"
    return None


def _proof(digest: str, fs: AbstractFileSystem) -> str | None:
    """`digest` where equal ones mean equal bytes, whatever the file and the place; None elsewhere.

    An ETag is a hash in S3 and anything in other services; a crc32c is too short to tell ten thousand
    checkpoints apart.
    """
    key, separator, _ = digest.partition("=")
    if not separator:
        return f"blake2b:{digest}"  # the bytes were read here
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    is_hash = key in _HASHES or (key.lower() == "etag" and bool(protocols & {"s3", "s3a"}))
    return digest if is_hash else None


def _change_tag(info: dict[str, Any]) -> str:
    return ";".join(f"{key}={info[key]}" for key in _CHANGE_TAGS if info.get(key) is not None)
