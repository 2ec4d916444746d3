"""Byte ranges of one revision's files from Xet storage, in place of HTTP ranges. Off by default.

Switched on by `HubOptions.xet` (ZOO_HUB_XET=1), used for files whose listing names a Xet hash. The
hash is the content's, and the access token is asked for at the commit, so what comes is what was
listed. hf_xet itself has waited for ever, so a thread of its own waits for it here, under the same
watchdog as an HTTP body; whatever goes wrong, `remote` fetches the rest by HTTP.

Tested with the real hf_xet against a storage server on loopback; not exercised against a real CAS.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, Protocol

from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]
from huggingface_hub.utils._runtime import is_xet_available
from huggingface_hub.utils._xet import XetConnectionInfo, parse_xet_connection_info_from_headers

from zoo.errors import SourceError, TransientError
from zoo.hub.client import HubClient, HubOptions, status_error
from zoo.io.files import Counters

BUFFER_BYTES = 128 * 2**20
"""What hf_xet may hold for one range; its own default is a share of the machine's memory."""
RENEW_S = 60.0
"""An access token that ends sooner is not used for another range."""
_QUEUED_BLOCKS = 2
_LOOK_S = 0.2
_LOG = logging.getLogger("zoo.hub")


@dataclass(frozen=True, slots=True)
class XetFile:
    """Content in Xet storage."""

    hash: str
    """64 hex digits; not the sha256."""
    size: int
    """Bytes."""


class StreamGroup(Protocol):
    """What is used of `hf_xet.XetDownloadStreamGroup`."""

    def download_stream(
        self, file_info: Any, start: int | None = None, end: int | None = None
    ) -> Iterator[bytes]:
        """The bytes `start <= i < end` in order, in blocks of any size."""

    def abort(self) -> None:
        """End every stream of the group, also one that another thread waits for."""


OpenGroup = Callable[[XetConnectionInfo, HubOptions], StreamGroup]
"""Makes a group of its own for one range, so that ending it ends nothing else."""


class XetRanges:
    """Ranges of the files of one repository at one commit. Safe to share between threads."""

    def __init__(
        self,
        client: HubClient,
        repo_id: str,
        sha: str,
        counters: Counters,
        lock: threading.Lock,
        *,
        open_group: OpenGroup | None = None,
    ) -> None:
        """`lock` guards `counters`, which count token requests and ranges."""
        self.is_on = True
        """False after the first failure: a model pays for one stall, not for one in each file."""
        self._client = client
        self._url = client.model_url(repo_id, "xet-read-token", sha)
        self._what = f"{repo_id}@{sha[:12]} Xet token"
        self._counters = counters
        self._lock = lock
        self._open_group = open_group or open_hf_xet
        self._info_lock = threading.Lock()
        self._info: XetConnectionInfo | None = None

    def blocks(self, file: XetFile, start: int, end: int, *, what: str) -> Generator[bytes]:
        """The bytes `start <= i < end`, in order. SourceError as soon as they do not come."""
        info = self._connection()
        self._count()
        stream = _Stream(lambda: self._open_group(info, self._client.options), file, start, end)
        with closing(stream):
            got = 0
            for block in stream.blocks(self._client.options, what):
                block = block[: end - start - got]
                got += len(block)
                yield block
            if got < end - start:
                raise TransientError(
                    f"{what}: the Xet stream ended after {got:,} of {end - start:,} bytes"
                )

    def give_up(self, err: SourceError) -> None:
        """Use Xet no more for this model."""
        if self.is_on:
            self.is_on = False
            _LOG.info("%s; the rest of the model is read by HTTP ranges", err)

    def _connection(self) -> XetConnectionInfo:
        """Address of the storage and a token for it, asked for once and again before it ends."""
        with self._info_lock:
            if self._info is None or self._info.expiration_unix_epoch < time.time() + RENEW_S:
                self._info = self._ask()
            return self._info

    def _ask(self) -> XetConnectionInfo:
        self._count()
        with self._client.open("GET", self._url, kind="api", what=self._what) as response:
            if response.status_code != 200:
                raise status_error(response, self._what)
            found = parse_xet_connection_info_from_headers(response.headers)
        if found is None:
            raise SourceError(f"{self._what}: the reply names no storage, expected X-Xet headers")
        return found

    def _count(self) -> None:
        with self._lock:
            self._counters.requests += 1


