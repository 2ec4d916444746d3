"""One layer: its matrices -> every numeric column of its row, its traps, its spectra.

Composes `zoo.spectral`. Knows nothing of names, formats or files, nor of tables but their column
names.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.device import choose_device, with_cpu_fallback
from zoo.options import AnalysisOptions
from zoo.seeds import generator, seed_for
from zoo.spectral.bulk_entries import BulkEntries, Moments
from zoo.spectral.columns import (
    Columns,
    fields_of,
    incumbent_count,
    rand_spectrum_columns,
    scaled,
    shuffle_columns,
    spectral_columns,
)
from zoo.spectral.diagnostics import NOT_ASKED_FOR, EntryStatistics, entry_statistics
from zoo.spectral.edge import Trap
from zoo.spectral.extras import EXTRA_COLUMNS, tail_extras
from zoo.spectral.farms import farms
from zoo.spectral.null import Entries, Shuffled, measure_full, measure_top
from zoo.spectral.shuffle import Permutation
from zoo.spectral.spectrum import Solved, Spectrum, divided, entry_exponent, solve
from zoo.spectral.trap_modes import (
    Sector,
    leading_modes,
    localisation,
    modes_of,
    reduced_modes,
    top_sector,
)

FULL_SHUFFLE_UP_TO = 2048
"""Smaller side up to which `shuffle = "auto"` computes the whole shuffled spectrum."""
MANY_REPLICATES_BELOW = 100
"""Smaller side below which five shuffles are made, and pooled for the incumbent's count."""
CHEAP_FULL_BELOW = 512
"""Smaller side below which further replicates are solved in full: faster than their top alone."""
MAX_MODES = 32
"""Traps of one slice whose modes are computed, largest first; the others have null columns."""

Vector = NDArray[np.float64]
Rows = tuple[Mapping[str, object], ...]


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


@dataclass(frozen=True, slots=True)
class _Layer:
    """What the steps of one measurement share."""

    matrices: torch.Tensor
    options: AnalysisOptions
    seed_key: tuple[str, ...]
    entries: Entries
    solved: Solved
    device: torch.device

    @property
    def n(self) -> int:
        return max(self.matrices.shape[1:])

    @property
    def m(self) -> int:
        return min(self.matrices.shape[1:])


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
    `solved`: the eigenvalues [k, m], where a batch has found them before (`zoo.batch`).
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
    entries = Entries(max_abs, _moments(statistics), entry_exponent(max_abs))
    layer = _Layer(matrices, options, seed_key, entries, own, device)
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
    found, traps, rand = _shuffled(layer, spectrum)
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


def _optional_fits(layer: _Layer, spectrum: Spectrum, storage_bits: int) -> Columns:
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


def _shuffled(layer: _Layer, spectrum: Spectrum) -> tuple[Columns, Rows, Spectrum | None]:
    """The shuffle's columns, the rows of its traps, and the first replicate's full spectrum."""
    options, n, m = layer.options, layer.n, layer.m
    exponent = layer.entries.exponent
    mode = options.shuffle_mode
    if mode == "auto":
        mode = "full" if m <= FULL_SHUFFLE_UP_TO else "top"
    count = options.replicates or (5 if m < MANY_REPLICATES_BELOW else 1)
    null: list[Shuffled] = []
    for i in range(count):
        full = mode == "full" and (i == 0 or m < CHEAP_FULL_BELOW)
        null.append(_replicate(layer, i, full=full, bulks=null[0].bulks if null else None))
    columns = shuffle_columns(spectrum, [r.test for r in null], n=n, m=m, exponent=exponent)
    columns["rand_lambda_max"] = scaled(null[0].lambda_max, 2 * exponent)
    evals = null[0].evals
    rand = None if evals is None else Spectrum.rounded(evals.reshape(-1), 2 * exponent)
    if rand is not None:
        sigma = columns.get("rand_mp_sigma")
        columns |= rand_spectrum_columns(
            spectrum, rand, sigma=sigma if isinstance(sigma, float) else None, n=n, m=m
        )
    if options.incumbent and rand is not None:
        columns["num_traps_ww"] = incumbent_count(_pooled(null, rand, m), n=n, m=m)
    return columns, _trap_rows(layer, null), rand


def _replicate(
    layer: _Layer, replicate: int, *, full: bool, bulks: tuple[BulkEntries, ...] | None
) -> Shuffled:
    k, rows, cols = layer.matrices.shape
    permutations = tuple(
        Permutation(
            seed_for(*layer.seed_key, "shuffle", replicate, index, layer.options.seed), rows * cols
        )
        for index in range(k)
    )
    measure = measure_full if full else measure_top
    found, _ = with_cpu_fallback(
        lambda where: measure(
            layer.matrices,
            permutations,
            entries=layer.entries,
            bulks=bulks,
            level=layer.options.level,
            keep=layer.options.trap_modes,
            device=where,
        ),
        layer.device,
    )
    return found


def _pooled(null: Sequence[Shuffled], rand: Spectrum, m: int) -> list[Vector]:
    """The shuffled eigenvalues that the incumbent pools: every replicate's below m = 100."""
    if m >= MANY_REPLICATES_BELOW:
        return [rand.evals]
    return [replicate.evals for replicate in null if replicate.evals is not None]


def _trap_rows(layer: _Layer, null: Sequence[Shuffled]) -> Rows:
    rows: list[Mapping[str, object]] = []
    sectors: dict[int, Sector] = {}
    for replicate, shuffled in enumerate(null):
        if shuffled.test is None:
            continue
        traps = shuffled.test.traps
        shapes: dict[Trap, Columns] = {}
        if layer.options.trap_modes:
            for index in sorted({trap.slice_index for trap in traps}):
                shapes |= _trap_shapes(layer, replicate, shuffled, index, sectors)
        for index, trap in enumerate(traps, start=1):
            rows.append(
                {
                    **dict.fromkeys(_TRAP_COLUMNS),
                    "replicate": replicate,
                    "trap_index": index,
                    "lambda": scaled(trap.eigenvalue, 2 * layer.entries.exponent),
                    "excess_rel": trap.excess_rel,
                    "p_value": trap.p_value,
                    "verdict": "unprobed",
                    **shapes.get(trap, {}),
                }
            )
    return tuple(rows)


def _trap_shapes(
    layer: _Layer, replicate: int, shuffled: Shuffled, index: int, sectors: dict[int, Sector]
) -> dict[Trap, Columns]:
    """Localisation columns of the traps of slice `index`; its top sector is kept in `sectors`."""
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
        trap: fields_of(localisation(mode, permutation, sectors[index], rng=rng))
        for trap, mode in zip(traps, modes, strict=True)
    }


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
_TRAP_COLUMNS = tuple(
    """
    replicate trap_index lambda excess_rel p_value ipr_left ipr_right localisation_q
    participation_ratio top5_mass top10_mass rank1_mass top_overlap mean_overlap
    jsd jsd_stderr jsd_control_p95 probe_kind num_probes temperature verdict
    """.split()
)
