"""4-bit floats (E2M1), two a byte, low half first, with a scale per group.

 - `mxfp4` as gpt-oss stores it: `X_blocks` U8 [experts, rows, groups, 16] and `X_scales` U8
   [experts, rows, groups], exponents of 2; decoded to [experts, rows, 32 groups], which is
   (experts, out, in);
 - `mxfp4` packed along the columns: `weight` or `weight_packed` U8 [rows, cols/2] with
   `weight_scale` of exponents [rows, cols/32] (compressed-tensors, AMD Quark), also I8 or F4;
 - `nvfp4`: groups of 16 with an F8_E4M3 scale each, and one F32 scale for all: `weight`,
   `weight_scale`, `weight_scale_2` multiplies (nvidia-modelopt); `weight_packed`,
   `weight_scale`, `weight_global_scale` divides (compressed-tensors).

Sources: transformers `integrations/mxfp4.py`; compressed-tensors `mxfp4`, `nvfp4`;
nvidia-modelopt `nvfp4_tensor.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from zoo.errors import DecodeError
from zoo.formats.bits import E2M1, look_up, unpack_nibbles
from zoo.formats.claim import Claim, Free, claim_weight, wanted
from zoo.formats.fp8 import activation_scales, scale_name
from zoo.formats.grid import load_scaled
from zoo.formats.weight import Loader
from zoo.io.checkpoint import Checkpoint
from zoo.io.header import RowRange, TensorMeta

_PACKED_DTYPES = ("U8", "I8", "F4")
"""Stored types that hold two 4-bit floats a byte."""


def mxfp4_blocks(checkpoint: Checkpoint, free: Free) -> Iterator[Claim]:
    """Stacks of experts as gpt-oss stores them, by the ending `_blocks`."""
    del checkpoint
    for name, meta in free.items():
        if name.endswith("_blocks") and meta.dtype == "U8":
            scales = name.removesuffix("_blocks") + "_scales"
            make = partial(_blocks, free, meta, scales)
            yield claim_weight(free, name, companions=(scales,), make=make)


def fp4_packed(checkpoint: Checkpoint, free: Free) -> Iterator[Claim]:
    """Packed matrices with a scale beside them: NVFP4 and MXFP4."""
    del checkpoint
    for name, meta in free.items():
        if meta.dtype not in _PACKED_DTYPES or len(meta.shape) < 2 or not _looks_packed(free, name):
            continue
        stem = name.removesuffix("_packed")
        seconds = (f"{stem}_scale_2", f"{stem}_global_scale")
        scale = scale_name(free, stem) or f"{stem}_scale"
        make = partial(_packed, free, meta, stem, scale, seconds)
        unread = activation_scales(stem)
        yield claim_weight(free, name, companions=(scale, *seconds), unread=unread, make=make)


def _looks_packed(free: Free, name: str) -> bool:
    """True when the tensor or its companions say that it holds 4-bit floats."""
    meta, stem = free[name], name.removesuffix("_packed")
    if meta.dtype == "F4" or f"{stem}_scale_2" in free or f"{stem}_global_scale" in free:
        return True
    name_of_scale = scale_name(free, stem)
    scale = free[name_of_scale] if name_of_scale else None
    if scale is None:
        return name.endswith("weight_packed") and meta.dtype == "U8"
    exponents = scale.dtype in ("U8", "F8_E8M0") and scale.shape[:-1] == meta.shape[:-1]
    return exponents or (scale.dtype == "F8_E4M3" and meta.dtype == "U8")


def _blocks(free: Free, meta: TensorMeta, scales: str) -> tuple[str, tuple[int, ...], str, Loader]:
    if len(meta.shape) < 3 or meta.shape[-1] != 16:
        raise DecodeError(
            f"{meta.name} has shape {list(meta.shape)}; wanted [experts, rows, groups, 16]"
        )
    scale = wanted(free, scales, of=meta.name, shapes=(meta.shape[:-1],), dtypes=("U8", "F8_E8M0"))
    shape = (*meta.shape[:-2], meta.shape[-2] * 32)
    name = meta.name.removesuffix("_blocks")
    return name, shape, "mxfp4", partial(_load_blocks, meta, scale)


def _load_blocks(
    meta: TensorMeta,
    scale: TensorMeta,
    checkpoint: Checkpoint,
    rows: RowRange | None = None,
) -> torch.Tensor:
    return load_scaled(checkpoint, meta, scale, (1, 32), _block_values, rows)


def _block_values(stored: torch.Tensor) -> torch.Tensor:
    return _values(stored.flatten(-2))


def _packed(
    free: Free, meta: TensorMeta, stem: str, scale_at: str, seconds: tuple[str, str]
) -> tuple[str, tuple[int, ...], str, Loader]:
    *stack, cols = meta.shape
    cols = cols if meta.dtype == "F4" else 2 * cols
    scale = wanted(free, scale_at, of=meta.name)
    second = next((free[n] for n in seconds if n in free), None)
    if scale.dtype in ("U8", "F8_E8M0"):
        wanted(free, scale_at, of=meta.name, shapes=((*stack, cols // 32),))
        if cols % 32 or second is not None:
            obstacle = second.name if second else f"{cols} columns"
            raise DecodeError(
                f"{meta.name}: {obstacle} with exponents as scales; wanted plain MXFP4"
            )
        decoder, group = "mxfp4", 32
    else:
        if cols % 16:
            raise DecodeError(f"{meta.name}: {cols} columns; wanted a multiple of 16 for NVFP4")
        shapes = ((*stack, cols // 16),)
        wanted(free, scale_at, of=meta.name, shapes=shapes, dtypes=("F8_E4M3",))
        second = second or wanted(free, seconds[0], of=meta.name)
        if second.dtype != "F32" or (second.numel != 1 and second.numel != meta.shape[0]):
            raise DecodeError(
                f"{meta.name}: {second.name!r} is {second.dtype} {list(second.shape)}; "
                "wanted one F32 number, or one per expert"
            )
        if second.numel != 1 and len(meta.shape) < 3:
            raise DecodeError(f"{meta.name}: {second.name!r} has {second.numel} values; wanted one")
        decoder, group = "nvfp4", 16
    load = partial(_load_packed, meta, scale, second, group)
    return stem, (*stack, cols), decoder, load


def _load_packed(
    meta: TensorMeta,
    scale: TensorMeta,
    second: TensorMeta | None,
    group: int,
    checkpoint: Checkpoint,
    rows: RowRange | None = None,
) -> torch.Tensor:
    factor = None
    if second is not None:
        factor = checkpoint.read(second.name)
        if second.name.endswith("_global_scale"):
            factor = 1.0 / factor
    return load_scaled(checkpoint, meta, scale, (1, group), _values, rows, factor=factor)


def _values(packed: torch.Tensor) -> torch.Tensor:
    return look_up(unpack_nibbles(packed.view(torch.uint8)), E2M1)
