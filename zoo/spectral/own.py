"""What a layer's own spectrum tells: norms, tail, bulk, ERG condition, quality and phase, composed.

The one composition of these formulas, for measuring and for a refit alike, so that the same stored
spectrum always gives the same numbers. Knows nothing of weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from zoo.cells import out_of_range
from zoo.columns import SCALE, Group
from zoo.spectral.clipped_tail import Clipping, fit_clipped
from zoo.spectral.erg import Erg, erg, mean_one
from zoo.spectral.mp import Bulk, bulk_of, fit_bulk
from zoo.spectral.phase import HtsrPhase, htsr_phase
from zoo.spectral.scalars import Scalars, scalars, without_noise
from zoo.spectral.setol import Quality, quality
from zoo.spectral.snr import Snr, snr
from zoo.spectral.spectrum import Spectrum
from zoo.spectral.tails import MIN_EVALS, NoTail, TailFit, fit_tail

_LOST = "out_of_range: "
"""How the reason of a value begins that leaves float64."""
_NO_TAIL = {
    "too_few": f"too_few: {{rank}} eigenvalues above the rank tolerance, a tail needs {MIN_EVALS}",
    "constant": "constant: all eigenvalues are equal, which have no tail",
}
"""Why there is no tail, by its status."""
_ROUNDING = (
    "too_few: {above} of {rank} eigenvalues are above what rounding makes (delta_noise_edge), a tail needs "
    f"{MIN_EVALS}"
)
"""Why a difference has none that is mostly rounding."""
OWN_REASONS = (_LOST, *(text.partition(" ")[0] for text in _NO_TAIL.values()))
"""How the reasons of an `OwnSpectrum` begin, beside others in the column."""


@dataclass(frozen=True, slots=True)
class OwnSpectrum(Group):
    """Every group of columns that follows from the layer's own eigenvalues and its shape."""

    exponent: Annotated[int, SCALE]
    """Every λ of the groups is in units of 2^exponent."""
    scalars: Scalars
    tail: TailFit | NoTail
    bulk: Bulk | None = None
    """None without a bulk, and when only the tail is asked for, as all below."""
    erg: Erg | None = None
    quality: Quality | None = None
    phase: HtsrPhase | None = None
    snr: Snr | None = None
    num_above_noise: int | None = None
    """Of a difference, eigenvalues above its rounding; no column of this group."""

    @property
    def reason(self) -> str | None:
        """Why columns are NULL that follow from the spectrum: a tail that is not fitted, a value that no
        float64 holds; None where all are there."""
        reasons: list[str] = []
        lost = out_of_range(self) if self.exponent else None
        if lost is not None:
            reasons.append(f"{_LOST}{lost} leaves float64, its logarithm does not")
        rank, above_noise = self.scalars.matrix_rank, self.num_above_noise
        if isinstance(self.tail, NoTail):
            if (
                self.tail.tail_status == "too_few"
                and above_noise is not None
                and above_noise < rank
            ):
                reasons.append(_ROUNDING.format(above=above_noise, rank=rank))
            else:
                reasons.append(_NO_TAIL[self.tail.tail_status].format(rank=rank))
        return "; ".join(reasons) or None


def above(spectrum: Spectrum, floor: float) -> Spectrum:
    """The eigenvalues above `floor` (in units of λ): what is fitted where the others are rounding."""
    if floor <= 0.0:
        return spectrum
    least = math.ldexp(floor, -spectrum.scale_exponent)
    return Spectrum(spectrum.evals[spectrum.evals > least], spectrum.scale_exponent)


def own_tail(
    spectrum: Spectrum, *, m: int, storage_bits: int, clip_fingers: bool
) -> tuple[TailFit | NoTail, Clipping | None]:
    """The tail that everything else stands on, and what was clipped for it (None: not asked for).

    Of a difference `spectrum` is what lies `above` its rounding.
    """
    if not clip_fingers:
        return fit_tail(spectrum.evals, m=m, storage_bits=storage_bits), None
    clipped = fit_clipped(spectrum.evals, m=m, storage_bits=storage_bits)
    return clipped.tail, clipped.clipping


def own_spectrum(
    spectrum: Spectrum,
    tail: TailFit | NoTail,
    *,
    n: int,
    m: int,
    storage_bits: int,
    is_tail_only: bool,
    floor: float = 0.0,
) -> OwnSpectrum:
    """Everything that follows from the k·m eigenvalues of n×m slices and their `own_tail`.

    `is_tail_only`: of all that only the norms and the tail. `floor`: of a difference, the edge of its
    rounding; what lies below it counts as 0 where logarithms are taken.
    """
    evals, exponent = spectrum.evals, spectrum.scale_exponent
    norms = scalars(evals, n=n, m=m, storage_bits=storage_bits)
    counted = int(above(spectrum, floor).evals.size) if floor > 0.0 else None
    if is_tail_only or evals[-1] <= 0.0:
        return OwnSpectrum(exponent, norms, tail, num_above_noise=counted)
    fitted = tail if isinstance(tail, TailFit) else None
    # a tail that reaches the null space is to end in zeros: the logarithms of noise would decide it
    clean = without_noise(evals, m=m, storage_bits=storage_bits)
    if floor > 0.0:
        clean = np.where(evals > math.ldexp(floor, -exponent), clean, 0.0)
        if clean[-1] <= 0.0:  # nothing but rounding
            law = fit_bulk(mean_one(evals), n=n, m=m)
            bulk = None if law is None else bulk_of(law, evals)
            ratios = snr(clean, n=n, m=m, edge=None if bulk is None else bulk.mp_edge_upper)
            return OwnSpectrum(exponent, norms, tail, bulk, snr=ratios, num_above_noise=counted)
    mean_one_evals = mean_one(evals)
    clean_mean_one_evals = mean_one_evals if clean is evals else mean_one(clean)
    effective = erg(
        clean,
        xmin=fitted.xmin if fitted else None,
        num_tail=fitted.num_tail if fitted else None,
        mean_one_evals=clean_mean_one_evals,
    )
    alpha = fitted.alpha if fitted else None
    overlap = quality(
        clean, erg_num=effective.erg_num, alpha=alpha, mean_one_evals=clean_mean_one_evals
    )
    law = fit_bulk(mean_one_evals, n=n, m=m)
    phase = htsr_phase(
        evals,
        n=n,
        m=m,
        matrix_rank=norms.matrix_rank,
        tail=tail,
        bulk=law,
        mean_one_evals=mean_one_evals,
    )
    bulk = None if law is None else bulk_of(law, evals)
    ratios = snr(clean, n=n, m=m, edge=None if bulk is None else bulk.mp_edge_upper)
    return OwnSpectrum(
        exponent, norms, tail, bulk, effective, overlap, HtsrPhase(phase), ratios, counted
    )
