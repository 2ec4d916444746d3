"""Sparse matrices of compressed-tensors: the values that are kept, and a bit for each place.

 - 2:4 (`sparse_24`): `compressed` [out, in/2], two values of each four;
 - unstructured (`sparse_bitmask`): `compressed` [values], and `row_offsets` [out];
 - both: `bitmask` U8 [out, in/8], low bits first, and `shape`.

The values are plain floats, or 8-bit floats or integers with `weight_scale` beside them, of the
dense matrix. Marlin's own 2:4 layout (`meta`, `scale_packed`) is another one, and refused.
Source: compressed-tensors 0.12 `compressors/sparse_compressors`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch

from zoo.errors import DecodeError
from zoo.formats.claim import SCALE_FLOATS, Claim, Free, claim_weight, quantisation, wanted
from zoo.formats.fp8 import activation_scales, block_of
from zoo.formats.grid import multiply_blocks
from zoo.formats.scheme import declared_blocks
from zoo.formats.weight import Loader
from zoo.io.checkpoint import Checkpoint
from zoo.io.dtypes import NATIVE_FLOATS
from zoo.io.header import RowRange, TensorMeta

_SCALED = ("F8_E4M3", "F8_E5M2", "I8")
"""Stored types whose values are multiplied by a scale."""
_CHUNK_ROWS = 256
"""Rows whose bits are unpacked at a time: a byte each."""


def bitmask(checkpoint: Checkpoint, free: Free) -> Iterator[Claim]:
    """Every `compressed` with a `bitmask` beside it."""
    for name, meta in free.items():
        stem = name.removesuffix("compressed")
        if stem != name and f"{stem}bitmask" in free:
            beside = (f"{stem}bitmask", f"{stem}weight_scale")
            unread = (f"{stem}shape", f"{stem}row_offsets", *activation_scales(f"{stem}weight"))
            make = partial(_plan, checkpoint, free, meta, stem)
            yield claim_weight(free, name, companions=beside, unread=unread, make=make)


def _plan(
    checkpoint: Checkpoint, free: Free, meta: TensorMeta, stem: str
) -> tuple[str, tuple[int, ...], str, Loader]:
    at = wanted(free, f"{stem}shape", of=meta.name, shapes=((2,), (2, 1)), dtypes=("I64", "I32"))
    num_out, num_in = (int(n) for n in checkpoint.read(at.name).flatten())
    mask_shape = ((num_out, -(-num_in // 8)),)
    wanted(free, f"{stem}bitmask", of=meta.name, shapes=mask_shape, dtypes=("U8",))
    decoder = "sparse_24" if len(meta.shape) == 2 else "sparse_bitmask"
    is_half = meta.shape == (num_out, num_in // 2) and num_in % 4 == 0
    if num_out < 1 or num_in < 1 or len(meta.shape) > 2 or (decoder == "sparse_24" and not is_half):
        raise DecodeError(
            f"{meta.name} {list(meta.shape)}: its shape says {[num_out, num_in]}; wanted two values "
            "of each four, or a flat list of values"
        )
    if f"{stem}weight_zero_point" in free:
        raise DecodeError(f"{meta.name}: with zero points; wanted symmetric values")
    scale = None
    block = (num_out, num_in)
    if meta.dtype in _SCALED:
        scale = wanted(free, f"{stem}weight_scale", of=meta.name, dtypes=SCALE_FLOATS)
        declared = declared_blocks(quantisation(checkpoint, meta.name))
        block = block_of(replace(meta, shape=(num_out, num_in)), scale, declared)
    elif meta.dtype not in NATIVE_FLOATS or f"{stem}weight_scale" in free:
        raise DecodeError(f"{meta.name}: values stored as {meta.dtype}, scale or not; unknown")
    load = partial(_load, meta, stem, (num_out, num_in), scale, block)
    return f"{stem}weight", (num_out, num_in), decoder, load


def _load(
    meta: TensorMeta,
    stem: str,
    shape: tuple[int, int],
    scale: TensorMeta | None,
    block: tuple[int, int],
    checkpoint: Checkpoint,
    rows: RowRange | None = None,
) -> torch.Tensor:
    packed = checkpoint.read(f"{stem}bitmask")
    stored = checkpoint.read(meta.name).flatten()
    values = torch.zeros(shape, dtype=torch.float64 if meta.dtype == "F64" else torch.float32)
    places = torch.arange(8, dtype=torch.uint8)
    used = 0
    for first in range(0, shape[0], _CHUNK_ROWS):
        part = values[first : first + _CHUNK_ROWS]
        bits = (packed[first : first + _CHUNK_ROWS, :, None] >> places) & 1
        mask = bits.flatten(1)[:, : shape[1]].bool()
        counts = mask.sum(1)
        if len(meta.shape) == 2 and bool((counts != shape[1] // 2).any()):
            raise DecodeError(f"{stem}bitmask: a row keeps another number than {shape[1] // 2}")
        num_kept = int(counts.sum())
        if used + num_kept > stored.numel():
            raise DecodeError(f"{meta.name}: {stored.numel()} values for more bits than that")
        part.masked_scatter_(mask, stored[used : used + num_kept].to(values.dtype))
        used += num_kept
    if used != stored.numel():
        raise DecodeError(f"{meta.name}: {stored.numel()} values for {used} bits")
    if scale is not None:
        factors = checkpoint.read(scale.name).float()
        if factors.numel() == 1:
            values.mul_(factors.reshape(()))
        else:
            grid = (-(-shape[0] // block[0]), -(-shape[1] // block[1]))
            multiply_blocks(values, factors.reshape(grid), block)
    return values if rows is None else values[rows[0] : rows[1]]
