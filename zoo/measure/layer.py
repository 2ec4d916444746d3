"""One layer: its matrices -> every numeric column of its row, its traps, its spectra.

Composes `zoo.spectral` and `zoo.measure.shuffles`. Knows nothing of names, formats or files, nor of tables but
their column names.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from zoo.machine.device import choose_device, with_cpu_fallback
from zoo.measure.shuffles import Layer, Rows, shuffled_columns
from zoo.options import AnalysisOptions
from zoo.seeds import generator
from zoo.spectral.arrays import Vector
from zoo.spectral.bulk_entries import Moments
from zoo.spectral.columns import Columns, fields_of, spectral_columns
from zoo.spectral.diagnostics import NOT_ASKED_FOR, EntryStatistics, entry_statistics
from zoo.spectral.extras import EXTRA_COLUMNS, tail_extras
from zoo.spectral.farms import farms
from zoo.spectral.replicate import EntryFacts
from zoo.spectral.solve import Solved, entry_exponent, solve
from zoo.spectral.spectrum import Spectrum


@dataclass(frozen=True, slots=True)
class LayerMeasures:
    """Everything measured on one layer."""

    columns: Mapping[str, object]
    """Numeric columns of `layers`, `num_rows` to `htsr_phase`, with status, reason, times, device.
    """
    traps: Rows
    """Rows of `traps` without the common keys; probe columns None."""
    spectrum: Spectrum | None
    rand_spectrum: Spectrum | None
    """Of the first replicate; None unless its full spectrum was computed."""


def measure_layer(
    matrices: torch.Tensor,
    *,
    options: AnalysisOptions,
    seed_key: tuple[str, ...],
    storage_bits: int,
    solved: Vector | None = None,
) -> LayerMeasures:
    """Measure `matrices` [k, rows, cols], k pooled slices, of any real dtype.

    `seed_key`: revision, tensor, part, expert; replicate, slice and the user's seed are appended
    here. `storage_bits`: bits of a stored number, which set the numerical-rank tolerance.
    `solved`: the eigenvalues [k, m], where a batch has found them before (`zoo.measure.batch`).
    Non-finite entries and empty matrices are outcomes (`failed`, `skipped`), not errors.
    """
    shape = (matrices.shape[0], matrices.shape[1], matrices.shape[2])
    if matrices.numel() == 0:
        return skipped_layer(shape, "empty")
    matrices = _as_float(matrices.detach())
    started = time.perf_counter()
    (statistics, own), device = with_cpu_fallback(
        lambda where: _own(matrices, storage_bits, solved, options, where),
        choose_device(options.device),
    )
    if own is None:
        count = statistics.non_finite
        return failed_layer(shape, f"non_finite: {count} of {matrices.numel()} entries")
    max_abs = statistics.weight_max_abs or 0.0
    entries = EntryFacts(max_abs, _moments(statistics), entry_exponent(max_abs))
    layer = Layer(matrices, options, seed_key, entries, own, device)
    spectrum = Spectrum.rounded(own.evals.reshape(-1), 2 * entries.exponent)
    columns: Columns = {**_empty_columns(), **_shape_columns(shape), "status": "ok"}
    columns |= {k: v for k, v in fields_of(statistics).items() if k != "non_finite"}
    columns |= spectral_columns(
        spectrum,
        n=layer.n,
        m=layer.m,
        storage_bits=storage_bits,
        clip_fingers=options.clip_fingers,
        is_tail_only=options.metrics == "tail",
    )
    columns |= _optional_fits(layer, spectrum, storage_bits)
    columns |= {"device": layer.device.type, "spectrum_s": time.perf_counter() - started}
    if options.shuffle_mode == "none":
        return LayerMeasures(columns, (), spectrum, None)
    started = time.perf_counter()
    found, traps, rand = shuffled_columns(layer, spectrum)
    columns |= {**found, "shuffle_s": time.perf_counter() - started}
    return LayerMeasures(columns, traps, spectrum, rand)


def failed_layer(shape: tuple[int, int, int] | None, reason: str) -> LayerMeasures:
    """The row of a layer that could not be measured; `shape` [k, rows, cols] where it is known."""
    return _unmeasured(shape, "failed", reason)


def skipped_layer(shape: tuple[int, int, int] | None, reason: str) -> LayerMeasures:
    """The row of a layer that was not to be measured."""
    return _unmeasured(shape, "skipped", reason)


def _as_float(matrices: torch.Tensor) -> torch.Tensor:
    if matrices.is_floating_point():
        return matrices
    fits = matrices.dtype in (torch.bool, torch.uint8, torch.int8, torch.int16)
    return matrices.to(torch.float32 if fits else torch.float64)


def _own(
    matrices: torch.Tensor,
    storage_bits: int,
    solved: Vector | None,
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
        keep=options.shuffle_mode != "none" and options.trap_modes,
        device=device,
    )


def _solved_plainly(
    matrices: torch.Tensor, storage_bits: int, device: torch.device
) -> Solved | None:
    """The eigenvalues, where the entries need no scaling; their sum tells. None otherwise."""
    try:
        found = solve(matrices, storage_bits=storage_bits, device=device)
    except ValueError:  # not finite: the statistics will count
        return None
    trace = float(found.evals.sum())  # within numel of the largest entry's square
    if entry_exponent(math.sqrt(trace)) or entry_exponent(math.sqrt(trace / matrices.numel())):
        return None
    return found


def _moments(statistics: EntryStatistics) -> Moments | None:
    mean, std = statistics.weight_mean, statistics.weight_std
    if statistics.weight_kurtosis is None or mean is None or std is None:
        return None
    if not 1e-60 < std < 1e60:  # its fourth power is taken
        return None
    return Moments(mean, std**2, statistics.weight_kurtosis)


def _optional_fits(layer: Layer, spectrum: Spectrum, storage_bits: int) -> Columns:
    """What the options ask for beyond the power law; nothing by default."""
    options, columns = layer.options, dict[str, object]()
    if options.farms:
        found = farms(layer.matrices, storage_bits=storage_bits)
        columns |= {"farms_alpha": found.farms_alpha, "farms_alpha_hill": found.farms_alpha_hill}
    if options.tail_models or options.bootstrap or options.clip_fingers:
        columns |= tail_extras(
            spectrum,
            m=layer.m,
            storage_bits=storage_bits,
            clip_fingers=options.clip_fingers,
            tail_models=options.tail_models,
            num_draws=options.bootstrap,
            rng=generator(*layer.seed_key, "bootstrap", options.seed),
        )
    return columns


def _unmeasured(shape: tuple[int, int, int] | None, status: str, reason: str) -> LayerMeasures:
    columns = {**_empty_columns(), "status": status, "reason": reason}
    if shape is not None:
        columns |= _shape_columns(shape)
    return LayerMeasures(columns, (), None, None)


def _shape_columns(shape: tuple[int, int, int]) -> Columns:
    k, rows, cols = shape
    n, m = max(rows, cols), min(rows, cols)
    return {
        "num_rows": rows,
        "num_cols": cols,
        "n": n,
        "m": m,
        "q": n / m if m else None,
        "receptive_field": k,
        "num_evals": k * m,
        "num_params": k * rows * cols,
    }


def _empty_columns() -> Columns:
    return dict.fromkeys((*_COLUMNS, *EXTRA_COLUMNS))


_COLUMNS = tuple(
    """
    num_rows num_cols n m q receptive_field num_evals num_params status reason
    lambda_max lambda_min frobenius_norm_sq log_norm log_spectral_norm stable_rank matrix_rank
    matrix_entropy weight_mean weight_std weight_kurtosis weight_max_abs l2_norm
    abs_weight_entropy alpha alpha_stderr ks_distance xmin xmax num_tail alpha_hat alpha_hill
    log_alpha_norm tail_status tail_warning
    mp_sigma mp_edge_lower mp_edge_upper mp_num_spikes mp_softrank
    rand_lambda_max rand_mp_sigma rand_mp_edge_upper rand_ks_distance rand_ks_p_value rand_distance
    num_traps num_traps_ww trap_counts trap_threshold trap_p_value trap_excess_max
    erg_num erg_lambda_min erg_gap erg_delta erg_log_ratio
    quality_discrete quality_free_cauchy quality_inverse_mp quality_levy_wigner
    quality_r_transform htsr_phase spectrum_s shuffle_s device
    """.split()
)
