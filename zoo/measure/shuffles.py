"""The shuffles of one layer: the trap test, rows of its traps, and the shuffled spectrum.

Composes `zoo.spectral` for every replicate. Knows nothing of names, formats or files, nor of how the
layer's own columns are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Shaped

from zoo.machine.device import with_cpu_fallback
from zoo.measure.row import MeasuredTrap
from zoo.options import FULL_SHUFFLE_UP_TO, AnalysisOptions
from zoo.seeds import generator
from zoo.spectral.localisation import MADE_BY_MEAN, Localisation, Sector, TrapCauses
from zoo.spectral.replicate import EntryFacts, Shuffled, measure_full, measure_top
from zoo.spectral.replication import MOST_REPLICATES, is_settled, staged_up_to
from zoo.spectral.shuffle import Permutation
from zoo.spectral.shuffled import Shuffles, shuffle_columns
from zoo.spectral.solve import Solved, divided
from zoo.spectral.spectrum import Spectrum
from zoo.spectral.trap_modes import (
    leading_modes,
    localisation,
    modes_of,
    reduced_modes,
    top_sector,
)
from zoo.spectral.trap_test import BulkEntries, Trap

CHEAP_FULL_BELOW = 512
"""Smaller side below which further replicates are solved in full: faster than their top alone."""
MAX_MODES = 32
"""Traps of one slice whose modes are computed, largest first; the others have null columns."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer whose own spectrum is known."""

    matrices: Shaped[torch.Tensor, "k rows cols"]
    """k pooled slices."""
    options: AnalysisOptions
    seed_key: tuple[str, ...]
    """Tensor, part, expert, shape."""
    entries: EntryFacts
    solved: Solved
    """The eigenvalues of the layer itself."""
    device: torch.device
    """Where its shuffles are computed."""

    @property
    def n(self) -> int:
        """Larger side of a slice."""
        return max(self.matrices.shape[1:])

    @property
    def m(self) -> int:
        """Smaller side of a slice."""
        return min(self.matrices.shape[1:])


@dataclass(frozen=True, slots=True)
class ShuffledLayer:
    """What the shuffles of a layer gave; nothing where none was made."""

    columns: Shuffles | None = None
    traps: tuple[MeasuredTrap, ...] = ()
    """Of every replicate, in order."""
    first: Spectrum | None = None
    """Spectrum of the first replicate; None unless all of it was computed."""


def measure_shuffles(layer: Layer, spectrum: Spectrum) -> ShuffledLayer:
    """Shuffle the layer as often as the options say, and measure every shuffle."""
    options, n, m = layer.options, layer.n, layer.m
    mode = options.shuffle_mode
    if mode == "auto":
        mode = "full" if m <= FULL_SHUFFLE_UP_TO else "top"
    near = staged_up_to(options.fixed_replicates, m=m, level=options.level)
    count = options.fixed_replicates or MOST_REPLICATES
    replicates: list[Shuffled] = []
    while len(replicates) < count:
        if near is not None and replicates:
            if is_settled([r.test for r in replicates], level=options.level):
                break
        full = mode == "full" and (not replicates or m < CHEAP_FULL_BELOW)
        bulks = replicates[0].bulks if replicates else None
        replicates.append(_replicate(layer, len(replicates), full=full, bulks=bulks))
    columns, rand = shuffle_columns(
        spectrum,
        [r.test for r in replicates],
        [r.evals for r in replicates],
        lambda_max=replicates[0].lambda_max,
        n=n,
        m=m,
        exponent=2 * layer.entries.exponent,
        near=near,
        incumbent=options.incumbent,
    )
    rows = _trap_rows(layer, replicates)
    if options.modes and columns.test is not None:
        columns = replace(columns, causes=causes_of(rows, len(replicates)))
    return ShuffledLayer(columns, rows, rand)


def causes_of(rows: tuple[MeasuredTrap, ...], num_replicates: int) -> TrapCauses:
    """The traps of the rows by what makes them, a replicate on average."""
    overlaps = [row.localisation.mean_overlap for row in rows if row.localisation is not None]
    num_mean = sum(overlap >= MADE_BY_MEAN for overlap in overlaps)
    return TrapCauses(num_mean / num_replicates, (len(overlaps) - num_mean) / num_replicates)


def _replicate(
    layer: Layer, replicate: int, *, full: bool, bulks: tuple[BulkEntries, ...] | None
) -> Shuffled:
    """The replicate of that number: the layer shuffled once, in `full` or only its top."""
    k, rows, cols = layer.matrices.shape
    permutations = tuple(
        Permutation.of(layer.seed_key, replicate, index, layer.options.seed, size=rows * cols)
        for index in range(k)
    )
    measure = measure_full if full else measure_top
    shuffled, _ = with_cpu_fallback(
        lambda where: measure(
            layer.matrices,
            permutations,
            entries=layer.entries,
            bulks=bulks,
            level=layer.options.level,
            keep=layer.options.modes,
            device=where,
        ),
        layer.device,
    )
    return shuffled


def _trap_rows(layer: Layer, replicates: Sequence[Shuffled]) -> tuple[MeasuredTrap, ...]:
    """The traps of every replicate, with their shapes where these are asked for."""
    rows: list[MeasuredTrap] = []
    exponent = 2 * layer.entries.exponent
    sectors: dict[int, Sector] = {}
    for replicate, shuffled in enumerate(replicates):
        if shuffled.test is None:
            continue
        traps = shuffled.test.traps
        shapes: dict[Trap, Localisation] = {}
        if layer.options.modes:
            for index in sorted({trap.slice_index for trap in traps}):
                shapes |= _trap_shapes(layer, replicate, shuffled, index, sectors)
        rows += [
            MeasuredTrap(exponent, replicate, index, trap, shapes.get(trap))
            for index, trap in enumerate(traps, start=1)
        ]
    return tuple(rows)


def _trap_shapes(
    layer: Layer, replicate: int, shuffled: Shuffled, index: int, sectors: dict[int, Sector]
) -> dict[Trap, Localisation]:
    """The shapes of the traps of slice `index`; its top sector is kept in `sectors`."""
    assert shuffled.test is not None
    traps = [t for t in shuffled.test.traps if t.slice_index == index][:MAX_MODES]
    permutation, exponent = shuffled.permutations[index], layer.entries.exponent
    rng = generator(*layer.seed_key, "modes", replicate, index, layer.options.seed)
    if index not in sectors:
        matrix = divided(layer.matrices[index], exponent)
        sectors[index] = top_sector(matrix, layer.solved.reductions[index], rng=rng)
        del matrix
    top = shuffled.tops[index] if shuffled.tops else None
    reduction = shuffled.reductions[index] if shuffled.reductions else None
    if top is not None:
        modes = modes_of(top, len(traps))
    else:  # singular vectors do not change with scale; float32 has a range
        moved = divided(shuffled.slice_of(layer.matrices, index), exponent)
        if reduction is not None and shuffled.evals is not None:
            modes = reduced_modes(moved, reduction, shuffled.evals[index], len(traps))
        else:
            modes = leading_modes(moved, len(traps), rng=rng)
        del moved  # a carried-back mode is as large again
    return {
        trap: localisation(mode, permutation, sectors[index], rng=rng)
        for trap, mode in zip(traps, modes, strict=True)
    }
