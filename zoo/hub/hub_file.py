"""One file on the Hub, read by byte ranges that resume where a connection broke.

The first request goes to the Hub, which may answer with a signed link to a store of its own; the
link is used again until it is refused, unless it was signed for one range only. What comes back is
held against what the revision's listing promised: commit, etag, size. Bytes that pass in order
from the first to the last are hashed, and the hash is checked before the last of them is
delivered. Nothing touches a disk.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from urllib.parse import urljoin

import httpx2

from zoo.errors import ChangedError, SourceError, TransientError, TruncatedError
from zoo.hub.client import HubClient, status_error
from zoo.hub.pacing import RequestKind
from zoo.io.files import Counters

HEAD_BYTES = 2**16
"""Bytes fetched with the first look at a file, and kept: most headers fit, none is asked twice."""
HEAD_SHARE = 1 / 256
"""Only this share of a small file is fetched so: more may not be wanted of the tensors behind."""
MIN_HEAD_BYTES = 2**12
"""Bytes that are fetched at least, however small the file."""
PROGRESS_BYTES = 2**16
"""A broken request that brought so many bytes starts a new count of attempts."""
_MAX_REDIRECTS = 5
"""Redirects of one request that are followed."""
_MAX_IGNORED = 3
"""An endpoint that ignores the range so many times in a row is given up."""
_MAX_UNUSED_LINKS = 2
"""After so many signed links in a row that served one range only, each is used once."""
_RANGE_SIGNED = "signed-range="
"""Part of a link that serves the range it names and no other (`X-Xet-Signed-Range`)."""
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")
"""(first byte, last byte, size of the file)."""
_LINK_REFUSED = frozenset({400, 401, 403, 404, 410})
"""Answers to a signed link that is used again which say that it has expired."""

Sink = Callable[[bytes], None]
"""Takes the bytes of a file, in order."""


@dataclass(frozen=True, slots=True)
class RemoteMeta:
    """What the revision's listing says of a file."""

    name: str
    """Posix path in the repository."""
    size: int
    """Bytes."""
    etag: str | None
    """sha256 of a large file, git blob id of a small one; None when not listed."""
    sha256: str | None
    """sha256 of a large file; None for small ones."""


