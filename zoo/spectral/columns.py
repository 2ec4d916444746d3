"""Columns of `layers` that follow from eigenvalues: the layer's own, and its shuffles'.

The one composition of the formulas, for measuring and for `refit` alike, so that the same stored
spectra always give the same rows. Knows nothing of weights.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.special import kolmogorov

from zoo.errors import ArgumentError
from zoo.spectral.arrays import ArrayLike, Vector
from zoo.spectral.clipped_tail import fit_clipped
from zoo.spectral.erg import erg, mean_one
from zoo.spectral.incumbent import incumbent_fit
from zoo.spectral.inputs import spectrum_of
from zoo.spectral.mp import MpFit, fit_bulk, ks_distance
from zoo.spectral.phase import htsr_phase
from zoo.spectral.scalars import scalars, without_noise
from zoo.spectral.setol import quality
from zoo.spectral.spectrum import Spectrum
from zoo.spectral.tails import TailFit, fit_tail
from zoo.spectral.trap_test import ShuffleTest

Columns = dict[str, object]


@runtime_checkable  # the tests check types at run time
class Slotted(Protocol):
    """A dataclass with `slots=True`."""

    __slots__: tuple[str, ...]


_LAMBDA_COLUMNS = (
    "lambda_max", "lambda_min", "frobenius_norm_sq", "xmin", "xmax",
    "mp_edge_lower", "mp_edge_upper",
)  # fmt: skip
_LOG_COLUMNS = ("log_norm", "log_spectral_norm")
_ALPHA_LOG_COLUMNS = ("alpha_hat", "log_alpha_norm")


def spectral_columns(
    spectrum: Spectrum, *, n: int, m: int, storage_bits: int, clip_fingers: bool, is_tail_only: bool
) -> Columns:
    """Scalars, tail, bulk, ERG and quality of the layer's own spectrum, k·m eigenvalues.

    `is_tail_only`: the first two.
    """
    evals = spectrum.evals
    norms = scalars(evals, n=n, m=m, storage_bits=storage_bits)
    columns = fields_of(norms)
    tail = (
        fit_clipped(evals, m=m, storage_bits=storage_bits).tail
        if clip_fingers
        else fit_tail(evals, m=m, storage_bits=storage_bits)
    )
    columns |= fields_of(tail)
    if is_tail_only:
        return _in_true_units(columns, spectrum.scale_exponent)
    fitted = tail if isinstance(tail, TailFit) else None
    if evals[-1] <= 0.0:
        columns |= fields_of(erg(evals, xmin=None, num_tail=None))
        return _in_true_units(columns, spectrum.scale_exponent)
    # a tail that reaches the null space is to end in zeros: the logarithms of noise would decide it
    clean = without_noise(evals, m=m, storage_bits=storage_bits)
    scaled = mean_one(evals)
    clean_scaled = scaled if clean is evals else mean_one(clean)
    effective = erg(
        clean,
        xmin=fitted.xmin if fitted else None,
        num_tail=fitted.num_tail if fitted else None,
        scaled=clean_scaled,
    )
    columns |= fields_of(effective)
    alpha = fitted.alpha if fitted else None
    columns |= fields_of(
        quality(clean, erg_num=effective.erg_num, alpha=alpha, scaled=clean_scaled)
    )
    bulk = fit_bulk(scaled, n=n, m=m)
    columns |= _bulk_columns(evals, bulk)
    columns["htsr_phase"] = htsr_phase(
        evals, n=n, m=m, matrix_rank=norms.matrix_rank, tail=tail, bulk=bulk, scaled=scaled
    )
    return _in_true_units(columns, spectrum.scale_exponent)


def shuffle_columns(
    spectrum: Spectrum, tests: Sequence[ShuffleTest | None], *, n: int, m: int, exponent: int
) -> Columns:
    """Edge and traps of the shuffles, one test a replicate; values in units of 4^exponent."""
    done = [test for test in tests if test is not None]
    if len(done) < len(tests) or not done:
        return {}
    first, counts = done[0], [len(test.traps) for test in done]
    excess = [trap.excess_rel for test in done for trap in test.traps]
    edge = first.variance * (math.sqrt(n) + math.sqrt(m)) ** 2
    return {
        "rand_mp_sigma": rand_sigma(spectrum, first, n=n, exponent=exponent),
        "rand_mp_edge_upper": scaled(edge, 2 * exponent),
        "trap_counts": counts,
        "num_traps": sum(counts) / len(counts),
        "trap_threshold": scaled(first.threshold, 2 * exponent),
        "trap_p_value": min(test.p_value for test in done),
        "trap_excess_max": max(excess, default=None),
    }


def rand_sigma(spectrum: Spectrum, test: ShuffleTest, *, n: int, exponent: int) -> float:
    """σ of the shuffle's law in mean-1 units: √(v·n / mean λ); a shuffle keeps the mean λ."""
    mean = math.ldexp(float(spectrum.evals.mean()), spectrum.scale_exponent - 2 * exponent)
    return math.sqrt(test.variance * n / mean)


