"""Scales in the order in which matrix units read them.

Tiles of 128 rows by 4 scales follow one another; each is stored as 32 rows of 16, where scale (r, c)
of the tile lies at row `r mod 32`, place `4·(r // 32) + c`. Rows and scales are padded to whole tiles.
Source: NVIDIA cuBLAS, "1D block scaling factors layout".
"""

from __future__ import annotations

import torch

_TALL, _WIDE = 128, 4
"""Rows and scales of a tile."""


def swizzled_shapes(rows: int, groups: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The two shapes under which writers store [rows, groups] swizzled."""
    tall, wide = -(-rows // _TALL), -(-groups // _WIDE)
    return (_TALL * tall, _WIDE * wide), (32 * tall, 16 * wide)


def unswizzled(scales: torch.Tensor, rows: int, groups: int) -> torch.Tensor:
    """Swizzled scales in any shape, as [rows, groups]."""
    tall, wide = -(-rows // _TALL), -(-groups // _WIDE)
    tiles = scales.reshape(tall, wide, 32, 4, _WIDE)  # of a tile: row mod 32, row // 32, column
    return tiles.permute(0, 3, 2, 1, 4).reshape(_TALL * tall, _WIDE * wide)[:rows, :groups]
