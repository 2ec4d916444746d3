"""One layer: its matrices -> every numeric column of its row, its traps, its spectra.

Composes `zoo.spectral`. Knows nothing of names, formats, files or tables beyond the column names.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import kolmogorov

from zoo.device import choose_device, with_cpu_fallback
from zoo.options import AnalysisOptions
from zoo.seeds import seed_for
from zoo.spectral.diagnostics import EntryStatistics, entry_statistics
from zoo.spectral.erg import erg, mean_one
from zoo.spectral.fingers import fit_clipped
from zoo.spectral.incumbent import incumbent_fit
from zoo.spectral.mp import fit_bulk, mp_cdf
from zoo.spectral.null import Shuffled, measure_full
from zoo.spectral.scalars import scalars
from zoo.spectral.setol import quality
from zoo.spectral.shuffle import Permutation
from zoo.spectral.spectrum import Spectrum, eigenvalues, entry_exponent
from zoo.spectral.tails import TailFit, fit_tail

Vector = NDArray[np.float64]

FULL_SHUFFLE_UP_TO = 2048
"""Smaller side up to which `shuffle = "auto"` computes the whole shuffled spectrum."""
MANY_REPLICATES_BELOW = 100
"""Smaller side below which five shuffles are made, and pooled for the incumbent's count."""


@dataclass(frozen=True, slots=True)
class LayerMeasures:
    """Everything measured on one layer."""

    columns: Mapping[str, object]
    """Numeric columns of `layers`, `num_rows` to `htsr_phase`, with status, reason, times and
    device.
    """
    traps: tuple[Mapping[str, object], ...]
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
) -> LayerMeasures:
    """Measure `matrices` [k, rows, cols], k pooled slices, of any real dtype.

    `seed_key`: revision, tensor, part, expert; replicate, slice and the user's seed are appended
    here. `storage_bits`: bits of a stored number, which set the numerical-rank tolerance.
    Non-finite entries and empty matrices are outcomes (status `failed`, `skipped`), not errors.
    """
    shape = (matrices.shape[0], matrices.shape[1], matrices.shape[2])
    if matrices.numel() == 0:
        return skipped_layer(shape, "empty")
    if not matrices.is_floating_point():
        exact = matrices.dtype in (torch.bool, torch.uint8, torch.int8, torch.int16)
        matrices = matrices.to(torch.float32 if exact else torch.float64)
    started = time.perf_counter()
    entries = entry_statistics(matrices)
    if entries.non_finite:
        return failed_layer(
            shape, f"non_finite: {entries.non_finite} of {matrices.numel()} entries"
        )
    exponent = entry_exponent(entries.weight_max_abs or 0.0)
    evals, device = with_cpu_fallback(
        lambda where: eigenvalues(
            matrices, storage_bits=storage_bits, exponent=exponent, device=where
        ),
        choose_device(options.device),
    )
    spectrum = Spectrum.rounded(evals.reshape(-1), 2 * exponent)
    columns: dict[str, object] = {
        **_empty_columns(),
        **_shape_columns(shape),
        "device": device.type,
    }
    columns |= {k: v for k, v in asdict(entries).items() if k != "non_finite"}
    columns |= spectral_columns(spectrum, shape=shape, options=options, storage_bits=storage_bits)
    columns["status"] = "ok"
    columns["spectrum_s"] = time.perf_counter() - started
    if options.shuffle == "none":
        return LayerMeasures(columns, (), spectrum, None)
    started = time.perf_counter()
    null = _shuffle(matrices, entries, options, seed_key, exponent=exponent, device=device)
    rand = _rand_spectrum(null, exponent)
    columns |= shuffle_columns(
        spectrum, null, rand, shape=shape, exponent=exponent, options=options
    )
    traps = tuple(
        row for i, replicate in enumerate(null) for row in _trap_rows(i, replicate, exponent)
    )
    columns["shuffle_s"] = time.perf_counter() - started
    return LayerMeasures(columns, traps, spectrum, rand)


def failed_layer(shape: tuple[int, int, int] | None, reason: str) -> LayerMeasures:
    """The row of a layer that could not be measured; `shape` [k, rows, cols] where it is known."""
    return _unmeasured(shape, "failed", reason)


def skipped_layer(shape: tuple[int, int, int] | None, reason: str) -> LayerMeasures:
    """The row of a layer that was not to be measured."""
    return _unmeasured(shape, "skipped", reason)


