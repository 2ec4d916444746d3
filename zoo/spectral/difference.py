"""What a difference W − W_base is made of: how large it is, how much of it moved, how much is rounding.

A fine-tune is saved in some type of numbers, and each of its entries is rounded to the nearest one. The
error lies evenly within half a unit in the last place (ulp) of the entry, so its variance is ulp²/12. Of a
small update little else may be left: the rounding has the spectrum of a random matrix, up to an edge which
is known. Knows nothing of files or layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from zoo.columns import COUNT, LAMBDA, ONE, Group, Since
from zoo.spectral.arrays import Tensor
from zoo.spectral.tracy_widom import johnstone, tw1_quantile

_BLOCK_ENTRIES = 1 << 18
"""Entries looked at together: 2 MiB of float64."""
WORTH_A_WORD = 0.1
"""Share of rounding from which the row says so. At a tenth alpha is too large by a tenth: even the
eigenvalues above the edge are moved by what lies below it (docs/science.md)."""
_EDGE_LEVEL = 0.01
"""The chance that rounding alone makes an eigenvalue beyond its edge."""


@dataclass(frozen=True, slots=True)
class Difference(Group):
    """Size of W − W_base and what part of it rounding may have made. NULL in rows of the weights themselves."""

    delta_relative: Annotated[float | None, ONE, Since(2)] = None
    """‖W − W_base‖/‖W_base‖ (Frobenius); two matrices that have nothing to do with each other are near 1.4.
    NULL where W_base is 0 everywhere, and in rows of the weights themselves, as all columns `delta_…`."""
    delta_changed: Annotated[float | None, ONE, Since(2)] = None
    """Share of the entries that are not exactly those of the base, in (0, 1]."""
    delta_noise_share: Annotated[float | None, ONE, Since(2)] = None
    """Share of rounding in ‖W − W_base‖²: Σ ulp²/12 over the stored entries of W, in rows and columns where
    anything changed. Near or above 1: the difference is below what the stored type can hold. NULL for
    codes of a quantised format on either side, whose rounding is larger and not known."""
    delta_noise_edge: Annotated[float | None, LAMBDA, Since(2)] = None
    """Largest eigenvalue that this rounding alone would have (Marchenko-Pastur edge and Tracy-Widom margin, at
    1 %). The tail is fitted to the eigenvalues above it, and those below count as 0 for the ERG condition."""
    delta_num_above_noise: Annotated[int | None, COUNT, Since(2)] = None
    """Eigenvalues above delta_noise_edge: of a merged LoRA its rank, or less."""

    @property
    def remark(self) -> str | None:
        """What is to be known of the tail of such a difference; None where it can be taken as it is."""
        share = self.delta_noise_share
        if share is None or share < WORTH_A_WORD:
            return None
        return f"rounding: {share:.2g} of the difference is rounding of the stored type, and alpha is too large"

    @property
    def is_zero(self) -> bool:
        """True when no entry differs."""
        return self.delta_changed == 0.0


@dataclass(frozen=True, slots=True)
class Grid:
    """The numbers that a type of floating-point numbers can hold."""

    digits: int
    """Binary digits of the significand, the hidden one too."""
    lowest: int
    """No two numbers are nearer than 2^lowest."""


def grid_of(weights: Tensor) -> Grid:
    """The grid on which `weights` lie: of their type, or of bfloat16 or float16 where every entry of a
    wider type is one of theirs, as after a conversion."""
    import torch

    facts = torch.finfo(weights.dtype)
    digits = 1 - round(math.log2(facts.eps))
    grid = Grid(digits, round(math.log2(facts.tiny)) + 1 - digits)
    if weights.dtype != torch.float32:
        return grid
    for unused, narrow in ((16, Grid(8, -133)), (13, Grid(11, -24))):
        mask = (1 << unused) - 1
        if not any(bool((block.view(torch.int32) & mask).any()) for _, _, block in _rows(weights)):
            return narrow
    return grid


def difference(weights: Tensor, base: Tensor, *, grid: Grid | None) -> Difference:
    """Facts of `weights` − `base`, both `[k, rows, cols]`; `grid` is that of the weights, None if not known.

    `delta_num_above_noise` is left open: it takes the spectrum. NaN and Inf count as changed, and leave
    the other facts None.
    """
    import torch

    k, rows, cols = weights.shape
    square, square_of_base, changed = 0.0, 0.0, 0
    in_rows = torch.zeros((k, rows), dtype=torch.bool)
    in_cols = torch.zeros((k, cols), dtype=torch.bool)
    for i, (start, stop), block in _rows(weights):
        reference = base[i, start:stop].double()
        apart = block.double() - reference
        moved = apart != 0
        square += float((apart * apart).sum())
        square_of_base += float((reference * reference).sum())
        changed += int(moved.sum())
        in_rows[i, start:stop] = moved.any(1)
        in_cols[i] |= moved.any(0)
    share = changed / max(weights.numel(), 1)
    if not changed or not math.isfinite(square) or not math.isfinite(square_of_base):
        return Difference(delta_changed=share)
    relative = math.sqrt(square / square_of_base) if square_of_base > 0.0 else None
    if grid is None or square == 0.0:
        return Difference(relative, share)
    noise = 0.0
    for i, (start, stop), block in _rows(weights):
        touched = block[in_rows[i, start:stop]][:, in_cols[i]]
        noise += _squared_steps(touched, grid) / 12.0
    sizes = [(int(r.sum()), int(c.sum())) for r, c in zip(in_rows, in_cols, strict=True)]
    variance = noise / sum(r * c for r, c in sizes)
    sides = max(max(size) for size in sizes), max(min(size) for size in sizes)
    law = johnstone(*sides)
    edge = variance * (law.centre + tw1_quantile(_EDGE_LEVEL) * law.scale)
    return Difference(relative, share, noise / square, edge)


def _squared_steps(block: Tensor, grid: Grid) -> float:
    """Σ ulp² of the entries of a block."""
    import torch

    values = block.double().reshape(-1)
    exponents = torch.frexp(values).exponent
    exponents = torch.where(
        values == 0, grid.lowest, (exponents - grid.digits).clamp_min(grid.lowest)
    )
    return float(torch.ldexp(torch.ones_like(values), 2 * exponents).sum())


def _rows(weights: Tensor) -> Iterator[tuple[int, tuple[int, int], Tensor]]:
    """(slice, rows, the entries) of blocks that cover all of `[k, rows, cols]`."""
    k, rows, cols = weights.shape
    step = max(1, _BLOCK_ENTRIES // max(cols, 1))
    for i in range(k):
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            yield i, (start, stop), weights[i, start:stop]
