"""torchao's `Int4TilePackedTo4dTensor`: 4-bit codes in the tiles that a tensor core reads.

`qdata` I32 [out/8, in/(16·t), 32, t/2], `t` the inner tiles (8 in torchao); `scale_and_zero`
[in/group, out, 2]. Out and in are padded, to 8 and to 1024; the metadata says the true shape.
Lane `l` of 32 holds row `l // 4` of its 8. One word packs two tiles of 16 inputs: with `a = 2·(l mod
4)`, inputs a, a+1, a+8, a+9, a+16, a+17, a+24, a+25 of its 32 lie at the half-bytes 0, 4, 1, 5, 2,
6, 3, 7 (lowest first). `W = (q - 8) · s + z`. Decoder `torchao_int4_tiles`.

This is the layout of CUDA. PyTorch for ROCm writes another one into the same shape, and nothing in
the file tells them apart.
Source: PyTorch `aten/src/ATen/native/cuda/int4mm.cu`, `matrix_to_m16n8k16_Bint4_layout`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TypeGuard

import torch

from zoo.errors import DecodeError
from zoo.formats.claim import SCALE_FLOATS, Free, wanted
from zoo.formats.grid import on_blocks
from zoo.formats.scheme import is_count
from zoo.formats.weight import Loader
from zoo.io.checkpoint import Checkpoint
from zoo.io.header import RowRange, TensorMeta

_PLACES = ((0, 0), (1, 4), (8, 1), (9, 5), (16, 2), (17, 6), (24, 3), (25, 7))
"""Input within the 32 of a word, counted from `a`, and the half-byte that holds it."""


def plan_tiles(
    free: Free, meta: TensorMeta, stem: str, logical: str, attributes: Mapping[str, object]
) -> tuple[str, tuple[int, ...], str, Loader]:
    """See `zoo.formats.claim.claim_weight`; `attributes` are those in the metadata."""
    if meta.dtype != "I32" or len(meta.shape) != 4 or meta.shape[2] != 32:
        raise DecodeError(
            f"{meta.name} is {meta.dtype} {list(meta.shape)}; wanted I32 [out/8, in/128, 32, 4] of "
            "one matrix in tiles"
        )
    num_out, num_in = 8 * meta.shape[0], 32 * meta.shape[1] * meta.shape[3]
    shape, block = attributes.get("shape"), attributes.get("block_size")
    if not _is_pair(shape) or not _is_pair(block) or block[0] != 1:
        raise DecodeError(
            f"{meta.name}: the metadata says shape {shape} and blocks of {block}; wanted two numbers "
            "each, the blocks in one row"
        )
    is_cut = 0 < num_out - shape[0] < 8 or num_out == shape[0]
    if not is_cut or not 0 <= num_in - shape[1] < 1024 or num_in % block[1]:
        raise DecodeError(
            f"{meta.name}: tiles for {num_out} by {num_in} in groups of {block[1]}, but the metadata "
            f"says shape {shape}"
        )
    shapes = ((num_in // block[1], num_out, 2),)
    grid = wanted(free, f"{stem}scale_and_zero", of=meta.name, shapes=shapes, dtypes=SCALE_FLOATS)
    load = partial(_load, meta, grid, (shape[0], shape[1]), block[1])
    return logical, (shape[0], shape[1]), "torchao_int4_tiles", load


def _is_pair(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and len(value) == 2 and all(map(is_count, value))


def _load(
    meta: TensorMeta,
    grid: TensorMeta,
    shape: tuple[int, int],
    size: int,
    checkpoint: Checkpoint,
    rows: RowRange | None = None,
) -> torch.Tensor:
    stored = checkpoint.read(meta.name)
    num_tiles, num_outer, _, num_words = stored.shape
    words = stored.view(num_tiles, num_outer, 8, 4, num_words)  # row and quarter of each lane
    values = torch.empty(num_tiles, 8, num_outer, num_words, 32)
    for first, half_byte in _PLACES:
        codes = ((words >> (4 * half_byte)) & 15).permute(0, 2, 1, 4, 3)
        values[..., first : first + 7 : 2] = codes
    del stored, words, codes
    matrix = values.view(8 * num_tiles, num_outer * num_words * 32)
    scale, zero = checkpoint.read(grid.name).float().transpose(0, 1).unbind(-1)
    matrix.sub_(8)
    on_blocks(matrix, scale, (1, size), torch.Tensor.mul_)
    on_blocks(matrix, zero, (1, size), torch.Tensor.add_)
    first, last = rows if rows is not None else (0, shape[0])
    return matrix[first:last, : shape[1]]
