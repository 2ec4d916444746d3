"""The optional tail fits: alternatives to the power law, its goodness of fit, clipped fingers.

Off by default (`AnalysisOptions`). Knows eigenvalues only; FARMS, which needs the matrix, is added by the
layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from zoo.columns import SCALE, Group
from zoo.spectral.bootstrap import GoodnessOfFit, goodness_of_fit
from zoo.spectral.clipped_tail import Clipping
from zoo.spectral.spectrum import Spectrum
from zoo.spectral.tail_models import TailModels, fit_tail_models
from zoo.spectral.tails import NoTail, TailFit


@dataclass(frozen=True, slots=True)
class TailExtras(Group):
    """The optional groups that follow from the layer's own spectrum; None what was not asked for."""

    exponent: Annotated[int, SCALE]
    clipping: Clipping | None
    goodness: GoodnessOfFit | None
    models: TailModels | None


def tail_extras(
    spectrum: Spectrum,
    tail: TailFit | NoTail,
    clipping: Clipping | None,
    *,
    m: int,
    storage_bits: int,
    tail_models: bool,
    num_draws: int,
    rng: np.random.Generator,
) -> TailExtras:
    """The fits asked for, of the `own_tail` of `spectrum`.

    `num_draws` synthetic sets give the goodness of fit; 0: none.
    """
    goodness, models = None, None
    if isinstance(tail, TailFit):
        num_clipped = 0 if clipping is None else clipping.num_fingers
        kept = spectrum.evals[: spectrum.evals.size - num_clipped]
        if tail_models:
            models = fit_tail_models(kept[kept.size - tail.num_tail :])
        if num_draws:
            goodness = goodness_of_fit(
                kept, tail, m=m, storage_bits=storage_bits, num_draws=num_draws, rng=rng
            )
    return TailExtras(spectrum.scale_exponent, clipping, goodness, models)
