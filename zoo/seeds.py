"""Seeds from names. Every random choice of the project starts here.

A seed depends on what is measured (revision, tensor, part, replicate, user seed), never on the worker,
the order or the clock, so any worker draws the same numbers.
"""

from __future__ import annotations

import hashlib

import numpy as np


def seed_for(*parts: str | int) -> int:
    """A 128-bit seed: BLAKE2b over the parts, each prefixed by its length so no two lists collide."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        raw = str(part).encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return int.from_bytes(digest.digest(), "little")


def generator(*parts: str | int) -> np.random.Generator:
    """A numpy generator (PCG64) seeded by `seed_for(*parts)`."""
    return np.random.Generator(np.random.PCG64(seed_for(*parts)))
