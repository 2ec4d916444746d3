"""Seeds from names. Every random choice of the project starts here.

A seed depends on what is measured (tensor, part, expert, shape, slice, replicate, user's seed), never on the
worker, the order or the clock, so any worker draws the same numbers; and never on the revision or
the place, so that equal weights give equal numbers everywhere, and a model and its fine-tune are compared
under the same permutation.
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


def layer_key(
    tensor: str, part: str | None, expert: int | None, rows: int, cols: int
) -> tuple[str, ...]:
    """What every seed of one layer begins with; slice, replicate and the user's seed follow."""
    return (tensor, part or "", "" if expert is None else str(expert), f"{rows}x{cols}")
