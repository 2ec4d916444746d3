"""Integers with scales, as compressed-tensors and nvidia-modelopt store them.

 - `int8`: `weight` I8 with `weight_scale` per tensor, channel, group or block, perhaps
   `weight_zero_point` I8 of the same shape; `W = (q - z) · s`. Blockwise INT8 (DeepSeek's layout)
   calls it `weight_scale_inv`, a grid with the blocks of the config; it multiplies all the same;
 - `int_packed`: `weight_packed` I32 [out, words] of 2- to 8-bit numbers stored with an offset of
   2^(bits-1), `weight_scale`, `weight_shape`, perhaps `weight_zero_point` packed along the rows
   and `weight_g_idx`. Numbers straddle words (dense); older files of 3, 5, 6, 7 bits do not, which
   the number of words tells.

Source: compressed-tensors `pack_quantized`, `naive_quantized`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch

from zoo.errors import DecodeError
from zoo.formats.bits import unpack_words
from zoo.formats.claim import SCALE_FLOATS, Claim, Free, claim_weight, quantisation, wanted
from zoo.formats.fp8 import activation_scales, block_of
from zoo.formats.gptq import apply_groups
from zoo.formats.grid import load_scaled
from zoo.formats.scheme import declared_blocks, is_count, method, weight_schemes
from zoo.formats.weight import Loader
from zoo.io.checkpoint import Checkpoint
from zoo.io.header import RowRange, TensorMeta

_FLOAT_METHODS = ("fp8", "fbgemm_fp8", "mxfp8")
"""Methods that store 8-bit floats and nothing else of 8 bits."""


def int8(checkpoint: Checkpoint, free: Free) -> Iterator[Claim]:
    """Every I8 matrix called `weight` with a float scale beside it."""
    for name, meta in free.items():
        scale = free.get(f"{name}_scale") or free.get(f"{name}_scale_inv")
        if meta.dtype == "I8" and len(meta.shape) >= 2 and scale and scale.dtype in SCALE_FLOATS:
            beside = (scale.name, f"{name}_zero_point")
            unread = activation_scales(name)
            make = partial(_plan_int8, checkpoint, free, meta, scale)
            yield claim_weight(free, name, companions=beside, unread=unread, make=make)


def int_packed(checkpoint: Checkpoint, free: Free) -> Iterator[Claim]:
    """Every I32 `weight_packed`."""
    for name, meta in free.items():
        if name.endswith("weight_packed") and meta.dtype == "I32":
            stem = name.removesuffix("_packed")
            beside = tuple(f"{stem}_{part}" for part in ("scale", "zero_point", "g_idx"))
            unread = (f"{stem}_shape", *activation_scales(stem))  # the shape is read by the account
            make = partial(_plan_packed, checkpoint, free, meta, stem)
            yield claim_weight(free, name, companions=beside, unread=unread, make=make)


def _plan_int8(
    checkpoint: Checkpoint, free: Free, meta: TensorMeta, scale: TensorMeta
) -> tuple[str, tuple[int, ...], str, Loader]:
    config = quantisation(checkpoint, meta.name)
    if method(config) in _FLOAT_METHODS:
        raise DecodeError(
            f"{meta.name}: integers, but the config's quant_method is {config['quant_method']!r}; "
            "wanted 8-bit floats. Save the checkpoint again"
        )
    block = block_of(meta, scale, declared_blocks(config))
    symmetries = {w.get("symmetric") for w in weight_schemes(config) if w.get("num_bits") == 8}
    if symmetries == {False}:
        wanted(free, f"{meta.name}_zero_point", of=meta.name)
    zero = free.get(f"{meta.name}_zero_point")
    if zero and (zero.shape != scale.shape or len(meta.shape) != 2 or zero.dtype != "I8"):
        raise DecodeError(
            f"{meta.name}: {zero.name!r} is {zero.dtype} {list(zero.shape)}; wanted I8 "
            f"{list(scale.shape)} like its scale"
        )
    return meta.name, meta.shape, "int8", partial(_load_int8, meta, scale, zero, block)


def _load_int8(
    meta: TensorMeta,
    scale: TensorMeta,
    zero: TensorMeta | None,
    block: tuple[int, int],
    checkpoint: Checkpoint,
    rows: RowRange | None = None,
) -> torch.Tensor:
    zeros = checkpoint.read(zero.name).float() if zero else None

    def centred(stored: torch.Tensor) -> torch.Tensor:
        values = stored.float()
        if zeros is not None:
            height, width = block
            num_rows, num_cols = values.shape
            grid = zeros.reshape(-(-num_rows // height), -(-num_cols // width))
            for i, row in enumerate(grid):
                zeros_of_row = row.repeat_interleave(width)[:num_cols]
                values[i * height : (i + 1) * height].sub_(zeros_of_row)
        return values

    return load_scaled(checkpoint, meta, scale, block, centred, rows)


@dataclass(frozen=True, slots=True)
class _Packing:
    """How one packed weight is stored."""

    stem: str
    """What the names of its tensors start with."""
    bits: int
    """Bits of a code."""
    num_out: int
    num_in: int
    dense: bool
    """True when codes may straddle two words (`bits.unpack_words`)."""
    dense_zeros: bool
    """The same of the zero points."""
    group_size: int
    """Inputs that share a scale."""
    has_zeros: bool
    """True when zero points are stored; else they are 0."""
    has_order: bool
    """True when `weight_g_idx` gives the group of each input."""


def _plan_packed(
    checkpoint: Checkpoint, free: Free, meta: TensorMeta, stem: str
) -> tuple[str, tuple[int, ...], str, Loader]:
    if len(meta.shape) != 2:
        raise DecodeError(f"{meta.name} has shape {list(meta.shape)}; wanted two axes")
    scale = wanted(free, f"{stem}_scale", of=meta.name, dtypes=SCALE_FLOATS)
    num_out, num_words = meta.shape
    if scale.numel != 1 and (not scale.shape or scale.shape[0] != num_out or len(scale.shape) > 2):
        raise DecodeError(
            f"{meta.name}: {scale.name!r} has shape {list(scale.shape)}; wanted [{num_out}, groups]"
        )
    num_groups = scale.shape[1] if len(scale.shape) == 2 else 1
    shape_meta = wanted(free, f"{stem}_shape", of=meta.name, shapes=((2,),), dtypes=("I64", "I32"))
    stored_out, num_in = (int(n) for n in checkpoint.read(shape_meta.name))
    for weights in weight_schemes(quantisation(checkpoint, meta.name)):
        layout = _layout_if_fitting(weights, num_in, num_words, num_groups)
        if layout is not None and stored_out == num_out and num_in > 0:
            bits, group_size = layout
            break
    else:
        raise DecodeError(
            f"{meta.name}: {num_words} words a row and {num_groups} groups for shape "
            f"[{stored_out}, {num_in}]; no config_group in the config fits them"
        )
    zeros, order = free.get(f"{stem}_zero_point"), free.get(f"{stem}_g_idx")
    dense = num_words == -(-num_in * bits // 32)
    dense_zeros = True
    if zeros is not None:
        words = {-(-num_out * bits // 32): True, -(-num_out // (32 // bits)): False}
        if zeros.dtype != "I32" or zeros.shape[1:] != (num_groups,) or zeros.shape[0] not in words:
            raise DecodeError(
                f"{meta.name}: {zeros.name!r} is {zeros.dtype} {list(zeros.shape)}; wanted I32 "
                f"[{-(-num_out * bits // 32)}, {num_groups}]"
            )
        dense_zeros = zeros.shape[0] == -(-num_out * bits // 32)
    elif weights.get("symmetric") is False:
        wanted(free, f"{stem}_zero_point", of=meta.name)
    if order is not None and order.shape != (num_in,):
        raise DecodeError(f"{meta.name}: {order.name!r} has shape {list(order.shape)}")
    packing = _Packing(
        stem, bits, num_out, num_in, dense, dense_zeros, group_size,
        zeros is not None, order is not None,
    )  # fmt: skip
    return stem, (num_out, num_in), "int_packed", partial(_load_packed, packing)


def _layout_if_fitting(
    weights: Mapping[str, object], num_in: int, num_words: int, num_groups: int
) -> tuple[int, int] | None:
    """(bits, group size) of a config group, or None when the shapes do not agree with it.

    The last group of a row may be cut off.
    """
    bits, size = weights.get("num_bits"), weights.get("group_size")
    if not isinstance(bits, int) or not 1 <= bits <= 8 or weights.get("type", "int") != "int":
        return None
    if num_words not in (-(-num_in * bits // 32), -(-num_in // (32 // bits))):
        return None
    size = size if isinstance(size, int) and is_count(size) else max(num_in, 1)
    return (bits, size) if -(-num_in // size) == num_groups else None


def _load_packed(
    packing: _Packing, checkpoint: Checkpoint, rows: RowRange | None = None
) -> torch.Tensor:
    stem, bits, half = packing.stem, packing.bits, 1 << (packing.bits - 1)
    stored = checkpoint.read(f"{stem}_packed").t().contiguous()
    codes = unpack_words(stored, bits=bits, count=packing.num_in, dense=packing.dense)
    values = codes.float().sub_(half)
    del stored, codes
    scale = checkpoint.read(f"{stem}_scale").float()
    if scale.numel() == 1:
        scale = scale.reshape(1, 1).expand(packing.num_out, 1)
    scale = scale.reshape(packing.num_out, -1)
    zeros = torch.zeros_like(scale)
    if packing.has_zeros:
        words = checkpoint.read(f"{stem}_zero_point")
        unpacked = unpack_words(words, bits=bits, count=packing.num_out, dense=packing.dense_zeros)
        zeros = unpacked.float() - half
    group = torch.arange(packing.num_in, dtype=torch.int32, device=scale.device)
    group = group // packing.group_size
    if packing.has_order:
        group = checkpoint.read(f"{stem}_g_idx").int()
        if not 0 <= int(group.min()) <= int(group.max()) < scale.shape[1]:
            raise DecodeError(f"{stem}_g_idx: groups outside 0 to {scale.shape[1] - 1}")
    apply_groups(values, group, scale.t(), zeros.t())
    weight = values.t()
    return weight if rows is None else weight[rows[0] : rows[1]]
