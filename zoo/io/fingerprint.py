"""The content fingerprint that stands in for a commit sha when weights live in a folder.

Depends on the names and the bytes of the files, not on where the folder is or when it was written.
Beside it, `ListedFile` keeps what a later reader needs to tell whether it meets the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from zoo.errors import StaleListingError
from zoo.io.configs import CONFIG_NAMES
from zoo.io.stamp import SETTLING_S, Stamp
from zoo.io.weight_files import is_index_file, is_weight_file, unread_kind

_BLOCK_BYTES = 4 << 20
"""Bytes of a file that are read and hashed at a time."""
_READ_NAMES = (*CONFIG_NAMES, "README.md")
"""Names of the other files that are read: the configs and the model card."""
_WAIT_ABOVE_BYTES = 256 << 20
"""A larger file that was written just now is let settle first, for its digest is dear."""


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file of a model as it was when the model was listed."""

    name: str
    """Relative posix name."""
    stamp: Stamp
    digest: str
    """Of its bytes: 40 hex digits."""
    is_settled: bool
    """True when an equal stamp later proves equal bytes; else only the digest can."""


def matters(name: str) -> bool:
    """True for files whose bytes can change a result: weights, their index, configs, the card."""
    return is_weight_file(name) or is_index_file(name) or name.rsplit("/", 1)[-1] in _READ_NAMES


def that_matter(names: Iterable[str]) -> set[str]:
    """Those of a model's files whose bytes can change a result: see `matters`; where no weight file is among
    them, every file that may hold weights, of other libraries and unread ones too."""
    every = set(names)
    chosen = {name for name in every if matters(name)}
    if any(is_weight_file(name) for name in every):
        return chosen
    return chosen | {name for name in every if unread_kind(name) is not None}


def combine(digests: Iterable[tuple[str, str]]) -> str:
    """40 hex digits over (name, digest of the bytes) pairs, in any order."""
    fingerprint = hashlib.blake2b(b"spectral-zoo folder 1", digest_size=20)
    for name, digest in sorted(digests):
        fingerprint.update(f"{len(name.encode())}:{name}:{digest}\n".encode())
    return fingerprint.hexdigest()


def list_file(name: str, path: str) -> ListedFile:
    """Read the file at `path` once, whole. StaleListingError when it changes meanwhile."""
    stamp = Stamp.of(os.stat(path))
    if stamp.size > _WAIT_ABOVE_BYTES and not stamp.is_settled:
        time.sleep(SETTLING_S)
        stamp = Stamp.of(os.stat(path))
    is_settled = stamp.is_settled
    # A file that has not settled is read every time: what is remembered may be of other bytes.
    digest = _known_digest(path, stamp) if is_settled else _digest(path, stamp)
    return ListedFile(name, stamp, digest, is_settled)


@lru_cache(maxsize=100_000)
def _known_digest(path: str, stamp: Stamp) -> str:
    """Remembered within the process, for the stamp the file had."""
    return _digest(path, stamp)


def _digest(path: str, stamp: Stamp) -> str:
    digest = hashlib.blake2b(digest_size=20)
    buffer = bytearray(min(_BLOCK_BYTES, max(stamp.size, 1)))
    view = memoryview(buffer)
    with open(path, "rb", buffering=0) as file:
        while num_read := file.readinto(buffer):
            digest.update(view[:num_read])
    if Stamp.of(os.stat(path)) != stamp:
        raise StaleListingError(f"{path} changed while it was being fingerprinted; try again")
    return digest.hexdigest()
