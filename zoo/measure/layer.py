"""One layer: its matrices -> every group of columns they give, its traps, its spectra.

Composes `zoo.spectral` and `zoo.measure.shuffles`. Knows nothing of names, formats or files.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float64, Shaped

from zoo.cells import cells
from zoo.machine.device import choose_device, with_cpu_fallback
from zoo.measure.row import Effort, Measured, MeasuredTrap, Outcome, Shape, Status
from zoo.measure.shuffles import Layer, ShuffledLayer, measure_shuffles
from zoo.options import AnalysisOptions
from zoo.seeds import generator
from zoo.spectral.arrays import Doubles
from zoo.spectral.bulk_entries import Moments
from zoo.spectral.clipped_tail import Clipping
from zoo.spectral.diagnostics import NOT_ASKED_FOR, EntryStatistics, entry_statistics
from zoo.spectral.difference import Difference
from zoo.spectral.extras import TailExtras, tail_extras
from zoo.spectral.farms import farms
from zoo.spectral.own import OwnSpectrum, above, own_spectrum, own_tail
from zoo.spectral.replicate import EntryFacts
from zoo.spectral.solve import Solved, entry_exponent, solve
from zoo.spectral.spectrum import Spectrum
from zoo.spectral.tails import NoTail, TailFit


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
    solved: Float64[Doubles, "k m"] | None = None,
    difference: Difference | None = None,
) -> LayerMeasures:
    """Measure `matrices`, k pooled slices, of any real dtype.

    `seed_key`: revision, tensor, part, expert; replicate, slice and the user's seed are appended
    here. `storage_bits`: bits of a stored number, which set the numerical-rank tolerance.
    `solved`: the eigenvalues, where a batch has computed them before (`zoo.measure.batch`).
    `difference`: the matrices are W − W_base, of which this is known.
    Non-finite entries and empty matrices are outcomes (`failed`, `skipped`), not errors.
    """
    k, rows, cols = matrices.shape
    shape = Shape.of(k, rows, cols)
    if matrices.numel() == 0:
        return skipped_layer(shape, "empty")
    matrices = _as_float(matrices.detach())
    started = time.perf_counter()
    (statistics, solution), device = with_cpu_fallback(
        lambda where: _solve(matrices, storage_bits, solved, options, where),
        choose_device(options.device),
    )
    if solution is None:
        count = statistics.non_finite
        return failed_layer(shape, f"non_finite: {count} of {matrices.numel()} entries")
    max_abs = statistics.weight_max_abs or 0.0
    entries = EntryFacts(max_abs, _moments(statistics), entry_exponent(max_abs))
    layer = Layer(matrices, options, seed_key, entries, solution, device)
    spectrum = Spectrum.rounded(solution.evals.reshape(-1), 2 * entries.exponent)
    floor = (difference.delta_noise_edge if difference else None) or 0.0
    fitted = above(spectrum, floor)
    tail, clipping = own_tail(
        fitted, m=layer.m, storage_bits=storage_bits, clip_fingers=options.clip_fingers
    )
    own = own_spectrum(
        spectrum,
        tail,
        n=layer.n,
        m=layer.m,
        storage_bits=storage_bits,
        is_tail_only=options.metrics == "tail",
        floor=floor,
    )
    sides = farms(matrices, storage_bits=storage_bits) if options.farms else None
    extras = _extras(layer, fitted, tail, clipping, storage_bits)
    spectrum_s, shuffle_s = time.perf_counter() - started, None
    shuffled = ShuffledLayer()
    if options.shuffle_mode != "none":
        started = time.perf_counter()
        shuffled = measure_shuffles(layer, spectrum)
        shuffle_s = time.perf_counter() - started
    measured = Measured(
        shape=shape,
        outcome=Outcome("ok", _why(own, difference)),
        own=own,
        entries=statistics,
        shuffles=shuffled.columns,
        extras=extras,
        farms=sides,
        difference=difference and _counted(difference, fitted),
        effort=Effort(spectrum_s, shuffle_s, layer.device.type),
    )
    return LayerMeasures(measured, shuffled.traps, spectrum, shuffled.first)


def _counted(difference: Difference, fitted: Spectrum) -> Difference:
    """The facts of a difference, now that its eigenvalues are known."""
    if difference.delta_noise_edge is None:
        return difference
    return replace(difference, delta_num_above_noise=int(fitted.evals.size))


def _why(own: OwnSpectrum, difference: Difference | None) -> str | None:
    """The reason of a measured layer: what has no number, and what of a difference is not to be trusted."""
    remark = difference.remark if difference and isinstance(own.tail, TailFit) else None
    return "; ".join(filter(None, (own.reason, remark))) or None


def failed_layer(shape: Shape | None, reason: str) -> LayerMeasures:
    """The row of a layer that could not be measured; `shape` where it is known."""
    return _unmeasured(shape, "failed", reason)


def skipped_layer(shape: Shape | None, reason: str) -> LayerMeasures:
    """The row of a layer that was not to be measured."""
    return _unmeasured(shape, "skipped", reason)


def _as_float(
    matrices: Shaped[torch.Tensor, "k rows cols"],
) -> Shaped[torch.Tensor, "k rows cols"]:
    """The matrices themselves, or whole numbers in a type that holds them exactly."""
    if matrices.is_floating_point():
        return matrices
    fits = matrices.dtype in (torch.bool, torch.uint8, torch.int8, torch.int16)
    return matrices.to(torch.float32 if fits else torch.float64)


def _solve(
    matrices: Shaped[torch.Tensor, "k rows cols"],
    storage_bits: int,
    solved: Float64[Doubles, "k m"] | None,
    options: AnalysisOptions,
    device: torch.device,
) -> tuple[EntryStatistics, Solved | None]:
    """Statistics of the entries, and the eigenvalues if they are finite."""
    resident = matrices.to(device)
    if options.metrics == "tail" and solved is None:
        plain = _solved_plainly(resident, storage_bits, device)
        if plain is not None:
            return NOT_ASKED_FOR, plain
    statistics = entry_statistics(resident)
    if statistics.non_finite:
        return statistics, None
    exponent = entry_exponent(statistics.weight_max_abs or 0.0)
    if solved is not None and exponent == 0:
        return statistics, Solved(solved, (None,) * len(solved))
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
    trace = float(solution.evals.sum())  # within numel of the largest entry's square
    if entry_exponent(math.sqrt(trace)) or entry_exponent(math.sqrt(trace / matrices.numel())):
        return None
    return solution


def _moments(statistics: EntryStatistics) -> Moments | None:
    """The moments of all entries; None for constant ones, and where their powers leave float64."""
    mean, std = statistics.weight_mean, statistics.weight_std
    if statistics.weight_kurtosis is None or mean is None or std is None:
        return None
    if not 1e-60 < std < 1e60:  # its fourth power is taken
        return None
    return Moments(mean, std**2, statistics.weight_kurtosis)


def _extras(
    layer: Layer,
    spectrum: Spectrum,
    tail: TailFit | NoTail,
    clipping: Clipping | None,
    storage_bits: int,
) -> TailExtras | None:
    """What the options ask for beyond the power law; nothing by default."""
    options = layer.options
    if not (options.alternatives or options.bootstrap or options.clip_fingers):
        return None
    return tail_extras(
        spectrum,
        tail,
        clipping,
        m=layer.m,
        storage_bits=storage_bits,
        tail_models=options.alternatives,
        num_draws=options.bootstrap,
        rng=generator(*layer.seed_key, "bootstrap", options.seed),
    )


def _unmeasured(shape: Shape | None, status: Status, reason: str) -> LayerMeasures:
    return LayerMeasures(Measured(shape, Outcome(status, reason)))
