"""How often a layer is shuffled, and what several shuffles say together.

One shuffle of a layer with a trap near the threshold counts it or not by chance, and one of a layer
without traps says all there is to say. So `replicates = "auto"` looks at the first shuffle: where λ_max lies
far below the threshold (p above ten times the level) it is the only one. Otherwise there are up to five;
two are enough when both count the same traps, all of them far beyond the threshold in both.

The p-values of the replicates are combined by the Cauchy combination test (Liu and Xie 2020), which
stays valid when they depend on each other. The first one has been used for the decision: given that it
was at most ten times the level, it is uniform up to there. So it enters the combination divided by that
bound, and the result is multiplied by it. Without a trap the outcome is uniform on (0, 1) by construction,
however many replicates there were.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from zoo.spectral.trap_test import ShuffleTest

MANY_REPLICATES_BELOW = 100
"""Smaller side of a matrix below which five shuffles are made whatever the first one shows."""
MOST_REPLICATES = 5
"""Shuffles of a layer under `auto` at most."""
_FAR_BELOW = 10.0
"""A first shuffle whose p-value is more than so many times the level needs no second."""
FAR_BEYOND_UNITS = 8.0
"""Tracy-Widom units beyond the threshold from which every shuffle shows a trap: an entry planted 8 units
above the centre of the law is found in at least 98 % of the draws."""
_LARGEST_P = 0.99
"""Larger p-values count as this: tan(π(½ − p)) leaves every bound as p nears 1, and one shuffle
with an unusually small λ_max would outweigh four clear traps."""


def near_p(level: float) -> float:
    """The largest p-value of a first shuffle that asks for a second, at this level of the trap test."""
    return min(_FAR_BELOW * level, 0.5)


def staged_up_to(replicates: int | None, *, m: int, level: float) -> float | None:
    """`near_p` where the first shuffle decides; None where the number of shuffles is fixed.

    `replicates`: the number the user fixed, None for `auto`. `m`: smaller side of the matrix.
    """
    return None if replicates is not None or m < MANY_REPLICATES_BELOW else near_p(level)


def is_settled(tests: Sequence[ShuffleTest | None], *, level: float) -> bool:
    """True when the replicates so far need no other: see above. One that has no bulk never will."""
    done = [test for test in tests if test is not None]
    if len(done) < len(tests) or len(done) >= MOST_REPLICATES:
        return True
    if len(done) == 1:
        return done[0].p_value > near_p(level)
    counts = {len(test.traps) for test in done}
    return len(counts) == 1 and all(map(_is_clear, done))


def certain_replicates(
    tests: Sequence[ShuffleTest | None], *, fixed: int | None, is_staged: bool, level: float
) -> range:
    """Numbers of the replicates that will be made next whatever they show: they can be made together.

    The first by itself, which the others take the bulk of the entries from. `fixed`: how many were asked for, if any.
    `is_staged`: the first decides (`staged_up_to`). Empty when there are enough.
    """
    done, most = len(tests), fixed or MOST_REPLICATES
    if done == 0:
        return range(1)
    if is_staged and is_settled(tests, level=level):
        return range(0)
    if is_staged and done == 1 and tests[0] is not None and _is_clear(tests[0]):
        return range(1, min(2, most))
    return range(done, most)


def _is_clear(test: ShuffleTest) -> bool:
    """True when no eigenvalue of the shuffle lies where another shuffle might count it otherwise."""
    return bool(test.traps) and (
        test.lowest_trap_margin > FAR_BEYOND_UNITS and test.highest_bulk_margin > 1.0
    )


def combined(p_values: Sequence[float], *, near: float | None) -> float:
    """One p-value of those of the replicates, in (0, 1].

    `near`: there are others than the first only because that was at most so much; None: they were
    asked for from the beginning.
    """
    first, *others = p_values
    if not others:
        return first
    if near is None:
        return cauchy_combination(p_values)
    return near * cauchy_combination([first / near, *others])


def cauchy_combination(p_values: Sequence[float]) -> float:
    """P(C > mean tan(π(½ − p))) with C standard Cauchy (Liu and Xie 2020, equal weights), in (0, 1].

    Uniform when the p-values are uniform and independent, and at small values when they depend.
    """
    capped = [min(p, _LARGEST_P) for p in p_values]
    mean = math.fsum(1.0 / math.tan(math.pi * p) for p in capped) / len(capped)
    return min(math.atan2(1.0, mean) / math.pi, 1.0)


def standard_error(counts: Sequence[int]) -> float | None:
    """Standard error of the mean of `counts`, from their spread; None for a single one."""
    if len(counts) < 2:
        return None
    mean = sum(counts) / len(counts)
    spread = math.fsum((count - mean) ** 2 for count in counts) / (len(counts) - 1)
    return math.sqrt(spread / len(counts))