class RemoteFile:
    """A `ByteFile` on the Hub. One reader, and one thread that reads ahead for it."""

    def __init__(
        self,
        client: HubClient,
        repo_id: str,
        sha: str,
        meta: RemoteMeta,
        counters: Counters,
        lock: threading.Lock,
    ) -> None:
        """`lock` guards `counters`, which the files of a store share."""
        self.name = meta.name
        self.size = meta.size
        self.verified = False
        """Whether all bytes have passed and their sha256 was the listed one."""
        self._meta = meta
        self._client = client
        self._url = client.file_url(repo_id, sha, meta.name)
        self._what = f"{repo_id}@{sha[:12]} {meta.name}"
        self._sha = sha
        self._counters = counters
        self._lock = lock
        self._link: str | None = None
        self._unused_links = 0
        """Links in a row that were refused before they served a second range."""
        self._head: bytes | None = None
        share = max(int(HEAD_SHARE * meta.size), MIN_HEAD_BYTES)
        self._head_bytes = min(share, HEAD_BYTES, meta.size)
        self._hash = hashlib.sha256()
        self._hashed = 0
        self._ignored = 0
        """Requests in a row whose range the server ignored."""

    def read_into(self, start: int, buffer: memoryview) -> None:
        """See `ByteFile.read_into`."""
        end = start + len(buffer)
        self.check_inside(start, end)
        done = start + self.from_head(start, buffer)

        def sink(block: bytes) -> None:
            nonlocal done
            buffer[done - start : done - start + len(block)] = block
            done += len(block)

        self.pump(done, end, sink)

    def close(self) -> None:
        """Nothing stays open between reads."""

    def check_inside(self, start: int, end: int) -> None:
        """TruncatedError unless `0 <= start <= end <= size`."""
        if not 0 <= start <= end <= self.size:
            raise TruncatedError(
                f"{self._what} has {self.size:,} bytes; wanted bytes {start:,} to {end:,}. "
                "The file in the repository is cut short"
            )

    def from_head(self, start: int, buffer: memoryview, *, may_fetch: bool = True) -> int:
        """Bytes delivered from the kept head of the file, which the first small read fetches."""
        if self._head is None:
            if not may_fetch or start + len(buffer) > self._head_bytes:
                return 0  # a large read needs no second request before it
            head = bytearray()
            self.pump(0, self._head_bytes, head.extend)
            self._head = bytes(head)
        piece = self._head[start : start + len(buffer)]
        buffer[: len(piece)] = piece
        return len(piece)

    def resume_at(self, wanted: int) -> int:
        """Where a stream over the rest of the file starts when `wanted` is the first byte asked
        for: not before what is kept, and without a gap to what has been hashed."""
        return max(len(self._head or b""), min(wanted, self._hashed))

    def pump(self, start: int, end: int, sink: Sink) -> None:
        """Hand the bytes `start <= i < end` to `sink`, in order, each exactly once.

        Resumes from the byte reached. TransientError when attempts run out, ChangedError when
        the file is not the listed one any more.
        """
        at = start

        def once() -> None:
            nonlocal at
            began = at
            try:
                with closing(self._blocks(at, end)) as blocks:
                    for block in blocks:
                        self._pass(at, block)
                        at += len(block)
                        sink(block)
            except ChangedError:
                raise
            except TransientError:
                if at - began < PROGRESS_BYTES:
                    raise

        while at < end:
            self._client.retrying(once)

    def _pass(self, at: int, block: bytes) -> None:
        """Count and hash a block before anyone sees it. ChangedError where the hash is another."""
        with self._lock:
            self._counters.bytes_read += len(block)
            if self._meta.sha256 is None or not at <= self._hashed < at + len(block):
                return
            self._hash.update(memoryview(block)[self._hashed - at :])
            self._hashed = at + len(block)
            if self._hashed < self.size:
                return
            self.verified = self._hash.hexdigest() == self._meta.sha256
        if not self.verified:
            raise ChangedError(
                f"{self._what}: the bytes received have another sha256 than listed; "
                "the model has to be read again"
            )

    def _blocks(self, start: int, end: int) -> Generator[bytes]:
        """One request's bytes. TransientError when there are fewer than asked for."""
        with self._open(start, end) as response:
            num_received = 0
            pace = _Pace(self._client.options.stall_s, self._client.options.min_rate, self._what)
            for block in response.iter_raw():
                pace.passed(len(block))
                block = block[: end - start - num_received]
                num_received += len(block)
                yield block
            if num_received < end - start:
                raise TransientError(
                    f"{self._what}: connection ended after {num_received:,} of "
                    f"{end - start:,} bytes"
                )

    @contextmanager
    def _open(self, start: int, end: int) -> Iterator[httpx2.Response]:
        """A checked response whose body is the wanted range and nothing else."""
        if self._link is not None:
            with self._request(self._link, start, end) as response:
                if response.status_code not in _LINK_REFUSED:
                    self._unused_links = 0
                    self._check_range(response, start, end)
                    yield response
                    return
            self._link = None  # it has expired: ask the Hub for a new one
            self._unused_links += 1
        url = self._url
        for _ in range(_MAX_REDIRECTS):
            with self._request(url, start, end) as response:
                if self._client.is_own(url):
                    self._check_identity(response)
                if not 300 <= response.status_code < 400:
                    self._check_range(response, start, end)
                    self._link = url if self._is_reusable(url) else None
                    yield response
                    return
                url = urljoin(url, response.headers.get("location", ""))
        raise SourceError(f"{self._what}: more than {_MAX_REDIRECTS} redirects")

    def _is_reusable(self, url: str) -> bool:
        """Whether a link may serve other ranges too, by what it says and by experience."""
        is_pinned = _RANGE_SIGNED in url.lower() or self._unused_links >= _MAX_UNUSED_LINKS
        return not is_pinned and not self._client.is_own(url)

    @contextmanager
    def _request(self, url: str, start: int, end: int) -> Iterator[httpx2.Response]:
        """One counted request for the range, with no `Range` header where it is the whole file."""
        with self._lock:
            self._counters.requests += 1
        is_whole = start == 0 and end == self.size
        headers = {} if is_whole else {"Range": f"bytes={start}-{end - 1}"}
        kind: RequestKind | None = "resolvers" if self._client.is_own(url) else None
        with self._client.open("GET", url, kind=kind, what=self._what, headers=headers) as response:
            yield response

    def _check_identity(self, response: httpx2.Response) -> None:
        """The Hub's own reply has to name the commit and the content that were listed."""
        if response.status_code >= 400:
            return
        commit = response.headers.get("x-repo-commit")
        if commit is not None and commit != self._sha:
            raise ChangedError(f"{self._what}: the Hub answers for commit {commit[:40]}")
        own = response.headers.get("etag") if response.status_code < 300 else None
        etag = _plain(response.headers.get("x-linked-etag") or own)
        if etag is not None and self._meta.etag is not None and etag != self._meta.etag:
            raise ChangedError(
                f"{self._what}: etag {etag[:64]}, listed was {self._meta.etag}; "
                "the model has to be read again"
            )

    def _check_range(self, response: httpx2.Response, start: int, end: int) -> None:
        """Refuse, before its body is read, any reply that is not the wanted bytes."""
        status = response.status_code
        if response.headers.get("content-encoding", "identity") != "identity":
            raise SourceError(f"{self._what}: the reply is compressed; wanted plain bytes")
        if status == 206:
            header = response.headers.get("content-range", "no Content-Range")
            match = _CONTENT_RANGE.fullmatch(header)
            if match is None or tuple(map(int, match.groups())) != (start, end - 1, self.size):
                raise ChangedError(
                    f"{self._what}: got {header[:80]}, wanted bytes {start}-{end - 1}/{self.size}"
                )
            self._ignored = 0
            return
        if status == 200 and start == 0 and end == self.size:
            length = response.headers.get("content-length", str(self.size))
            if length != str(self.size):
                raise ChangedError(
                    f"{self._what}: {length[:20]} bytes now, {self.size} when listed"
                )
            return
        if status == 200:
            self._ignored += 1
            problem = f"{self._what}: the server ignored the range asked for and sends all"
            if self._ignored >= _MAX_IGNORED:
                raise SourceError(f"{problem}; use an endpoint that serves byte ranges")
            raise TransientError(problem)
        if self._client.is_own(str(response.request.url)) or status not in _LINK_REFUSED:
            raise status_error(response, self._what)
        raise TransientError(f"{self._what}: HTTP {status} for a link just signed")


class _Pace:
    """Raises when a body drips so slowly that it might as well have stopped."""

    def __init__(self, window_s: float, min_rate: float, what: str) -> None:
        self._window_s, self._min_rate, self._what = window_s, min_rate, what
        self._since, self._bytes = time.monotonic(), 0

    def passed(self, num_bytes: int) -> None:
        self._bytes += num_bytes
        now = time.monotonic()
        if now - self._since >= self._window_s:
            if self._bytes < self._min_rate * (now - self._since):
                raise TransientError(
                    f"{self._what}: {self._bytes:,} bytes in {now - self._since:.0f} s; stalled"
                )
            self._since, self._bytes = now, 0


def _plain(etag: str | None) -> str | None:
    """An etag without quotes and weakness."""
    return etag.removeprefix("W/").strip('"') if etag else None
