"""A model on the Hub as a `Store`: its files at one commit, read by ranges, ahead of need.

The listing is one page per 1,000 files; every reply is held against it. No weight touches a disk.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping

from zoo.errors import CheckpointError, NotFoundError, SourceError
from zoo.hub.client import HubClient
from zoo.hub.hub_file import RemoteFile, RemoteMeta, Sink
from zoo.hub.location import HubLocation
from zoo.hub.prefetch import QUEUE_BYTES, PlannedSpan, Prefetcher
from zoo.hub.ranges import ByteRange, holds, union, whole_or_spans
from zoo.io.file_names import checked_name, is_hidden
from zoo.io.files import ByteFile, Counters
from zoo.io.weights_key import weights_key

MAX_FILES = 100_000
"""A repository of more files is refused: it is no single model."""
_MOST_CARRIED = 2_000
"""Files up to which a listing travels with every task of a model; a longer one is asked for again."""
SPAN_BYTES = 64 * 2**20
"""Neighbouring tensors are fetched together in reads of about this many bytes."""


class HubStore:
    """See `zoo.io.store.Store`; a `HubLocation` opens one."""

    span_bytes = SPAN_BYTES

    def __init__(
        self,
        repo_id: str,
        sha: str,
        client: HubClient,
        *,
        queue_bytes: int = QUEUE_BYTES,
        endpoint: str | None = None,
        listed: tuple[RemoteMeta, ...] | None = None,
    ) -> None:
        """`repo_id` at the commit `sha`; `queue_bytes`: memory that reading ahead may take.

        `endpoint`: as its location has it. `listed`: the files, where they were listed before.
        """
        self.counters = Counters()
        self._repo_id = repo_id
        self._sha = sha
        self._client = client
        self._queue_bytes = queue_bytes
        self._lock = threading.Lock()
        self._endpoint = endpoint
        self._metas: dict[str, RemoteMeta] | None = None
        if listed is not None:
            self._metas = {meta.name: meta for meta in listed}
        self._files: dict[str, RemoteFile] = {}
        self._prefetcher: Prefetcher | None = None
        self._announced: dict[str, tuple[ByteRange, ...]] = {}

    @property
    def model_id(self) -> str:
        """The repository's id."""
        return self._repo_id

    @property
    def revision(self) -> str:
        """The commit."""
        return self._sha

    @property
    def weights_key(self) -> str | None:
        """See `Store.weights_key`: by the hashes of the listing, sha256 or git's."""
        metas = self._listed()
        digests = {name: meta.etag for name, meta in metas.items()}
        return weights_key({name: meta.size for name, meta in metas.items()}, digests)

    def pinned(self) -> HubLocation:
        """See `Store.pinned`; of a repository of very many files without them."""
        metas = tuple(self._listed().values())
        listed = metas if len(metas) <= _MOST_CARRIED else None
        return HubLocation(self._repo_id, self._sha, self._endpoint, listed)

    @property
    def verified(self) -> tuple[str, ...]:
        """Files whose every byte was read and whose sha256 was the listed one."""
        return tuple(name for name, file in self._files.items() if file.verified)

    def refused(self) -> Mapping[str, str]:
        """See `Store.refused`: there are no links here."""
        return {}

    def files(self) -> Mapping[str, int]:
        """See `Store.files`."""
        return {name: meta.size for name, meta in self._listed().items()}

    def open(self, name: str) -> ByteFile:
        """See `Store.open`."""
        return _StoreFile(self, self._remote(name))

    def announce(self, wanted: Iterable[tuple[str, int, int]]) -> None:
        """These (file, start, end) will be read next, in this order; start fetching them.

        Neighbours are fetched together; a file of which nearly all is wanted comes whole and its
        sha256 is checked. Forgets what was announced before. An empty plan stops reading ahead.
        """
        self._stop_prefetch()
        by_file: dict[str, list[ByteRange]] = {}
        for name, start, end in wanted:
            by_file.setdefault(name, []).append(ByteRange(start, end))
        self._announced = {name: union(pieces) for name, pieces in by_file.items()}
        plan = tuple(self._plan())
        if plan:
            self._prefetcher = Prefetcher(plan, self._fetch, queue_bytes=self._queue_bytes)

    def verify(self) -> None:
        """Nothing left to do: every reply was held against the listing of its commit."""

    def close(self) -> None:
        """See `Store.close`."""
        self._stop_prefetch()
        self._files.clear()

    def read_into(self, file: RemoteFile, start: int, buffer: memoryview) -> None:
        """Fill `buffer` from what is kept, then from what was fetched ahead, then by a request."""
        file.check_inside(start, start + len(buffer))
        # a read that was not announced must not drive the stream past what was
        ahead = holds(self._announced.get(file.name, ()), start, start + len(buffer))
        done = file.from_head(start, buffer, may_fetch=not ahead)
        if self._prefetcher is not None and ahead and done < len(buffer):
            done += self._prefetcher.take(file.name, start + done, buffer[done:])
        if done < len(buffer):
            file.read_into(start + done, buffer[done:])

    def _plan(self) -> Iterator[PlannedSpan]:
        """The spans that bring what was announced and is not kept yet."""
        for name, pieces in self._announced.items():
            if not pieces:
                continue
            file = self._remote(name)
            file.check_inside(pieces[0].start, pieces[-1].end)
            for span in whole_or_spans(pieces, size=file.size):
                wanted = pieces[0].start if span.length == file.size else span.start
                start = max(span.start, file.resume_at(wanted))
                if start < span.end:
                    yield PlannedSpan(name, ByteRange(start, span.end))

    def _fetch(self, name: str, span: ByteRange, sink: Sink) -> None:
        self._remote(name).pump(span.start, span.end, sink)

    def _stop_prefetch(self) -> None:
        if self._prefetcher is not None:
            self._prefetcher.close()
            self._prefetcher = None
        self._announced = {}

    def _remote(self, name: str) -> RemoteFile:
        """The file of that name; one object each, which remembers its link and its head."""
        with self._lock:
            known = self._files.get(name)
        if known is not None:
            return known
        meta = self._listed().get(checked_name(name, said_by=self.model_id))
        if meta is None:
            raise NotFoundError(f"{self.model_id}@{self.revision[:12]} has no file {name!r}")
        file = RemoteFile(
            self._client, self.model_id, self.revision, meta, self.counters, self._lock
        )
        with self._lock:
            return self._files.setdefault(name, file)

    def _listed(self) -> Mapping[str, RemoteMeta]:
        """Every file of the revision by name; listed once."""
        if self._metas is None:
            self._metas = {m.name: m for m in sorted(self._list(), key=lambda m: m.name)}
        return self._metas

    def _list(self) -> Iterator[RemoteMeta]:
        what = f"{self.model_id}@{self.revision[:12]}"
        url = self._client.model_url(self.model_id, "tree", self.revision)
        num_files = 0
        for page in self._client.pages(url, (("recursive", "true"),), what=f"files of {what}"):
            self.counters.requests += 1
            num_files += len(page)
            if num_files > MAX_FILES:
                raise CheckpointError(
                    f"{what} holds more than {MAX_FILES:,} files; wanted one model's repository"
                )
            for entry in page:
                meta = _meta(entry, what)
                if meta is not None and not is_hidden(meta.name):
                    yield meta


