"""How long a layer takes, from its shape and the options alone: seconds of one thread of the machine that
`benchmarks/estimates.py` was run on. `jobs.units.speed` says how much slower this one is.

What a header cannot tell is how many traps there are, and each costs shuffles and a look at its mode. A
trained model has them in about three layers of ten, so a single layer may take a third or three times of
its estimate, and a model of many layers about what is said.
"""

from __future__ import annotations

from zoo.options import FULL_SHUFFLE_UP_TO, AnalysisOptions

_SECONDS_PER_LAYER = 2e-3
"""Whatever its size,"""
_SECONDS_PER_SHUFFLED_LAYER = 3e-3
"""and this more where it is shuffled,"""
_SECONDS_PER_CUBE = 6e-11
"""one float64 eigenvalue solve of side m takes about this times m³ on one thread of a 2020s server core,"""
_SECONDS_PER_PRODUCT = 2.2e-11
"""the Gram product before it this times n·m²,"""
_SECONDS_PER_ENTRY = 6e-9
"""statistics and conversions this times n·m,"""
_SECONDS_PER_SHUFFLE = 1e-3
"""a shuffle this, whatever its size,"""
_SECONDS_PER_SHUFFLED = 1e-8
"""and, with its full spectrum, which costs a second solve, this times n·m,"""
_SECONDS_PER_TOP = 7e-8
"""or with the search for its largest eigenvalues this. Measured, m from 64 to 2,880."""
_TRAPPED_SHARE = 0.3
"""Layers of a trained model that have traps,"""
_UNTRAPPED_SHUFFLES = 1.3
"""shuffles of one without, under `replicates = "auto"`,"""
_MODES_FACTOR = 2.0
"""and what its shuffles cost where the modes of its traps are looked at."""


def layer_seconds(n: int, m: int, *, num_slices: int, options: AnalysisOptions) -> float:
    """Of a layer of `num_slices` slices with larger side `n` and smaller side `m`."""
    solve = m**3 * _SECONDS_PER_CUBE + n * m * m * _SECONDS_PER_PRODUCT
    own = _SECONDS_PER_LAYER + num_slices * (solve + n * m * _SECONDS_PER_ENTRY)
    if options.shuffle_mode == "none":
        return own
    shuffle = _SECONDS_PER_SHUFFLE + num_slices * _one_shuffle(n, m, solve, options)
    return own + _SECONDS_PER_SHUFFLED_LAYER + _num_shuffles(m, options) * shuffle


def _one_shuffle(n: int, m: int, solve: float, options: AnalysisOptions) -> float:
    """Of one slice."""
    mode = options.shuffle_mode
    if mode == "full" or (mode == "auto" and m <= FULL_SHUFFLE_UP_TO):
        return solve + n * m * _SECONDS_PER_SHUFFLED
    return n * m * _SECONDS_PER_TOP


def _num_shuffles(m: int, options: AnalysisOptions) -> float:
    """Shuffles that a layer costs on average, those whose modes are looked at counted more than once."""
    from zoo.spectral.replication import MANY_REPLICATES_BELOW, MOST_REPLICATES

    trapped: float = options.fixed_replicates or MOST_REPLICATES
    untrapped = trapped
    if options.fixed_replicates is None and m >= MANY_REPLICATES_BELOW:
        untrapped = _UNTRAPPED_SHUFFLES
    factor = _MODES_FACTOR if options.modes else 1.0
    return _TRAPPED_SHARE * trapped * factor + (1.0 - _TRAPPED_SHARE) * untrapped
