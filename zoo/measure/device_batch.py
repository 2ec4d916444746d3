"""Equal layers measured together where their matrices lie: one batch of an accelerator.

All that is heavy is done for the whole batch on the device: statistics, Gram matrices, eigenvalues, shuffles, searches
for their tops, modes of traps. What follows from eigenvalues is made by helper processes meanwhile. The same code runs
on the CPU, where it is slower than `layer` and tests hold the two against each other.

A layer whose entries are not finite fails alone: its matrices count as zero, so that the batch of the others stays the
same. Values depend on the other members of the batch in their last bits only, and these follow from the model.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float64, Shaped

from zoo.machine.helpers import Helpers
from zoo.measure.device_shuffles import BatchShuffles, Member, solved_values
from zoo.measure.fits import (
    LayerEvals,
    OwnPart,
    ShuffledLayerEvals,
    ShuffledPart,
    own_parts,
    shapes,
    shuffle_parts,
)
from zoo.measure.layer import LayerMeasures, failed_layer, is_plain, measured_layer, moments_of
from zoo.measure.row import Effort, MeasuredTrap, Shape
from zoo.measure.shuffles import causes_of
from zoo.options import AnalysisOptions
from zoo.spectral.arrays import Doubles
from zoo.spectral.batched_solve import Solver, grams, symmetric_eigenvalues_of
from zoo.spectral.batched_statistics import statistics_of
from zoo.spectral.diagnostics import NOT_ASKED_FOR, EntryStatistics
from zoo.spectral.farms import Farms, farms
from zoo.spectral.localisation import Localisation
from zoo.spectral.replicate import EntryFacts
from zoo.spectral.replication import staged_up_to
from zoo.spectral.solve import SVD_BELOW, entry_exponent, svd_eigenvalues

T = TypeVar("T")
"""What a helper gives back for one layer."""


@dataclass(frozen=True, slots=True)
class _Begun:
    """A batch of which the device has done its part."""

    shape: Shape
    numel: int
    """Entries of a layer."""
    statistics: Sequence[EntryStatistics]
    """One a layer, those that fail too."""
    members: Sequence[Member]
    """The layers that do not fail."""
    own: Sequence[Future[list[OwnPart]]]
    shuffles: Sequence[Future[list[ShuffledPart]]]
    shapes: Sequence[Future[list[Localisation]]]
    sides: Mapping[int, Farms]
    effort: Effort


def measure_batch(
    stack: Shaped[torch.Tensor, "layers k rows cols"],
    *,
    options: AnalysisOptions,
    seed_keys: Sequence[tuple[str, ...]],
    storage_bits: int,
    helpers: Helpers,
) -> Iterator[LayerMeasures]:
    """Measure equal layers of k slices each; one seed key each.

    The device's part is done when this returns; the iterator waits for the helpers. Raises torch.OutOfMemoryError where
    the batch is too large for the device.
    """
    began = time.perf_counter()
    count, k, rows, cols = stack.shape
    stack = stack.contiguous()
    statistics = statistics_of(stack.view(count, k * rows, cols))
    for number, told in enumerate(statistics):
        if told.non_finite:
            stack = stack.clone() if number == _first_failure(statistics) else stack
            stack[number] = 0
    flat = stack.view(-1, rows, cols)
    facts = [_facts(told) for told in statistics]
    exponents = [fact.exponent for fact in facts]
    evals, solver = _own_evals(flat, k, exponents, storage_bits)
    n, m = max(rows, cols), min(rows, cols)
    members = [
        Member(
            number,
            LayerEvals(evals[number], 2 * exponents[number], n, m, storage_bits, key),
            facts[number],
        )
        for number, key in enumerate(seed_keys)
        if not statistics[number].non_finite
    ]
    own = helpers.spread(own_parts, [member.evals for member in members], options)
    sides = {
        member.number: farms(stack[member.number], storage_bits=storage_bits)
        for member in (members if options.farms else ())
    }
    spectrum_s, shuffle_s = (time.perf_counter() - began) / count, None
    of_shuffles: list[Future[list[ShuffledPart]]] = []
    shaped: list[Future[list[Localisation]]] = []
    if options.shuffle_mode != "none" and members:
        began = time.perf_counter()
        shuffles = BatchShuffles(
            flat, k, options=options, storage_bits=storage_bits, helpers=helpers
        )
        shuffles.run(members)
        told_evals = [
            ShuffledLayerEvals(
                member.evals, tuple(member.tests), tuple(member.whole), member.lambda_max
            )
            for member in members
        ]
        near = staged_up_to(options.fixed_replicates, m=m, level=options.level)
        of_shuffles = helpers.spread(shuffle_parts, told_evals, options, near)
        shaped = helpers.spread(shapes, shuffles.modes)
        shuffle_s = (time.perf_counter() - began) / count
    effort = Effort(
        spectrum_s,
        shuffle_s,
        stack.device.type,
        solver=solver,
        permutation="philox" if of_shuffles else None,
        batch_size=count,
    )
    if options.metrics == "tail":  # only what had to be looked at for its scale
        statistics = [
            told
            if member_exponent or not _is_plain(evals[number], k * rows * cols)
            else NOT_ASKED_FOR
            for number, (told, member_exponent) in enumerate(
                zip(statistics, exponents, strict=True)
            )
        ]
    shape = Shape.of(k, rows, cols)
    begun = _Begun(
        shape, k * rows * cols, statistics, members, own, of_shuffles, shaped, sides, effort
    )
    return _finished(begun, options)


def _first_failure(statistics: Sequence[EntryStatistics]) -> int:
    return next(number for number, told in enumerate(statistics) if told.non_finite)


def _is_plain(evals: Float64[Doubles, "k m"], numel: int) -> bool:
    return is_plain(float(evals.sum()), numel)


def _facts(statistics: EntryStatistics) -> EntryFacts:
    max_abs = statistics.weight_max_abs or 0.0
    return EntryFacts(max_abs, moments_of(statistics), entry_exponent(max_abs))


def _own_evals(
    flat: Shaped[torch.Tensor, "matrices rows cols"],
    k: int,
    exponents: Sequence[int],
    storage_bits: int,
) -> tuple[Float64[Doubles, "layers k m"], Solver]:
    """Eigenvalues of every slice in units of 4^exponent, one exponent a layer, and what solved them."""
    each = [exponent for exponent in exponents for _ in range(k)]
    values, solver = symmetric_eigenvalues_of(grams(flat, each))
    evals = solved_values(values, flat, each, storage_bits)
    if storage_bits == 64 and evals.shape[1] > 1:
        for index in np.flatnonzero(evals[:, 0] < SVD_BELOW * evals[:, -1]).tolist():
            evals[index] = svd_eigenvalues(flat[index], exponent=each[index])
    return evals.reshape(-1, k, evals.shape[1]), solver


def _finished(begun: _Begun, options: AnalysisOptions) -> Iterator[LayerMeasures]:
    """The layers in order, as the helpers finish them. Holds nothing that is on the device."""
    members = iter(begun.members)
    own, shuffles = _each(begun.own), _each(begun.shuffles)
    localisations = list(_each(begun.shapes))
    for number, statistics in enumerate(begun.statistics):
        if statistics.non_finite:
            count, numel = statistics.non_finite, begun.numel
            yield failed_layer(begun.shape, f"non_finite: {count} of {numel} entries")
            continue
        member, part = next(members), next(own)
        columns, rand = next(shuffles, None) or (None, None)
        traps = _rows(member, localisations)
        if columns is not None and options.modes and columns.test is not None:
            columns = replace(columns, causes=causes_of(traps, len(member.tests)))
        measured = measured_layer(
            begun.shape,
            part,
            statistics,
            columns,
            begun.sides.get(number),
            None,
            begun.effort,
        )
        yield LayerMeasures(measured, traps, part.spectrum, rand)


def _each(futures: Iterable[Future[list[T]]]) -> Iterator[T]:
    """What the futures hold, in order."""
    for future in futures:
        yield from future.result()


def _rows(member: Member, localisations: Sequence[Localisation]) -> tuple[MeasuredTrap, ...]:
    """The traps of every replicate, each numbered from the largest."""
    rows: list[MeasuredTrap] = []
    numbers: dict[int, int] = {}
    for replicate, trap, place in member.traps:
        numbers[replicate] = numbers.get(replicate, 0) + 1
        shape = None if place is None else localisations[place]
        exponent = member.evals.exponent
        rows.append(MeasuredTrap(exponent, replicate, numbers[replicate], trap, shape))
    return tuple(rows)
