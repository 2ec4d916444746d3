"""The content fingerprint that stands in for a commit sha when weights live in a folder.

Depends on the names and the bytes of the files, not on where the folder is or when it was written.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from functools import lru_cache

from zoo.errors import TransientError
from zoo.io.configs import CONFIG_NAMES

_BLOCK_BYTES = 4 << 20
"""Bytes of a file that are read and hashed at a time."""
_READ_SUFFIXES = (
    ".safetensors", ".safetensors.index.json", ".gguf", ".bin", ".pt", ".pth", ".ckpt",
)  # fmt: skip
"""Endings of the files that hold weights or say where they are."""
_READ_NAMES = (*CONFIG_NAMES, "README.md")
"""Names of the other files that are read: the configs and the model card."""


def matters(name: str) -> bool:
    """True for files whose bytes can change a result: weights, their index, configs, the card."""
    return name.endswith(_READ_SUFFIXES) or name.rsplit("/", 1)[-1] in _READ_NAMES


def fingerprint_files(files: Iterable[tuple[str, str]]) -> str:
    """40 hex digits over (name, bytes) of the files that matter, given as (name, path)."""
    return combine((name, _digest_of(path)) for name, path in files if matters(name))


def combine(digests: Iterable[tuple[str, str]]) -> str:
    """40 hex digits over (name, digest of the bytes) pairs, in any order."""
    fingerprint = hashlib.blake2b(b"spectral-zoo folder 1", digest_size=20)
    for name, digest in sorted(digests):
        fingerprint.update(f"{len(name.encode())}:{name}:{digest}\n".encode())
    return fingerprint.hexdigest()


def _digest_of(path: str) -> str:
    status = os.stat(path)
    return _digest(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=100_000)
def _digest(path: str, size: int, mtime_ns: int) -> str:
    """Digest of the bytes of a file; remembered within the process while size and time stay as given.

    TransientError when the file is written to meanwhile.
    """
    digest = hashlib.blake2b(digest_size=20)
    buffer = bytearray(min(_BLOCK_BYTES, max(size, 1)))
    view = memoryview(buffer)
    with open(path, "rb", buffering=0) as file:
        while num_read := file.readinto(buffer):
            digest.update(view[:num_read])
    after = os.stat(path)
    if (after.st_size, after.st_mtime_ns) != (size, mtime_ns):
        raise TransientError(f"{path} changed while it was being fingerprinted; try again")
    return digest.hexdigest()