def spectral_columns(
    spectrum: Spectrum, *, shape: tuple[int, int, int], options: AnalysisOptions, storage_bits: int
) -> dict[str, object]:
    """Columns that follow from the layer's own eigenvalues alone: scalars, tail, edge, ERG,
    quality.
    """
    n, m = max(shape[1:]), min(shape[1:])
    evals = spectrum.evals
    columns: dict[str, object] = asdict(scalars(evals, n=n, m=m, storage_bits=storage_bits))
    tail = (
        fit_clipped(evals, m=m, storage_bits=storage_bits).tail
        if options.clip_fingers
        else fit_tail(evals, m=m, storage_bits=storage_bits)
    )
    columns |= asdict(tail)
    fitted = tail if isinstance(tail, TailFit) else None
    effective = erg(
        evals,
        xmin=fitted.xmin if fitted else None,
        num_tail=fitted.num_tail if fitted else None,
    )
    columns |= asdict(effective)
    if evals[-1] > 0.0:
        alpha = fitted.alpha if fitted else None
        columns |= asdict(quality(evals, erg_num=effective.erg_num, alpha=alpha))
        columns |= _bulk_columns(evals, n=n, m=m)
    return _in_true_units(columns, spectrum.scale_exponent)


def shuffle_columns(
    spectrum: Spectrum,
    null: tuple[Shuffled, ...],
    rand: Spectrum | None,
    *,
    shape: tuple[int, int, int],
    exponent: int,
    options: AnalysisOptions,
) -> dict[str, object]:
    """Columns of the shuffled layer: `null` holds every replicate, `rand` the spectrum of the
    first.
    """
    n, m = max(shape[1:]), min(shape[1:])
    columns: dict[str, object] = {}
    if rand is not None and spectrum.evals[-1] > 0.0:
        columns["rand_lambda_max"] = _ldexp(float(rand.evals[-1]), rand.scale_exponent)
        columns["rand_distance"] = spectral_distance(spectrum.evals, rand.evals)
    tests = [replicate.test for replicate in null]
    first = tests[0]
    if first is None or any(test is None for test in tests):
        return columns
    done = [test for test in tests if test is not None]
    mean = math.ldexp(float(spectrum.evals.mean()), spectrum.scale_exponent - 2 * exponent)
    sigma = math.sqrt(first.variance * n / mean)
    columns["rand_mp_sigma"] = sigma
    columns["rand_mp_edge_upper"] = _scaled(
        first.variance * (math.sqrt(n) + math.sqrt(m)) ** 2, exponent
    )
    counts = [len(test.traps) for test in done]
    columns["trap_counts"] = counts
    columns["num_traps"] = sum(counts) / len(counts)
    columns["trap_threshold"] = _scaled(first.threshold, exponent)
    columns["trap_p_value"] = min(test.p_value for test in done)
    excess = [trap.excess_rel for test in done for trap in test.traps]
    columns["trap_excess_max"] = max(excess, default=None)
    if rand is not None:
        distance, p_value = ks_test(mean_one(rand.evals), sigma=sigma, gamma=m / n)
        columns["rand_ks_distance"], columns["rand_ks_p_value"] = distance, p_value
    pooled = null if m < MANY_REPLICATES_BELOW else null[:1]
    spectra = [replicate.evals for replicate in pooled if replicate.evals is not None]
    if options.incumbent and len(spectra) == len(pooled):
        fit = incumbent_fit(np.sort(np.concatenate(spectra, axis=None)), n=n, m=m)
        columns["num_traps_ww"] = None if fit is None else fit.num_spikes
    return columns


def ks_test(scaled: Vector, *, sigma: float, gamma: float) -> tuple[float, float]:
    """Kolmogorov-Smirnov distance of ascending mean-1 eigenvalues to the law, and its p-value.

    The p-value treats them as independent (Stephens 1970); they repel each other, so noise gives p
    near 1.
    """
    count = scaled.size
    law = mp_cdf(scaled, sigma=sigma, gamma=gamma)
    steps = np.arange(count + 1) / count
    distance = float(max(np.max(steps[1:] - law), np.max(law - steps[:-1])))
    root = math.sqrt(count)
    return distance, float(kolmogorov((root + 0.12 + 0.11 / root) * distance))


def spectral_distance(evals: Vector, rand_evals: Vector) -> float:
    """√ of the Jensen-Shannon divergence of two ascending spectra, each normalised to sum 1;
    natural log.

    In [0, √ln 2]. Compares the spectra index by index, as WeightWatcher's `rand_distance` does.
    """
    p, q = evals / evals.sum(), rand_evals / rand_evals.sum()
    middle = 0.5 * (p + q)
    divergence = 0.5 * (_relative_entropy(p, middle) + _relative_entropy(q, middle))
    return math.sqrt(max(divergence, 0.0))


def _relative_entropy(p: Vector, q: Vector) -> float:
    start = int(np.searchsorted(p, 0.0, side="right"))
    return float(p[start:] @ np.log(p[start:] / q[start:]))


