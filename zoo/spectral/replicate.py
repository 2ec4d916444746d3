"""One shuffle of one layer: its slices permuted, their eigenvalues, and the trap test on them.

Composes shuffle, solve, krylov, bulk_entries and trap_test. Knows nothing of columns or options.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Real

from zoo.machine.device import SHUFFLE_DTYPE
from zoo.spectral.arrays import Doubles, Vector
from zoo.spectral.bulk_entries import Moments, bulk_entries
from zoo.spectral.krylov import (
    FLOAT64_ABOVE_RATIO,
    TopSpectrum,
    resolved_top_spectrum,
    top_spectrum,
)
from zoo.spectral.shuffle import ONE_PASS_ENTRIES, Permutation
from zoo.spectral.solve import divided, eigenvalues, solve
from zoo.spectral.symmetric import Reduction
from zoo.spectral.trap_test import BulkEntries, ShuffleTest, trap_test

TOLERANCE = 1e-5
"""An eigenvalue has converged when a pass changes it by less than this share of λ_max: 1e-3
Tracy-Widom units or less at any size met so far."""
MAX_PASSES = 60
"""A search for the top that has not converged after so many passes is given up for a full solve."""
_BATCH_BYTES = 16 << 20
"""Shuffled slices are held and solved together up to this size in float32; one at least."""


@dataclass(frozen=True, slots=True)
class EntryFacts:
    """What the test needs to know of the entries of the layer."""

    max_abs: float
    """Largest |w|."""
    moments: Moments | None
    """Moments of all entries; None for constant ones, or when they leave the range of float64."""
    exponent: int
    """Entries are divided by 2^exponent before anything is squared (`entry_exponent`)."""


@dataclass(frozen=True, slots=True)
class Shuffled:
    """One replicate: every slice of the layer shuffled by its own permutation."""

    permutations: tuple[Permutation, ...]
    """One a slice."""
    evals: Float64[Doubles, "k m"] | None
    """A row a slice, ascending, in units of 4^exponent; None when only the top was computed."""
    lambda_max: float
    """Largest eigenvalue over the slices, in units of 4^exponent."""
    bulks: tuple[BulkEntries, ...]
    """One a slice; the same for every replicate but for the sample that fixes the cut."""
    test: ShuffleTest | None
    """None when a slice has no bulk (no variance beside its traps)."""
    held: Real[torch.Tensor, "k rows cols"] | None = None
    """The shuffled slices, where they are small enough to be held."""
    tops: tuple[TopSpectrum | None, ...] = ()
    """Singular vectors of what leaves the bulk, a slice each, where only the top was computed."""
    reductions: tuple[Reduction | None, ...] = ()
    """What gives the singular vectors, a slice each, where all eigenvalues were computed."""

    def slice_of(
        self, matrices: Real[torch.Tensor, "k rows cols"], index: int
    ) -> Real[torch.Tensor, "rows cols"]:
        """Slice `index` of `matrices` as it was shuffled."""
        if self.held is not None:
            return self.held[index]
        return shuffle_slice(matrices[index], self.permutations[index])


def shuffle_slice(
    matrix: Real[torch.Tensor, "rows cols"], permutation: Permutation
) -> Real[torch.Tensor, "rows cols"]:
    """`matrix` with its entries permuted in row-major order, on the CPU.

    Smaller types become float32, but keep their type beyond `ONE_PASS_ENTRIES` entries, to save
    memory.
    """
    flat = matrix.detach().cpu().reshape(-1)
    if flat.dtype in (torch.float32, torch.float64):
        moved = torch.from_numpy(permutation.apply(flat.numpy()))
    elif permutation.size <= ONE_PASS_ENTRIES:
        moved = torch.from_numpy(permutation.apply(flat.to(torch.float32).numpy()))
    else:
        stored = flat.dtype
        moved = torch.from_numpy(permutation.apply(flat.view(torch.int16).numpy())).view(stored)
    return moved.view(matrix.shape)


def measure_full(
    matrices: Real[torch.Tensor, "k rows cols"],
    permutations: tuple[Permutation, ...],
    *,
    entries: EntryFacts,
    bulks: tuple[BulkEntries, ...] | None,
    level: float,
    keep: bool,
    device: torch.device,
) -> Shuffled:
    """Shuffle the slices of `matrices`, compute all their eigenvalues, and test them.

    `bulks`: those of an earlier replicate, where there is one. `level`: of the trap test. `keep`:
    keep the reductions that give singular vectors.
    """
    k, rows, cols = matrices.shape
    batches: list[Doubles] = []
    reductions: list[Reduction | None] = []
    measured: list[BulkEntries] = []
    batch = max(1, _BATCH_BYTES // (4 * rows * cols))
    for start in range(0, k, batch):
        chosen = range(start, min(start + batch, k))
        slices = [shuffle_slice(matrices[i], permutations[i]) for i in chosen]
        stack = slices[0][None] if len(slices) == 1 else torch.stack(slices)
        solved = solve(
            stack,
            storage_bits=32,
            exponent=entries.exponent,
            product=SHUFFLE_DTYPE,
            keep=keep,
            device=device,
        )
        batches.append(solved.evals)
        reductions += solved.reductions
        if bulks is None:
            measured += [_bulk(shuffled, entries, is_alone=k == 1) for shuffled in stack]
    evals = np.concatenate(batches)
    bulks = bulks or tuple(measured)
    test = _test(list(evals), evals.sum(axis=1).tolist(), matrices, bulks, level)
    held = stack if stack.shape[0] == k and batch > 1 else None
    largest = float(evals[:, -1].max())
    return Shuffled(permutations, evals, largest, bulks, test, held, reductions=tuple(reductions))


def measure_top(
    matrices: Real[torch.Tensor, "k rows cols"],
    permutations: tuple[Permutation, ...],
    *,
    entries: EntryFacts,
    bulks: tuple[BulkEntries, ...] | None,
    level: float,
    keep: bool,
    device: torch.device,
) -> Shuffled:
    """As `measure_full`, but only what leaves the bulk is computed, and the largest eigenvalue.

    Falls back to all eigenvalues of a slice whose top does not converge (hundreds of traps).
    """
    k, rows, cols = matrices.shape
    tested: list[Vector] = []
    with_vectors: list[TopSpectrum | None] = []
    traces: list[float] = []
    measured: list[BulkEntries] = []
    for index, (matrix, permutation) in enumerate(zip(matrices, permutations, strict=True)):
        shuffled = shuffle_slice(matrix, permutation)
        bulk = bulks[index] if bulks else _bulk(shuffled, entries, is_alone=k == 1)
        trace = _trace(shuffled, entries.exponent)

        def num_wanted(estimates: Vector, trace: float = trace, bulk: BulkEntries = bulk) -> int:
            test = trap_test(
                [estimates[::-1]],
                [trace],
                n=max(rows, cols),
                m=min(rows, cols),
                bulks=[bulk],
                level=level,
            )
            return 1 if test is None else test.num_wanted

        top = top_slice(
            shuffled, permutation, entries, wanted=num_wanted, vectors=keep, device=device
        )
        with_vectors.append(top if top.is_converged and keep else None)
        if top.is_converged:
            tested.append(top.evals[: top.num_wanted][::-1])
        else:
            full = eigenvalues(
                shuffled[None], storage_bits=32, exponent=entries.exponent, device=device
            )
            tested.append(full[0])
        traces.append(trace)
        measured.append(bulk)
    test = _test(tested, traces, matrices, measured, level)
    largest = max(float(evals[-1]) for evals in tested)
    return Shuffled(permutations, None, largest, tuple(measured), test, tops=tuple(with_vectors))


def top_slice(
    shuffled: Real[torch.Tensor, "rows cols"],
    permutation: Permutation,
    entries: EntryFacts,
    *,
    wanted: Callable[[Vector], int],
    vectors: bool,
    device: torch.device,
) -> TopSpectrum:
    """The top of one shuffled slice, by Krylov from a block drawn from the permutation's seed.

    In float64 where the largest eigenvalue is far larger than what lies at the edge: a tolerance
    relative to λ_max would end the search before the edge, or the smaller traps, are reached.
    """

    def search(dtype: torch.dtype) -> TopSpectrum:
        return top_spectrum(
            divided(shuffled.to(device), entries.exponent),
            rng=np.random.Generator(np.random.SFC64([permutation.seed, 1 << 41])),
            wanted=wanted,
            vectors=vectors,
            tolerance=TOLERANCE,
            max_passes=MAX_PASSES,
            dtype=dtype,
        )

    return resolved_top_spectrum(search, max_ratio=FLOAT64_ABOVE_RATIO, places_after=1)


def _test(
    tops: Sequence[Vector],
    traces: Sequence[float],
    matrices: torch.Tensor,
    bulks: Sequence[BulkEntries],
    level: float,
) -> ShuffleTest | None:
    """`trap_test` of slices of the shape of `matrices` [k, rows, cols]."""
    n, m = max(matrices.shape[1:]), min(matrices.shape[1:])
    return trap_test(tops, traces, n=n, m=m, bulks=bulks, level=level)


def _bulk(shuffled: torch.Tensor, entries: EntryFacts, *, is_alone: bool) -> BulkEntries:
    """The bulk of the entries of one shuffled slice; `is_alone`: it is the whole layer."""
    known = entries.moments if is_alone else None
    return bulk_entries(shuffled.reshape(-1), max_abs=entries.max_abs, moments=known)


def _trace(matrix: torch.Tensor, exponent: int) -> float:
    """Σw² in float64, in units of 4^exponent, by blocks."""
    total = 0.0
    for part in torch.split(matrix.reshape(-1), 1 << 20):
        scaled = divided(part.to(torch.float64), exponent)
        total += float(torch.dot(scaled, scaled))
    return total
