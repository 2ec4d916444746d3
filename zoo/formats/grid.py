"""Scales on a grid: one factor per block of a matrix, whatever the block."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch

from zoo.formats.bits import E8M0, look_up
from zoo.io.checkpoint import Checkpoint
from zoo.io.header import RowRange, TensorMeta


def as_scale(scale: torch.Tensor, dtype: str) -> torch.Tensor:
    """A stored scale as float32: U8 and F8_E8M0 are exponents, anything else is the factor."""
    return look_up(scale, E8M0) if dtype in ("U8", "F8_E8M0") else scale.float()


def multiply_blocks(values: torch.Tensor, scale: torch.Tensor, block: tuple[int, int]) -> None:
    """`values[i, j] *= scale[i // block[0], j // block[1]]`, in place; see `on_blocks`."""
    on_blocks(values, scale, block, torch.Tensor.mul_)


def on_blocks(
    values: torch.Tensor,
    grid: torch.Tensor,
    block: tuple[int, int],
    operation: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> None:
    """`operation(values[i, j], grid[i // block[0], j // block[1]])`, in place (`Tensor.mul_`, ...).

    `values` is [rows, cols], `grid` [ceil(rows / block[0]), ceil(cols / block[1])]: the last
    blocks may be cut off. No copy of `values` and no grid of its size is made.
    """
    rows, cols = values.shape
    height, width = min(block[0], max(rows, 1)), min(block[1], max(cols, 1))
    full_rows, full_cols = rows // height, cols // width
    row_parts = ((0, full_rows * height, height), (full_rows * height, rows, rows % height))
    col_parts = ((0, full_cols * width, width), (full_cols * width, cols, cols % width))
    for top, bottom, tall in row_parts:
        for left, right, wide in col_parts:
            if top < bottom and left < right:
                part = values[top:bottom, left:right]
                # Splitting an axis never copies, so what follows writes into `values`.
                columns = torch.unflatten(part, 1, (-1, wide))
                blocks = torch.unflatten(columns, 0, (-1, tall))
                first_row, first_col = top // height, left // width
                factors = grid[
                    first_row : first_row + blocks.shape[0],
                    first_col : first_col + blocks.shape[2],
                ]
                operation(blocks, factors[:, None, :, None])


def load_scaled(
    checkpoint: Checkpoint,
    main: TensorMeta,
    scale: TensorMeta,
    block: tuple[int, int],
    decode: Callable[[torch.Tensor], torch.Tensor],
    rows: RowRange | None,
    *,
    factor: torch.Tensor | None = None,
) -> torch.Tensor:
    """`decode(main)` times its scales, float32; of a stack of matrices only the `rows` wanted.

    `decode` turns the stored tensor into float32 values without changing the leading axes.
    `factor` multiplies the scales: one number, or one per matrix of the stack.
    """
    is_stack = len(main.shape) > 2
    part = rows if is_stack else None
    values = decode(checkpoint.read(main.name, part))
    of_stack = is_stack and len(scale.shape) > 0 and scale.shape[0] == main.shape[0] > 1
    factors = as_scale(checkpoint.read(scale.name, part if of_stack else None), scale.dtype)
    if factors.numel() == 1:
        values *= factors.reshape(()) * (factor if factor is not None else 1.0)
    else:
        num_rows, num_cols = values.shape[-2:]
        grid = (-(-num_rows // block[0]), -(-num_cols // block[1]))
        factors = factors.reshape(-1, *grid)
        if factor is not None:
            is_one_each = is_stack and factor.numel() > 1
            of_rows = factor[rows[0] : rows[1]] if rows and is_one_each else factor
            factors = factors * of_rows.reshape(-1, 1, 1)
        matrices = values.view(prod(values.shape[:-2]), num_rows, num_cols)
        for i, matrix in enumerate(matrices):
            multiply_blocks(matrix, factors[i if len(factors) > 1 else 0], block)
    return values if is_stack or rows is None else values[rows[0] : rows[1]]