def rand_spectrum_columns(
    spectrum: Spectrum, rand: Spectrum, *, sigma: float | None, n: int, m: int
) -> Columns:
    """Columns that need the whole shuffled spectrum: its distance from the layer's and the law."""
    columns: Columns = {}
    if spectrum.evals[-1] > 0.0:
        columns["rand_distance"] = spectral_distance(spectrum.evals, rand.evals)
    if sigma is not None:
        distance, p_value = ks_test(mean_one(rand.evals), sigma=sigma, gamma=m / n)
        columns |= {"rand_ks_distance": distance, "rand_ks_p_value": p_value}
    return columns


def incumbent_count(replicates: Sequence[Vector], *, n: int, m: int) -> int | None:
    """`num_traps_ww`: WeightWatcher's count on the pooled eigenvalues of the replicates."""
    fit = incumbent_fit(np.sort(np.concatenate(replicates, axis=None)), n=n, m=m)
    return None if fit is None else fit.num_spikes


def ks_test(evals: ArrayLike, *, sigma: float, gamma: float) -> tuple[float, float]:
    """Kolmogorov-Smirnov distance of mean-1 `evals` to the law, and its p-value.

    The p-value treats them as independent (Stephens 1970). They repel each other, so that noise
    gives p near 1; a small p means another law or strong traps.
    """
    evals = spectrum_of(evals)
    if evals.size == 0:
        raise ArgumentError("got no eigenvalue; wanted at least one")
    distance = ks_distance(evals, sigma=sigma, gamma=gamma)
    root = math.sqrt(evals.size)
    return distance, float(kolmogorov((root + 0.12 + 0.11 / root) * distance))


def spectral_distance(evals: ArrayLike, rand_evals: ArrayLike) -> float:
    """√ of the Jensen-Shannon divergence of two ascending spectra, each normalised to sum 1.

    Natural logarithm, in [0, √ln 2]. Compares them index by index, as WeightWatcher does. Raises
    ArgumentError for spectra of different sizes, and for one without a positive eigenvalue.
    """
    evals, rand_evals = spectrum_of(evals), spectrum_of(rand_evals)
    if evals.size != rand_evals.size or evals.size == 0 or evals[-1] <= 0 or rand_evals[-1] <= 0:
        raise ArgumentError(
            f"got {evals.size} and {rand_evals.size} eigenvalues; wanted two spectra of one size, "
            "neither of them all zero"
        )
    p, q = evals / evals.sum(), rand_evals / rand_evals.sum()
    middle = 0.5 * (p + q)
    divergence = 0.5 * (_relative_entropy(p, middle) + _relative_entropy(q, middle))
    return math.sqrt(max(divergence, 0.0))


def fields_of(value: Slotted) -> Columns:
    """The fields of a slotted dataclass by name: `asdict` without its deep copies."""
    return {name: getattr(value, name) for name in value.__slots__}


def scaled(value: float, exponent: int) -> float | None:
    """value·2^exponent; None when it leaves the range of float64 (subnormal: has lost digits)."""
    try:
        result = math.ldexp(value, exponent)
    except OverflowError:
        return None
    return result if abs(result) >= sys.float_info.min or value == 0.0 else None


def _bulk_columns(evals: Vector, fit: MpFit | None) -> Columns:
    if fit is None:
        return {}
    mean = float(evals.mean())
    return {
        "mp_sigma": fit.sigma,
        "mp_edge_lower": fit.edge_lower * mean,
        "mp_edge_upper": fit.edge_upper * mean,
        "mp_num_spikes": fit.num_spikes,
        "mp_softrank": fit.edge_upper * mean / float(evals[-1]),
    }


def _in_true_units(columns: Columns, exponent: int) -> Columns:
    """Columns computed from λ·2^-exponent, as those of λ."""
    if exponent == 0:
        return columns
    fixed, decades = dict(columns), exponent * math.log10(2.0)
    lost: list[str] = []
    for name in _LAMBDA_COLUMNS:
        value = columns.get(name)
        if isinstance(value, float):
            fixed[name] = scaled(value, exponent)
            if fixed[name] is None:
                lost.append(name)
    if lost:
        fixed["reason"] = f"out_of_range: {lost[0]} leaves float64, its logarithm does not"
    alpha = columns.get("alpha")
    for names, power in ((_LOG_COLUMNS, 1.0), (_ALPHA_LOG_COLUMNS, alpha)):
        for name in names:
            value = columns.get(name)
            if isinstance(value, float) and isinstance(power, float):
                fixed[name] = value + decades * power
    return fixed


def _relative_entropy(p: Vector, q: Vector) -> float:
    start = int(p.searchsorted(0.0, side="right"))
    return float(p[start:] @ np.log(p[start:] / q[start:]))
