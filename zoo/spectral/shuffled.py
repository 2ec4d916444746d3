"""What the shuffles of a layer tell: the trap test over all of them, and the spectrum of the first.

A stored spectrum and the spectrum of its shuffle give the same numbers to a refit as to the measurement.
Knows nothing of matrices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from jaxtyping import Float64

from zoo.columns import COUNT, LAMBDA, ONE, SCALE, SMALL, Group, Since, Unit
from zoo.errors import ArgumentError
from zoo.spectral.arrays import ArrayLike, Doubles, Vector
from zoo.spectral.erg import mean_one
from zoo.spectral.incumbent import incumbent_fit
from zoo.spectral.inputs import spectrum_of
from zoo.spectral.localisation import TrapCauses
from zoo.spectral.mp import ks_distance
from zoo.spectral.replication import MANY_REPLICATES_BELOW, combined, standard_error
from zoo.spectral.spectrum import Spectrum
from zoo.spectral.trap_test import ShuffleTest


@dataclass(frozen=True, slots=True)
class TrapSummary(Group):
    """The calibrated trap test over the replicates. Another level can be asked for later."""

    rand_mp_sigma: Annotated[float, ONE]
    """Marchenko-Pastur σ of the first shuffle, mean-1 units."""
    rand_mp_edge_upper: Annotated[float, LAMBDA]
    """Upper edge of the shuffle's law."""
    num_traps: Annotated[float, COUNT]
    """Calibrated traps: mean over the replicates."""
    num_traps_stderr: Annotated[float | None, COUNT, Since(2)]
    """Standard error of num_traps over the replicates; NULL with one replicate."""
    num_traps_tw: Annotated[float, COUNT, Since(2)]
    """Traps of the same test without the correction for the kurtosis of the entries, mean over the
    replicates: the papers' definition with a margin calibrated for Gaussian entries. Heavy entries raise it."""
    trap_counts: Annotated[tuple[int, ...], COUNT, SMALL]
    """Calibrated traps of every replicate, in order."""
    trap_threshold: Annotated[float, LAMBDA]
    """Edge plus Tracy-Widom margin of the first replicate."""
    trap_p_value: Annotated[float, ONE]
    """Probability that noise of these entries shows a λ_max as large, combined over the replicates so that it
    is uniform when there is no trap."""
    trap_excess_max: Annotated[float | None, ONE]
    """max(λ_rand)/edge − 1 over the traps; NULL without."""


@dataclass(frozen=True, slots=True)
class RandSpectrum(Group):
    """What takes the whole shuffled spectrum: its distance from the layer's own, and from the law."""

    rand_ks_distance: Annotated[float | None, ONE]
    """Kolmogorov-Smirnov distance of the shuffled spectrum to its law; NULL, as the two below, when only
    the top of it was computed."""
    rand_ks_p_value: Annotated[float | None, ONE]
    """p-value of that distance, in [0, 1]."""
    rand_distance: Annotated[float | None, Unit("√nat")]
    """√ of the Jensen-Shannon divergence between the spectra of the layer and of its shuffle."""


@dataclass(frozen=True, slots=True)
class Shuffles(Group):
    """Every column that the shuffles give."""

    exponent: Annotated[int, SCALE]
    rand_lambda_max: Annotated[float, LAMBDA]
    """Largest eigenvalue of the first shuffle."""
    test: TrapSummary | None
    """None when a slice has no bulk."""
    rand: RandSpectrum | None
    causes: TrapCauses | None
    """None where no modes were computed."""
    num_traps_ww: Annotated[int | None, COUNT]
    """Traps by WeightWatcher's recipe."""


