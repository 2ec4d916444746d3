"""A store: the files of one model at one revision, wherever they live.

A *location* is a small picklable value that says where they live, and opens itself in whichever
process needs the files. A new kind of location is one class with the method `open`.

Knows nothing of what the files hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from zoo.errors import StaleListingError
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
    def weights_key(self) -> str | None:
        """Hash of the weight files by what the listing says of their bytes: see
        `zoo.io.weights_key`. None when it does not tell. No weight is read for it."""

    @property
    def counters(self) -> Counters:
        """Bytes and requests spent through this store."""

    @property
    def span_bytes(self) -> int:
        """Neighbouring tensors are fetched together in reads of about this size, by
        `Checkpoint.expect`; 0 where a read costs nothing by itself (a local disk)."""

    def files(self) -> Mapping[str, int]:
        """Relative posix name -> size in bytes, sorted by name. Hidden files are left out."""

    def refused(self) -> Mapping[str, str]:
        """Files that no number depends on and that must not or cannot be followed, with the reason; they
        are not among `files`. Weights and configs are among these, and opening them says what is wrong."""

    def open(self, name: str) -> ByteFile:
        """The file called `name`; NotFoundError when there is none, UnsafeError when it must not
        be followed. The caller closes it, or leaves that to `close`."""

    def pinned(self) -> Location:
        """Its location, with all that was listed: a store of it need not list again."""

    def verify(self) -> None:
        """StaleListingError when the files are not those that `revision` stands for (any more).

        Works after `close` too. A store that checks every read against its revision has nothing
        left to do here.
        """

    def close(self) -> None:
        """Close every file that is still open. Calling twice is harmless."""


class Location(Protocol):
    """Where the files of one model live. Small and picklable; holds nothing open and no token."""

    def open(self) -> Store:
        """A store of these files. SourceError when they cannot be reached, CheckpointError when
        they must not be read."""


@contextmanager
def reading(location: Location) -> Iterator[Store]:
    """The store at `location`, closed on leaving; what was read of it belongs to its revision.

    Raises StaleListingError when the files changed since they were listed, also in place of an
    error that came of it: half-written files look like broken ones.
    """
    store = location.open()
    try:
        yield store
        store.verify()
    except StaleListingError:
        raise
    except Exception:
        store.verify()
        raise
    finally:
        store.close()