def _shuffle(
    matrices: torch.Tensor,
    entries: EntryStatistics,
    options: AnalysisOptions,
    seed_key: tuple[str, ...],
    *,
    exponent: int,
    device: torch.device,
) -> tuple[Shuffled, ...]:
    k, rows, cols = matrices.shape
    replicates = options.replicates or (5 if min(rows, cols) < MANY_REPLICATES_BELOW else 1)
    found = []
    for replicate in range(replicates):
        permutations = tuple(
            Permutation(seed_for(*seed_key, "shuffle", replicate, index, options.seed), rows * cols)
            for index in range(k)
        )
        found.append(
            measure_full(
                matrices,
                permutations,
                level=options.level,
                exponent=exponent,
                max_abs=entries.weight_max_abs or 0.0,
                kurtosis=entries.weight_kurtosis,
                device=device,
            )
        )
    return tuple(found)


def _rand_spectrum(null: tuple[Shuffled, ...], exponent: int) -> Spectrum | None:
    evals = null[0].evals
    return None if evals is None else Spectrum.rounded(evals.reshape(-1), 2 * exponent)


def _bulk_columns(evals: Vector, *, n: int, m: int) -> dict[str, object]:
    fit = fit_bulk(mean_one(evals), n=n, m=m)
    if fit is None:
        return {}
    mean = float(evals.mean())
    return {
        "mp_sigma": fit.sigma,
        "mp_edge_lower": _finite(fit.edge_lower * mean),
        "mp_edge_upper": _finite(fit.edge_upper * mean),
        "mp_num_spikes": fit.num_spikes,
        "mp_softrank": fit.edge_upper * mean / float(evals[-1]),
    }


def _trap_rows(replicate: int, null: Shuffled, exponent: int) -> list[dict[str, object]]:
    if null.test is None:
        return []
    return [
        {
            **dict.fromkeys(_TRAP_COLUMNS),
            "replicate": replicate,
            "trap_index": index,
            "lambda": _scaled(trap.eigenvalue, exponent),
            "excess_rel": trap.excess_rel,
            "p_value": trap.p_value,
            "verdict": "unprobed",
        }
        for index, trap in enumerate(null.test.traps, start=1)
    ]


def _unmeasured(shape: tuple[int, int, int] | None, status: str, reason: str) -> LayerMeasures:
    columns = {**_empty_columns(), "status": status, "reason": reason}
    if shape is not None:
        columns |= _shape_columns(shape)
    return LayerMeasures(columns, (), None, None)


def _shape_columns(shape: tuple[int, int, int]) -> dict[str, object]:
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


def _in_true_units(columns: dict[str, object], exponent: int) -> dict[str, object]:
    """Columns computed from λ·2^-exponent, as those of λ; None where λ leaves the range of float64."""
    if exponent == 0:
        return columns
    fixed = dict(columns)
    for name in _LAMBDA_COLUMNS:
        value = columns.get(name)
        if isinstance(value, float):
            fixed[name] = _ldexp(value, exponent)
    alpha, decades = columns.get("alpha"), exponent * math.log10(2.0)
    for name in ("log_norm", "log_spectral_norm", "alpha_hat", "log_alpha_norm"):
        value = columns.get(name)
        if isinstance(value, float):
            power = alpha if name.startswith(("alpha", "log_alpha")) else 1.0
            fixed[name] = value + decades * power if isinstance(power, float) else None
    return fixed


def _empty_columns() -> dict[str, object]:
    return dict.fromkeys(_COLUMNS)


def _scaled(value: float, exponent: int) -> float | None:
    """value·4^exponent; None when it leaves the range of float64."""
    return _ldexp(value, 2 * exponent)


def _ldexp(value: float, exponent: int) -> float | None:
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return None


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


_LAMBDA_COLUMNS = (
    "lambda_max", "lambda_min", "frobenius_norm_sq", "xmin", "xmax", "mp_edge_lower", "mp_edge_upper",
)  # fmt: skip
_COLUMNS = tuple(
    """
    num_rows num_cols n m q receptive_field num_evals num_params status reason
    lambda_max lambda_min frobenius_norm_sq log_norm log_spectral_norm stable_rank matrix_rank
    matrix_entropy weight_mean weight_std weight_kurtosis weight_max_abs l2_norm abs_weight_entropy
    alpha alpha_stderr ks_distance xmin xmax num_tail alpha_hat alpha_hill log_alpha_norm tail_status
    tail_warning mp_sigma mp_edge_lower mp_edge_upper mp_num_spikes mp_softrank
    rand_lambda_max rand_mp_sigma rand_mp_edge_upper rand_ks_distance rand_ks_p_value rand_distance
    num_traps num_traps_ww trap_counts trap_threshold trap_p_value trap_excess_max
    erg_num erg_lambda_min erg_gap erg_delta erg_log_ratio
    quality_discrete quality_free_cauchy quality_inverse_mp quality_levy_wigner quality_r_transform
    htsr_phase spectrum_s shuffle_s device
    """.split()
)
_TRAP_COLUMNS = tuple(
    """
    replicate trap_index lambda excess_rel p_value ipr_left ipr_right localisation_q
    participation_ratio top5_mass top10_mass rank1_mass top_overlap mean_overlap
    jsd jsd_stderr jsd_control_p95 probe_kind num_probes temperature verdict
    """.split()
)