def shuffle_columns(
    spectrum: Spectrum,
    tests: Sequence[ShuffleTest | None],
    whole: Sequence[Float64[Doubles, "k m"] | None],
    *,
    lambda_max: float,
    n: int,
    m: int,
    exponent: int,
    near: float | None,
    incumbent: bool,
) -> tuple[Shuffles, Spectrum | None]:
    """Every column but the causes of the traps, and the spectrum of the first shuffle where all of it is known.

    `tests`, `whole`: of every replicate; all eigenvalues in units of 2^exponent, or None where they are not to
    be looked at. `lambda_max`: of the first. `incumbent`: count as WeightWatcher does, too.
    """
    test = over_replicates(spectrum, tests, n=n, m=m, exponent=exponent // 2, near=near)
    first = whole[0]
    if first is None:
        return Shuffles(exponent, lambda_max, test, None, None, None), None
    rand = Spectrum.rounded(first.reshape(-1), exponent)
    sigma = None if test is None else test.rand_mp_sigma
    beside = beside_shuffle(spectrum, rand, sigma=sigma, n=n, m=m)
    num_traps_ww = None
    if incumbent:
        # the incumbent pools every replicate's where all slices together have fewer than 100
        is_pooled = rand.evals.size < MANY_REPLICATES_BELOW
        pooled = [evals for evals in whole if evals is not None] if is_pooled else [rand.evals]
        num_traps_ww = incumbent_count(pooled, n=n, m=m)
    return Shuffles(exponent, lambda_max, test, beside, None, num_traps_ww), rand


def over_replicates(
    spectrum: Spectrum,
    tests: Sequence[ShuffleTest | None],
    *,
    n: int,
    m: int,
    exponent: int,
    near: float | None,
) -> TrapSummary | None:
    """The tests of all replicates as one, in units of 4^exponent; None when a replicate has none.

    `near`: the p-value of the first up to which there are more (`zoo.spectral.replication`); None: they
    were asked for from the beginning.
    """
    done = [test for test in tests if test is not None]
    if len(done) < len(tests) or not done:
        return None
    first, counts = done[0], tuple(len(test.traps) for test in done)
    excess = [trap.excess_rel for test in done for trap in test.traps]
    return TrapSummary(
        rand_mp_sigma=rand_sigma(spectrum, first, n=n, exponent=exponent),
        rand_mp_edge_upper=first.variance * (math.sqrt(n) + math.sqrt(m)) ** 2,
        num_traps=sum(counts) / len(counts),
        num_traps_stderr=standard_error(counts),
        num_traps_tw=sum(test.num_traps_tw for test in done) / len(done),
        trap_counts=counts,
        trap_threshold=first.threshold,
        trap_p_value=combined([test.p_value for test in done], near=near),
        trap_excess_max=max(excess, default=None),
    )


def rand_sigma(spectrum: Spectrum, test: ShuffleTest, *, n: int, exponent: int) -> float:
    """σ of the shuffle's law in mean-1 units: √(v·n / mean λ); a shuffle keeps the mean λ."""
    mean = math.ldexp(float(spectrum.evals.mean()), spectrum.scale_exponent - 2 * exponent)
    return math.sqrt(test.variance * n / mean)


def beside_shuffle(
    spectrum: Spectrum, rand: Spectrum, *, sigma: float | None, n: int, m: int
) -> RandSpectrum:
    """The layer's spectrum beside `rand`, its shuffle's; `sigma` of the shuffle's law, if it has one."""
    apart, distance, p_value = None, None, None
    if spectrum.evals[-1] > 0.0:
        apart = spectral_distance(spectrum.evals, rand.evals)
    if sigma is not None:
        distance, p_value = ks_test(mean_one(rand.evals), sigma=sigma, gamma=m / n)
    return RandSpectrum(distance, p_value, apart)


def incumbent_count(
    replicates: Sequence[Float64[Doubles, " ..."]], *, n: int, m: int
) -> int | None:
    """`num_traps_ww`: WeightWatcher's count on the pooled eigenvalues of the replicates."""
    fit = incumbent_fit(np.sort(np.concatenate(replicates, axis=None)), n=n, m=m)
    return None if fit is None else fit.num_spikes


def ks_test(evals: ArrayLike, *, sigma: float, gamma: float) -> tuple[float, float]:
    """Kolmogorov-Smirnov distance of mean-1 `evals` to the law, and its p-value.

    The p-value treats them as independent (Stephens 1970). They repel each other, so that noise
    gives p near 1; a small p means another law or strong traps.
    """
    from scipy.special import kolmogorov  # here: the classes above are read without it, in no time

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


def _relative_entropy(p: Vector, q: Vector) -> float:
    start = int(p.searchsorted(0.0, side="right"))
    return float(p[start:] @ np.log(p[start:] / q[start:]))
