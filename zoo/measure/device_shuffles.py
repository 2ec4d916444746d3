"""The shuffles of equal layers that are measured together: rounds of replicates, and the modes of their traps.

What `shuffles` does for one layer, on the device and for all at once. A round makes all replicates that are certain to
be asked for, as a small batch costs an accelerator nearly as much as a full one. Knows nothing of the layers' own
columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float64, Shaped

from zoo.machine.helpers import Helpers
from zoo.measure.fits import LayerEvals, ShapedMode, ShuffledEvals, shuffle_tests
from zoo.measure.shuffles import CHEAP_FULL_BELOW, MAX_MODES
from zoo.options import FULL_SHUFFLE_UP_TO, AnalysisOptions
from zoo.seeds import seed_for
from zoo.spectral.arrays import Doubles, Indices, NDArray, Vector
from zoo.spectral.batched_krylov import tops_of
from zoo.spectral.batched_modes import (
    carried_back,
    first_blocks,
    leading_of,
    modes_from,
    sectors_of,
    shuffle_stack,
)
from zoo.spectral.batched_solve import grams, symmetric_eigenvalues_of
from zoo.spectral.batched_statistics import bulks_of
from zoo.spectral.batched_trap_test import nums_wanted
from zoo.spectral.localisation import Mode, Sector
from zoo.spectral.replicate import MAX_PASSES, TOLERANCE, EntryFacts
from zoo.spectral.replication import certain_replicates, staged_up_to
from zoo.spectral.shuffle import Permutation
from zoo.spectral.solve import eigenvalues
from zoo.spectral.trap_test import BulkEntries, ShuffleTest, Trap

FULL_UP_TO = 1024
"""Order up to which all eigenvalues of a shuffle cost an accelerator less than a search for the largest."""
Owner = tuple[int, int]
"""A slice: number of its layer in the batch, and its place there."""


@dataclass(slots=True)
class Member:
    """One layer of the batch, as far as it is known."""

    number: int
    """Its place in the batch."""
    evals: LayerEvals
    facts: EntryFacts
    bulks: tuple[BulkEntries, ...] = ()
    """One a slice, of the first shuffle."""
    tests: list[ShuffleTest | None] = field(default_factory=list)
    """One a shuffle, as all below."""
    whole: list[Float64[Doubles, "k m"] | None] = field(default_factory=list)
    """All eigenvalues, where they are looked at."""
    lambda_max: float = 0.0
    """Of the first shuffle."""
    traps: list[tuple[int, Trap, int | None]] = field(default_factory=list)
    """Replicate, trap, and its place among all modes of the batch; None where its mode was not computed."""


Job = tuple[Member, int]
"""A layer, and the number of a replicate that is to be made of it."""


def solved_values(
    values: Float64[torch.Tensor, "matrices m"],
    matrices: Shaped[torch.Tensor, "matrices rows cols"],
    exponents: Sequence[int],
    storage_bits: int,
) -> Float64[Doubles, "matrices m"]:
    """The eigenvalues as an array; what the device could not solve (NaN) is solved on the CPU."""
    evals: Doubles = values.cpu().numpy()
    for index in np.flatnonzero(~np.isfinite(evals).all(axis=1)).tolist():
        matrix, exponent = matrices[index].cpu(), exponents[index]
        evals[index] = eigenvalues(matrix, storage_bits=storage_bits, exponent=exponent)[0]
    return evals


class BatchShuffles:
    """All shuffles of the layers in a stack of slices on a device, k slices a layer."""

    def __init__(
        self,
        flat: Shaped[torch.Tensor, "matrices rows cols"],
        k: int,
        *,
        options: AnalysisOptions,
        storage_bits: int,
        helpers: Helpers,
    ) -> None:
        self._flat, self.k = flat, k
        self.rows, self.cols = flat.shape[1:]
        self.n, self.m = max(flat.shape[1:]), min(flat.shape[1:])
        self.options, self.storage_bits, self.helpers = options, storage_bits, helpers
        self.device = flat.device
        self.modes: list[ShapedMode] = []
        """Of every trap that is to be described."""
        self._sectors: dict[Owner, Sector] = {}
        near = staged_up_to(options.fixed_replicates, m=self.m, level=options.level)
        self._is_staged = near is not None

    def run(self, members: Sequence[Member]) -> None:
        """Shuffle every layer as often as the options say and its own shuffles ask for (`replication`)."""
        options = self.options
        is_full = options.shuffle_mode == "full" or (
            options.shuffle_mode == "auto" and self.m <= FULL_SHUFFLE_UP_TO
        )
        most = max(1, len(self._flat) // self.k)  # no more at a time than the batch itself
        while True:
            jobs = [
                (member, replicate)
                for member in members
                for replicate in certain_replicates(
                    member.tests,
                    fixed=options.fixed_replicates,
                    is_staged=self._is_staged,
                    level=options.level,
                )
            ]
            if not jobs:
                return
            is_whole = is_full and (jobs[0][1] == 0 or self.m < CHEAP_FULL_BELOW)
            for start in range(0, len(jobs), most):
                self._replicates(jobs[start : start + most], is_whole=is_whole)

    def _replicates(self, jobs: Sequence[Job], *, is_whole: bool) -> None:
        """Some replicates of some layers, all the first ones or none. `is_whole`: their spectra are looked at, not
        only their tops."""
        owners = [(member, place) for member, _ in jobs for place in range(self.k)]
        size = self.rows * self.cols
        permutations = [
            Permutation.of(
                member.evals.seed_key, replicate, place, self.options.seed, size=size, kind="philox"
            )
            for member, replicate in jobs
            for place in range(self.k)
        ]
        shuffled = shuffle_stack(self._picked(owners), permutations)
        exponents = [member.facts.exponent for member, _ in owners]
        is_first = jobs[0][1] == 0
        if is_first:
            bulks = bulks_of(
                shuffled,
                max_abs=[member.facts.max_abs for member, _ in owners],
                moments=[m.facts.moments if self.k == 1 else None for m, _ in owners],
            )
            for position, (member, _) in enumerate(jobs):
                member.bulks = tuple(bulks[position * self.k : (position + 1) * self.k])
        products = grams(shuffled, exponents)
        tops, traces, found = self._tops(
            products, shuffled, exponents, owners, permutations, is_whole
        )
        del products
        tests = self._tests(jobs, tops, traces)
        for position, ((member, _), test) in enumerate(zip(jobs, tests, strict=True)):
            if self._is_staged and member.tests and member.tests[-1] is None:
                tests[position] = None  # one without a bulk is the last that is asked for
                continue
            mine = tops[position * self.k : (position + 1) * self.k]
            member.tests.append(test)
            member.whole.append(np.stack(mine) if is_whole else None)
            if is_first:
                member.lambda_max = max(float(top[-1]) for top in mine)
        self._shape_traps(jobs, tests, shuffled, exponents, permutations, tops, found)

    def _picked(
        self, owners: Sequence[tuple[Member, int]]
    ) -> Shaped[torch.Tensor, "matrices rows cols"]:
        """The slices of some layers, in order."""
        index = [member.number * self.k + place for member, place in owners]
        if index == list(range(len(self._flat))):
            return self._flat
        return self._flat[torch.tensor(index, device=self.device)]

    def _tops(
        self,
        products: Float64[torch.Tensor, "matrices m m"],
        shuffled: Shaped[torch.Tensor, "matrices rows cols"],
        exponents: Sequence[int],
        owners: Sequence[tuple[Member, int]],
        permutations: Sequence[Permutation],
        is_whole: bool,
    ) -> tuple[list[Vector], list[float], list[torch.Tensor | None]]:
        """Of every shuffled slice its eigenvalues, ascending, all or those that leave the bulk; its trace; and the
        eigenvectors of its traps, where the search found them. `products` are overwritten."""
        none: list[torch.Tensor | None] = [None] * len(owners)
        if is_whole or self.m <= FULL_UP_TO:
            values, _ = symmetric_eigenvalues_of(products)
            evals = solved_values(values, shuffled, exponents, self.storage_bits)
            return list(evals), evals.sum(axis=1).tolist(), none
        diagonals: Doubles = products.diagonal(dim1=1, dim2=2).sum(dim=1).cpu().numpy()
        bulks = [member.bulks[place] for member, place in owners]

        def wanted(estimates: Doubles, numbers: Indices) -> NDArray[np.intp]:
            return nums_wanted(
                estimates,
                diagonals[numbers],
                [bulks[number] for number in numbers.tolist()],
                n=self.n,
                m=self.m,
                level=self.options.level,
            )

        searched = tops_of(
            products,
            first_blocks([p.seed for p in permutations], self.m, self.device),
            wanted=wanted,
            num_vectors=lambda count: count - 1 if self.options.modes else 0,
            tolerance=TOLERANCE,
            max_passes=MAX_PASSES,
        )
        tops = [top.evals[: top.num_wanted][::-1] for top in searched]
        left = [index for index, top in enumerate(searched) if not top.is_converged]
        if left:
            index = torch.tensor(left, device=self.device)
            values, _ = symmetric_eigenvalues_of(products[index])
            solved = solved_values(
                values, shuffled[index], [exponents[i] for i in left], self.storage_bits
            )
            for position, evals in zip(left, solved, strict=True):
                tops[position] = evals
        return tops, diagonals.tolist(), [top.vectors for top in searched]

    def _tests(
        self, jobs: Sequence[Job], tops: Sequence[Vector], traces: Sequence[float]
    ) -> list[ShuffleTest | None]:
        """The trap test of every replicate."""
        shuffles = []
        for position, (member, _) in enumerate(jobs):
            chosen = slice(position * self.k, (position + 1) * self.k)
            shuffles.append(ShuffledEvals(tuple(tops[chosen]), tuple(traces[chosen]), member.bulks))
        spread = self.helpers.spread(shuffle_tests, shuffles, self.n, self.m, self.options.level)
        return [test for part in spread for test in part.result()]

    def _shape_traps(
        self,
        jobs: Sequence[Job],
        tests: Sequence[ShuffleTest | None],
        shuffled: Shaped[torch.Tensor, "matrices rows cols"],
        exponents: Sequence[int],
        permutations: Sequence[Permutation],
        tops: Sequence[Vector],
        found: Sequence[torch.Tensor | None],
    ) -> None:
        """The modes of the traps of some replicates, for the helpers to describe."""
        chosen: dict[int, list[Trap]] = {}
        if self.options.modes:
            for position, test in enumerate(tests):
                for trap in test.traps if test is not None else ():
                    chosen.setdefault(position * self.k + trap.slice_index, []).append(trap)
        chosen = {index: traps[:MAX_MODES] for index, traps in chosen.items()}
        places: dict[tuple[int, Trap], int] = {}
        modes: list[tuple[Mode, Permutation]] = []
        owners: list[Owner] = []
        for index, inner in self._inner(chosen, shuffled, exponents, permutations, found):
            of_slice = modes_from(shuffled[index], inner, tops[index][::-1], exponents[index])
            for trap, mode in zip(chosen[index], of_slice, strict=True):
                places[index // self.k, trap] = len(self.modes) + len(modes)
                modes.append((mode, permutations[index]))
                owners.append((jobs[index // self.k][0].number, index % self.k))
        if modes:
            self._find_sectors(owners, {member.number: member for member, _ in jobs})
            carried = carried_back(modes, (self.rows, self.cols), self.device)
            for (mode, _), back, owner in zip(modes, carried, owners, strict=True):
                sector = self._sectors[owner]
                self.modes.append(ShapedMode(mode, back.left, back.right, back.share, sector))
        for position, ((member, replicate), test) in enumerate(zip(jobs, tests, strict=True)):
            for trap in test.traps if test is not None else ():
                member.traps.append((replicate, trap, places.get((position, trap))))

    def _inner(
        self,
        chosen: dict[int, list[Trap]],
        shuffled: Shaped[torch.Tensor, "matrices rows cols"],
        exponents: Sequence[int],
        permutations: Sequence[Permutation],
        found: Sequence[torch.Tensor | None],
    ) -> Iterator[tuple[int, Float64[torch.Tensor, "m traps"]]]:
        """Of every slice with traps the eigenvectors of its Gram matrix that belong to them."""
        searched: dict[int, torch.Tensor] = {}
        for index, traps in chosen.items():
            known = found[index]
            if known is not None and known.shape[1] >= len(traps):
                searched[index] = known[:, : len(traps)]
        left = [index for index in chosen if index not in searched]
        if left:
            products = grams(
                shuffled[torch.tensor(left, device=self.device)], [exponents[i] for i in left]
            )
            seeds = [permutations[i].seed for i in left]
            vectors = leading_of(products, [len(chosen[i]) for i in left], seeds)
            searched |= dict(zip(left, vectors, strict=True))
        for index in chosen:
            yield index, searched[index]

    def _find_sectors(self, owners: Sequence[Owner], members: Mapping[int, Member]) -> None:
        """The top sectors of these slices, where they are not known yet."""
        wanted = [owner for owner in dict.fromkeys(owners) if owner not in self._sectors]
        if not wanted:
            return
        index = torch.tensor([number * self.k + place for number, place in wanted])
        told = sectors_of(
            self._flat[index.to(self.device)],
            [members[number].facts.exponent for number, _ in wanted],
            [
                seed_for(*members[number].evals.seed_key, "sector", place, self.options.seed)
                for number, place in wanted
            ],
        )
        self._sectors |= dict(zip(wanted, told, strict=True))
