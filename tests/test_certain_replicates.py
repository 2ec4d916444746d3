"""The replicates that can be made together are those that would be made one by one."""

from __future__ import annotations

import itertools
import math

import pytest

from zoo.spectral.replication import certain_replicates, is_settled
from zoo.spectral.trap_test import ShuffleTest, SliceBulk, Trap

NOISE = SliceBulk(1.0, 4.1, 4.0, 0, 0.5, -1.0, 0, (5.0, math.inf))
NEAR = SliceBulk(1.0, 4.1, 4.0, 0, 0.04, 1.0, 0, (0.5, math.inf))
CLEAR = SliceBulk(1.0, 4.1, 4.0, 1, 1e-9, 40.0, 1, (5.0, 30.0))
WEAK = SliceBulk(1.0, 4.1, 4.0, 1, 1e-3, 4.0, 1, (5.0, 2.0))
OUTCOMES = {
    "none": None,
    "noise": ShuffleTest((NOISE,), ()),
    "near": ShuffleTest((NEAR,), ()),
    "weak": ShuffleTest((WEAK,), (Trap(0, 0, 4.3, 0.1, 1e-3),)),
    "clear": ShuffleTest((CLEAR,), (Trap(0, 0, 9.0, 1.2, 1e-9),)),
}


@pytest.mark.parametrize("fixed", [None, 1, 2, 4])
@pytest.mark.parametrize("is_small", [False, True])
def test_together_as_many_are_made_as_one_by_one(fixed: int | None, is_small: bool) -> None:
    is_staged = fixed is None and not is_small
    for outcomes in itertools.product(OUTCOMES.values(), repeat=5):
        alone = 0
        while alone < (fixed or 5):
            if is_staged and alone and is_settled(outcomes[:alone], level=0.01):
                break
            alone += 1
        together: list[ShuffleTest | None] = []
        while numbers := certain_replicates(together, fixed=fixed, is_staged=is_staged, level=0.01):
            assert numbers.start == len(together)
            for number in numbers:
                if is_staged and together and together[-1] is None:
                    break  # as `device_shuffles` drops what lies behind a shuffle without a bulk
                together.append(outcomes[number])
        assert len(together) == alone
