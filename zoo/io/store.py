"""A store: the files of one model at one revision, wherever they live.

A *location* is a small picklable value that says where; `open_store` turns it into a store in
whichever process needs one. New kinds of location register an opener:

    @open_store.register
    def _(location: HubLocation) -> Store: ...

Knows nothing of what the files hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from typing import Protocol

from zoo.errors import UseError
from zoo.io.files import ByteFile, Counters


class Store(Protocol):
    """The files of one model at one revision. Close it when done."""

    @property
    def model_id(self) -> str:
        """Hub id, or `local/<folder>`."""

    @property
    def revision(self) -> str:
        """40 hex digits: commit sha or content fingerprint."""

    @property
    def counters(self) -> Counters:
        """Bytes and requests spent through this store."""

    @property
    def span_bytes(self) -> int:
        """Neighbouring tensors are fetched together in reads of about this size, by
        `Checkpoint.expect`; 0 where a read costs nothing by itself (a local disk)."""

    def files(self) -> Mapping[str, int]:
        """Relative posix name -> size in bytes, sorted by name. Hidden files are left out."""

    def open(self, name: str) -> ByteFile:
        """The file called `name`; NotFoundError when there is none, UnsafeError when it must not
        be followed. The caller closes it, or leaves that to `close`."""

    def close(self) -> None:
        """Close every file that is still open. Calling twice is harmless."""


@singledispatch
def open_store(location: object) -> Store:
    """The store at `location`. UseError for a kind of location nobody registered."""
    raise UseError(
        f"cannot open a {type(location).__name__} as a store; wanted a LocalLocation, "
        "FsspecLocation or HubLocation"
    )
