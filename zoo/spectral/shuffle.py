"""A seeded uniform permutation of all entries of a matrix, and its inverse. Nothing is stored.

A permutation is (seed, size). Up to `ONE_PASS_ENTRIES` entries it is one Fisher-Yates pass: entry i changes
places with entry i + floor(u_i (size - i)), i = 0, 1, ..., with u from SFC64. The swaps run inside
LAPACK's `laswp`, which is nothing else; 4 ns an entry against 13-50 ns for `Generator.shuffle`.
Backwards, the same swaps undo it. Beyond `ONE_PASS_ENTRIES` each entry first draws one of 256 buckets, buckets
are laid out one after the other, and each is then shuffled by itself (Rao 1961, Sandelius 1962:
exactly uniform), so the work stays in cache and the memory beside source and result stays below 200
MB.

An accelerator shuffles in another way (`philox`), which a CPU can replay: `kind` says which of the two it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int, Shaped

from zoo.seeds import seed_for
from zoo.spectral.arrays import Indices, NDArray
from zoo.spectral.unlocked import swap_rows

ONE_PASS_ENTRIES = 1 << 24
"""Largest number of entries shuffled in one Fisher-Yates pass; more are dealt into buckets first."""
_BUCKETS = 256
"""Buckets that a larger array is dealt into; their numbers fit one byte."""
_DEALT_ENTRIES = 1 << 21
"""Entries dealt at a time, which bounds the memory of their bucket numbers and order."""
_SWAPPED_ENTRIES = 1 << 14
"""Swap partners drawn at a time, so that they are in the cache when they are used."""

PermutationKind = Literal["fisher_yates", "philox"]
"""How a permutation follows from its seed: Fisher-Yates swaps (CPUs) or sorted Philox keys (accelerators)."""

Values = Shaped[NDArray[np.generic], " size"]
"""All entries of a matrix in row-major order, of any type."""


@dataclass(frozen=True, slots=True)
class Permutation:
    """A uniform permutation of `size` entries, regenerated from `seed` whenever it is needed."""

    seed: int
    size: int
    kind: PermutationKind = "fisher_yates"

    @classmethod
    def of(
        cls,
        layer: tuple[str, ...],
        replicate: int,
        place: int,
        seed: int,
        *,
        size: int,
        kind: PermutationKind = "fisher_yates",
    ) -> Permutation:
        """The shuffle of that number of one slice of a layer. The one place that seeds shuffles.

        `layer`: see `zoo.seeds.layer_key`. `place`: number of the slice. `seed`: the user's.
        """
        return cls(seed_for(*layer, "shuffle", replicate, place, seed), size, kind)

    def apply(self, values: Values) -> Values:
        """A new array holding the entries of `values` in permuted order; same dtype."""
        if self.kind == "philox":
            return values[self._philox_order()]
        if self.size <= ONE_PASS_ENTRIES:
            return _swap(values.copy(), self._bucket_rng(0), backwards=False)
        out = np.empty_like(values)
        starts = self._bucket_starts()
        fill = starts[:-1].copy()
        for start, order, counts in self._chunks():
            dealt = values[start : start + order.size][order]
            position = 0
            for bucket in map(int, np.flatnonzero(counts)):
                count = counts[bucket]
                out[fill[bucket] : fill[bucket] + count] = dealt[position : position + count]
                fill[bucket] += count
                position += count
        for bucket in range(starts.size - 1):
            part = out[starts[bucket] : starts[bucket + 1]]
            part[:] = _swap(part.copy(), self._bucket_rng(bucket), backwards=False)
        return out

    def invert(self, values: Values) -> Values:
        """The array that `apply` turns into `values`, which is overwritten."""
        if self.kind == "philox":
            moved = np.empty_like(values)
            moved[self._philox_order()] = values
            return moved
        if self.size <= ONE_PASS_ENTRIES:
            return _swap(values, self._bucket_rng(0), backwards=True)
        starts = self._bucket_starts()
        for bucket in range(starts.size - 1):
            part = values[starts[bucket] : starts[bucket + 1]]
            part[:] = _swap(part.copy(), self._bucket_rng(bucket), backwards=True)
        out = np.empty_like(values)
        fill = starts[:-1].copy()
        for start, order, counts in self._chunks():
            dealt = np.empty(order.size, dtype=values.dtype)
            position = 0
            for bucket in map(int, np.flatnonzero(counts)):
                count = counts[bucket]
                dealt[position : position + count] = values[fill[bucket] : fill[bucket] + count]
                fill[bucket] += count
                position += count
            out[start : start + order.size][order] = dealt
        return out

    def _philox_order(self) -> Indices:
        """The order of sorted keys, on the CPU: half a second for eight million entries."""
        import torch  # here: Fisher-Yates does without

        from zoo.spectral import philox

        replayed: Indices = philox.order(self.seed, self.size, torch.device("cpu")).numpy()
        return replayed

    def _bucket_rng(self, bucket: int) -> np.random.Generator:
        """The random numbers that shuffle one bucket; an array of one pass is bucket 0."""
        return np.random.Generator(np.random.SFC64([self.seed, bucket]))

    def _deals(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """The bucket of every entry, in chunks: (first entry, buckets)."""
        rng = np.random.Generator(np.random.SFC64([self.seed, 1 << 40]))
        for start in range(0, self.size, _DEALT_ENTRIES):
            count = min(_DEALT_ENTRIES, self.size - start)
            yield start, rng.integers(0, _BUCKETS, count, dtype=np.uint8)

    def _bucket_starts(self) -> Int[NDArray[np.int64], " _"]:
        """Where each bucket starts in the permuted array, and at the end its size."""
        counts = np.zeros(_BUCKETS, dtype=np.int64)
        for _, buckets in self._deals():
            counts += np.bincount(buckets, minlength=counts.size)
        return np.concatenate([[0], np.cumsum(counts)])

    def _chunks(
        self,
    ) -> Iterator[tuple[int, Indices, Indices]]:
        """For each chunk: first entry, its entries in bucket order, how many each bucket gets."""
        for start, buckets in self._deals():
            order = np.argsort(buckets, kind="stable")  # radix sort on 8-bit keys
            yield start, order, np.bincount(buckets, minlength=_BUCKETS)


def partners(rng: np.random.Generator, size: int) -> Iterator[NDArray[np.int32]]:
    """Fisher-Yates partners in chunks: entry start + i goes with start + chunk[i].

    start + chunk[i] is uniform on start + i .. size − 1. The chunk is overwritten by the next.
    """
    u = np.empty(_SWAPPED_ENTRIES)
    chunk = np.empty(_SWAPPED_ENTRIES, dtype=np.int32)
    left = np.arange(size, size - _SWAPPED_ENTRIES, -1.0)
    index = np.arange(_SWAPPED_ENTRIES, dtype=np.int32)
    for start in range(0, size, _SWAPPED_ENTRIES):
        count = min(_SWAPPED_ENTRIES, size - start)
        rng.random(out=u[:count])
        np.multiply(u[:count], left[:count], out=u[:count])
        chunk[:count] = u[:count]  # truncates
        chunk[:count] += index[:count]
        left -= _SWAPPED_ENTRIES
        yield chunk[:count]


def _swap(values: Values, rng: np.random.Generator, *, backwards: bool) -> Values:
    """Run the Fisher-Yates swaps of `rng` over `values`, in place where the width allows."""
    if values.size < 2:
        return values
    width = values.dtype.itemsize
    if width < 4:  # laswp moves words of 4 and 8 bytes
        bits = values.view(f"u{width}").astype(np.uint32)
        return _swap(bits, rng, backwards=backwards).astype(f"u{width}").view(values.dtype)
    column = values.view(np.float32 if width == 4 else np.float64).reshape(-1)
    chunks = partners(rng, values.size)
    if not backwards:  # chunk by chunk, while the partners are in cache
        for start, chunk in zip(range(0, values.size, _SWAPPED_ENTRIES), chunks, strict=True):
            swap_rows(column[start:], chunk)
        return values
    kept = [chunk.copy() for chunk in chunks]
    for number in reversed(range(len(kept))):
        swap_rows(column[number * _SWAPPED_ENTRIES :], kept[number], backwards=True)
    return values
