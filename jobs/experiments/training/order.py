"""The order of the pictures in every epoch: a function of seed and epoch alone, the same on every device.

So a run that was interrupted goes on with the batches it would have had, and no generator's state is kept.
"""

from __future__ import annotations

import torch

_GOLDEN = -7046029254386353131
"""2^64 over the golden ratio, as a signed number: SplitMix64's increment."""
_MIX1, _MIX2 = -4658895280553007687, -7723592293110705685
"""The two multipliers of SplitMix64's finaliser."""
_ONE_EPOCH, _ONE_SEED = 1 << 20, 1 << 44
"""Distances of the counters of two epochs and of two seeds: a run has fewer than 2^20 pictures."""


def orders(seeds: torch.Tensor, first_epoch: int, epochs: int, count: int) -> torch.Tensor:
    """[epochs, runs, count]: a permutation of `count` pictures for each epoch and seed, int64."""
    device = seeds.device
    epoch = torch.arange(first_epoch, first_epoch + epochs, device=device)
    counter = (
        torch.arange(count, device=device)
        + epoch[:, None, None] * _ONE_EPOCH
        + seeds[None, :, None] * _ONE_SEED
    )
    return _mixed(counter).argsort(dim=-1, stable=True)


def _mixed(counter: torch.Tensor) -> torch.Tensor:
    """SplitMix64 of each counter: integers that look random; products wrap around."""
    z = counter * _GOLDEN
    z = (z ^ _shifted(z, 30)) * _MIX1
    z = (z ^ _shifted(z, 27)) * _MIX2
    return z ^ _shifted(z, 31)


def _shifted(z: torch.Tensor, bits: int) -> torch.Tensor:
    """Logical shift right of 64 bits; torch's own shift carries the sign along."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