class _StoreFile:
    """A file handed out by a store; reading goes through what the store fetched ahead."""

    def __init__(self, store: HubStore, remote: RemoteFile) -> None:
        self.name = remote.name
        self.size = remote.size
        self._store = store
        self._remote = remote

    def read_into(self, start: int, buffer: memoryview) -> None:
        """See `ByteFile.read_into`."""
        self._store.read_into(self._remote, start, buffer)

    def close(self) -> None:
        """Nothing stays open between reads."""


def _meta(entry: object, what: str) -> RemoteMeta | None:
    """One row of the tree listing; None for a folder. SourceError for anything else."""
    if not isinstance(entry, dict):
        raise SourceError(f"{what}: the listing holds a {type(entry).__name__}, expected objects")
    if entry.get("type") != "file":
        return None
    name, size, oid, lfs = (entry.get(key) for key in ("path", "size", "oid", "lfs"))
    if not isinstance(name, str) or not isinstance(size, int) or not 0 <= size < 2**50:
        raise SourceError(f"{what}: the listing says {str(entry)[:100]}, expected path and size")
    sha256 = lfs.get("oid") if isinstance(lfs, dict) else None
    checked = sha256 if isinstance(sha256, str) and len(sha256) == 64 else None
    return RemoteMeta(
        name=checked_name(name, said_by=what),
        size=size,
        etag=checked or (oid if isinstance(oid, str) else None),
        sha256=checked,
    )
