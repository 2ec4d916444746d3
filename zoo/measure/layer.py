"""One layer: its matrices -> every group of columns they give, its traps, its spectra.

Composes `zoo.spectral` and `zoo.measure.shuffles`. Knows nothing of names, formats or files.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import torch
from jaxtyping import Shaped

from zoo.cells import cells
from zoo.machine.device import choose_device, with_cpu_fallback
from zoo.measure.fits import LayerEvals, OwnPart, own_part
from zoo.measure.row import Effort, Measured, MeasuredTrap, Outcome, Shape, Status
from zoo.measure.shuffles import Layer, ShuffledLayer, measure_shuffles
from zoo.options import AnalysisOptions
from zoo.spectral.bulk_entries import Moments
from zoo.spectral.diagnostics import NOT_ASKED_FOR, EntryStatistics, entry_statistics
from zoo.spectral.difference import Difference
from zoo.spectral.farms import Farms, farms
from zoo.spectral.own import OwnSpectrum
from zoo.spectral.replicate import EntryFacts
from zoo.spectral.shuffled import Shuffles
from zoo.spectral.solve import Solved, entry_exponent, solve
from zoo.spectral.spectrum import Spectrum
from zoo.spectral.tails import TailFit


@dataclass(frozen=True, slots=True)
class LayerMeasures:
    """Everything measured on one layer."""

    measured: Measured
    traps: tuple[MeasuredTrap, ...] = ()
    spectrum: Spectrum | None = None
    """None for a layer that was not measured."""
    rand_spectrum: Spectrum | None = None
    """Spectrum of the first shuffle; None unless all of it was computed."""

    @property
    def columns(self) -> dict[str, object]:
        """The columns as a mapping."""
        return cells(self.measured)


def measure_layer(
    matrices: Shaped[torch.Tensor, "k rows cols"],
    *,
    options: AnalysisOptions,
    seed_key: tuple[str, ...],
    storage_bits: int,
    difference: Difference | None = None,
) -> LayerMeasures:
    """Measure `matrices`, k pooled slices, of any real dtype.

    `seed_key`: revision, tensor, part, expert; replicate, slice and the user's seed are appended
    here. `storage_bits`: bits of a stored number, which set the numerical-rank tolerance.
    `difference`: the matrices are W − W_base, of which this is known.
    Non-finite entries and empty matrices are outcomes (`failed`, `skipped`), not errors.
    """
    k, rows, cols = matrices.shape
    shape = Shape.of(k, rows, cols)
    if matrices.numel() == 0:
        return skipped_layer(shape, "empty")
    matrices = as_float(matrices.detach())
    started = time.perf_counter()
    (statistics, solution), device = with_cpu_fallback(
        lambda where: _solve(matrices, storage_bits, options, where),
        choose_device(options.device),
    )
    if solution is None:
        count = statistics.non_finite
        return failed_layer(shape, f"non_finite: {count} of {matrices.numel()} entries")
    max_abs = statistics.weight_max_abs or 0.0
    entries = EntryFacts(max_abs, moments_of(statistics), entry_exponent(max_abs))
    layer = Layer(matrices, options, seed_key, entries, solution, device)
    floor = (difference.delta_noise_edge if difference else None) or 0.0
    evals = LayerEvals(
        solution.evals, 2 * entries.exponent, layer.n, layer.m, storage_bits, seed_key, floor
    )
    part = own_part(evals, options)
    sides = farms(matrices, storage_bits=storage_bits) if options.farms else None
    spectrum_s, shuffle_s = time.perf_counter() - started, None
    shuffled = ShuffledLayer()
    if options.shuffle_mode != "none":
        started = time.perf_counter()
        shuffled = measure_shuffles(layer, part.spectrum)
        shuffle_s = time.perf_counter() - started
    measured = measured_layer(
        shape,
        part,
        statistics,
        shuffled.columns,
        sides,
        difference,
        Effort(
            spectrum_s,
            shuffle_s,
            layer.device.type,
            solver=solution.solver,
            permutation=None if shuffled.columns is None else "fisher_yates",
            batch_size=1,
        ),
    )
    return LayerMeasures(measured, shuffled.traps, part.spectrum, shuffled.first)


def measured_layer(
    shape: Shape,
    part: OwnPart,
    statistics: EntryStatistics,
    shuffles: Shuffles | None,
    sides: Farms | None,
    difference: Difference | None,
    effort: Effort,
) -> Measured:
    """The groups of columns of a measured layer."""
    return Measured(
        shape=shape,
        outcome=Outcome("ok", _why(part.own, difference)),
        own=part.own,
        entries=statistics,
        shuffles=shuffles,
        extras=part.extras,
        farms=sides,
        difference=difference and _counted(difference, part.num_fitted),
        effort=effort,
    )


def _counted(difference: Difference, num_fitted: int) -> Difference:
    """The facts of a difference, now that its eigenvalues are known."""
    if difference.delta_noise_edge is None:
        return difference
    return replace(difference, delta_num_above_noise=num_fitted)


def _why(own: OwnSpectrum, difference: Difference | None) -> str | None:
    """The reason of a measured layer: what has no number, and what of a difference is not to be trusted."""
    remark = difference.remark if difference and isinstance(own.tail, TailFit) else None
    return "; ".join(filter(None, (own.reason, remark))) or None


def remarked(measures: LayerMeasures, remark: str) -> LayerMeasures:
    """The same layer with a remark in its reason."""
    outcome = measures.measured.outcome
    reason = "; ".join(filter(None, (outcome.reason, remark)))
    measured = replace(measures.measured, outcome=replace(outcome, reason=reason))
    return replace(measures, measured=measured)


def failed_layer(shape: Shape | None, reason: str) -> LayerMeasures:
    """The row of a layer that could not be measured; `shape` where it is known."""
    return _unmeasured(shape, "failed", reason)


def skipped_layer(shape: Shape | None, reason: str) -> LayerMeasures:
    """The row of a layer that was not to be measured."""
    return _unmeasured(shape, "skipped", reason)


def as_float(
    matrices: Shaped[torch.Tensor, "*shape"],
) -> Shaped[torch.Tensor, "*shape"]:
    """The matrices themselves, or whole numbers in a type that holds them exactly."""
    if matrices.is_floating_point():
        return matrices
    fits = matrices.dtype in (torch.bool, torch.uint8, torch.int8, torch.int16)
    return matrices.to(torch.float32 if fits else torch.float64)


def _solve(
    matrices: Shaped[torch.Tensor, "k rows cols"],
    storage_bits: int,
    options: AnalysisOptions,
    device: torch.device,
) -> tuple[EntryStatistics, Solved | None]:
    """Statistics of the entries, and the eigenvalues if they are finite."""
    resident = matrices.to(device)
    if options.metrics == "tail":
        plain = _solved_plainly(resident, storage_bits, device)
        if plain is not None:
            return NOT_ASKED_FOR, plain
    statistics = entry_statistics(resident)
    if statistics.non_finite:
        return statistics, None
    exponent = entry_exponent(statistics.weight_max_abs or 0.0)
    return statistics, solve(
        resident,
        storage_bits=storage_bits,
        exponent=exponent,
        keep=options.shuffle_mode != "none" and options.modes,
        device=device,
    )


def _solved_plainly(
    matrices: Shaped[torch.Tensor, "k rows cols"], storage_bits: int, device: torch.device
) -> Solved | None:
    """The eigenvalues, where the entries need no scaling; their sum tells. None otherwise."""
    try:
        solution = solve(matrices, storage_bits=storage_bits, device=device)
    except ValueError:  # not finite: the statistics will count
        return None
    return solution if is_plain(float(solution.evals.sum()), matrices.numel()) else None


def is_plain(trace: float, numel: int) -> bool:
    """True where Σw² tells that no entry needs scaling: it is within `numel` of the largest entry's square."""
    return not (entry_exponent(math.sqrt(trace)) or entry_exponent(math.sqrt(trace / numel)))


def moments_of(statistics: EntryStatistics) -> Moments | None:
    """The moments of all entries; None for constant ones, and where their powers leave float64."""
    mean, std = statistics.weight_mean, statistics.weight_std
    if statistics.weight_kurtosis is None or mean is None or std is None:
        return None
    if not 1e-60 < std < 1e60:  # its fourth power is taken
        return None
    return Moments(mean, std**2, statistics.weight_kurtosis)


def _unmeasured(shape: Shape | None, status: Status, reason: str) -> LayerMeasures:
    return LayerMeasures(Measured(shape, Outcome(status, reason)))
