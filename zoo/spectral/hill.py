"""The Hill estimate at the median eigenvalue, as layer-wise pruning and learning rates use it.

Knows nothing of Kolmogorov-Smirnov distances or of the search for xmin (see `tails`).
"""

from __future__ import annotations

import numpy as np

from zoo.spectral.arrays import ArrayLike
from zoo.spectral.inputs import tail_of

MIN_EVALS = 2
"""The estimate needs an eigenvalue above the median, so at least two in all."""


def alpha_hill(nonzero: ArrayLike) -> float | None:
    """alpha = 1 + k / Σ ln(λ/λ_mid) over the upper half of the eigenvalues; > 1.

    `nonzero`: those above the rank tolerance (`above_tolerance`), N of them, put in ascending order.
    λ_mid = nonzero[N // 2] and k = N − N // 2, λ_mid itself counted, exactly as in the code of
    TempBalance (Zhou et al. 2023) and AlphaPruning (Lu et al. 2024), `fix_fingers = "xmin_mid"`; the
    papers' formula takes the next value below as λ_mid. None when fewer than two eigenvalues remain
    or the upper half is flat. Raises ArgumentError for values ≤ 0.
    """
    nonzero = tail_of(nonzero, at_least=0)
    if nonzero.size < MIN_EVALS:
        return None
    upper = nonzero[nonzero.size // 2 :]
    total = float(np.log1p((upper - upper[0]) / upper[0]).sum())
    return 1.0 + upper.size / total if total > 0.0 else None
