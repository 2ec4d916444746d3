"""Columns of the optional tail fits: alternatives, goodness of fit, clipped fingers.

Off by default (`AnalysisOptions`); where an option is off its columns are None. Knows eigenvalues
only; FARMS, which needs the matrix, is added by the layer.
"""

from __future__ import annotations

import math

import numpy as np

from zoo.spectral.bootstrap import goodness_of_fit
from zoo.spectral.clipped_tail import fit_clipped
from zoo.spectral.columns import Columns, fields_of, scaled
from zoo.spectral.spectrum import Spectrum
from zoo.spectral.tail_models import fit_tail_models
from zoo.spectral.tails import TailFit, fit_tail

EXTRA_COLUMNS = (
    "num_fingers", "raw_alpha", "farms_alpha", "farms_alpha_hill", "gof_p_value", "gof_stderr",
    "tpl_alpha", "tpl_rate", "tpl_ratio", "tpl_p_value", "lognormal_mu", "lognormal_sigma",
    "lognormal_ratio", "lognormal_p_value", "exponential_rate", "exponential_ratio",
    "exponential_p_value",
)  # fmt: skip
"""Every column of the optional fits, in table order."""


def tail_extras(
    spectrum: Spectrum,
    *,
    m: int,
    storage_bits: int,
    clip_fingers: bool,
    tail_models: bool,
    num_draws: int,
    rng: np.random.Generator,
) -> Columns:
    """The columns asked for, of the tail that `spectral_columns` fits with the same arguments.

    `num_draws` synthetic sets give the goodness of fit; 0: none. Rates are in 1/λ.
    """
    evals, columns = spectrum.evals, dict[str, object]()
    kept, tail = evals, fit_tail(evals, m=m, storage_bits=storage_bits)
    if clip_fingers:
        clipped = fit_clipped(evals, m=m, storage_bits=storage_bits)
        columns |= {"num_fingers": clipped.num_fingers, "raw_alpha": clipped.raw_alpha}
        kept, tail = evals[: evals.size - clipped.num_fingers], clipped.tail
    if not isinstance(tail, TailFit):
        return columns
    if tail_models:
        columns |= _in_true_units(
            fields_of(fit_tail_models(kept[kept.size - tail.num_tail :])), spectrum.scale_exponent
        )
    if num_draws:
        fit = goodness_of_fit(
            kept, tail, m=m, storage_bits=storage_bits, num_draws=num_draws, rng=rng
        )
        columns |= {"gof_p_value": fit.gof_p_value, "gof_stderr": fit.gof_stderr}
    return columns


def _in_true_units(columns: Columns, exponent: int) -> Columns:
    """Models of λ·2^-exponent, as those of λ; the likelihood itself is no column."""
    fixed = {name: value for name, value in columns.items() if name in EXTRA_COLUMNS}
    if exponent:
        for name in ("tpl_rate", "exponential_rate"):
            rate = fixed[name]
            fixed[name] = scaled(rate, -exponent) if isinstance(rate, float) else None
        mean = fixed["lognormal_mu"]
        if isinstance(mean, float):
            fixed["lognormal_mu"] = mean + exponent * math.log(2.0)
    return fixed