class _Stream:
    """One range, read by a thread: nobody but that thread ever waits inside hf_xet."""

    def __init__(
        self, open_group: Callable[[], StreamGroup], file: XetFile, start: int, end: int
    ) -> None:
        self._open_group = open_group
        self._file, self._start, self._end = file, start, end
        self._queue: queue.Queue[bytes | Exception | None] = queue.Queue(_QUEUED_BLOCKS)
        self._stopped = threading.Event()
        self._group: StreamGroup | None = None
        threading.Thread(target=self._run, name="hub-xet", daemon=True).start()

    def blocks(self, options: HubOptions, what: str) -> Iterator[bytes]:
        """What comes, until it ends. TransientError on a stall, a drip or an error of hf_xet."""
        waited, passed = 0.0, 0
        while True:
            began = time.monotonic()
            try:
                block = self._queue.get(timeout=options.stall_s)
            except queue.Empty:
                raise TransientError(
                    f"{what}: no byte from Xet for {options.stall_s:.0f} s"
                ) from None
            waited += time.monotonic() - began
            if block is None:
                return
            if isinstance(block, Exception):  # its text may hold signed links: the type has to do
                raise TransientError(f"{what}: Xet failed ({type(block).__name__})") from None
            passed += len(block)
            if waited >= options.stall_s:
                if passed < options.min_rate * waited:
                    raise TransientError(f"{what}: {passed:,} bytes from Xet in {waited:.0f} s")
                waited, passed = 0.0, 0
            yield block

    def close(self) -> None:
        """End the stream and its thread. Waits for neither."""
        self._stopped.set()
        group = self._group
        if group is not None:  # a stream's own cancel() fails while the thread waits for it
            threading.Thread(target=group.abort, name="hub-xet-abort", daemon=True).start()

    def _run(self) -> None:
        try:
            self._group = group = self._open_group()
            if self._stopped.is_set():  # while it was opened; close() found nothing to end
                group.abort()
                return
            info = _file_info(self._file)
            for block in group.download_stream(info, start=self._start, end=self._end):
                if not self._put(bytes(block)):
                    return
            self._group = None
        except (OSError, RuntimeError, ValueError, TypeError) as err:
            self._put(err)
        finally:
            self._put(None)

    def _put(self, item: bytes | Exception | None) -> bool:
        """Whether somebody still wants it."""
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=_LOOK_S)
                return True
            except queue.Full:
                continue
        return False


def xet_ranges(
    client: HubClient, repo_id: str, sha: str, counters: Counters, lock: threading.Lock
) -> XetRanges | None:
    """None unless switched on and hf_xet is there (and HF_HUB_DISABLE_XET is not set)."""
    if not client.options.xet:
        return None
    if not is_xet_available():
        _LOG.info("Xet is switched on, but hf_xet is not installed or disabled; using HTTP ranges")
        return None
    return XetRanges(client, repo_id, sha, counters, lock)


def open_hf_xet(info: XetConnectionInfo, options: HubOptions) -> StreamGroup:
    """A group of the real hf_xet. It is given the storage's token, never the Hub's."""
    session = _session(os.getpid(), options.connect_s, options.stall_s)
    group: StreamGroup = session.new_download_stream_group(
        endpoint=info.endpoint,
        token=info.access_token,
        token_expiry_unix_secs=info.expiration_unix_epoch,
        custom_headers=build_hf_headers(token=False, library_name="spectral-zoo"),
    )
    return group


def _file_info(file: XetFile) -> Any:
    from hf_xet import XetFileInfo  # type: ignore[import-not-found,import-untyped,unused-ignore]

    return XetFileInfo(file.hash, file.size)


@lru_cache(maxsize=1)
def _session(pid: int, connect_s: float, stall_s: float) -> Any:
    """One connection pool a process (`pid`: a forked child must not use its parent's)."""
    from hf_xet import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        XetConfig,
        XetSession,
    )

    return XetSession(XetConfig().with_config(session_settings(connect_s, stall_s)))


def session_settings(connect_s: float, stall_s: float) -> dict[str, object]:
    """What differs from hf_xet's defaults: bounded memory, no cache on disk, no reports home."""
    return {
        "chunk_cache.size_bytes": 0,
        "client.connect_timeout": timedelta(seconds=connect_s),
        "client.read_timeout": timedelta(seconds=stall_s),
        "client.retry_max_attempts": 2,
        "reconstruction.download_buffer_size": BUFFER_BYTES,
        "reconstruction.download_buffer_perfile_size": BUFFER_BYTES,
        "reconstruction.download_buffer_limit": BUFFER_BYTES,
        "reconstruction.min_prefetch_buffer": BUFFER_BYTES,
        "telemetry.enabled": False,
    }
