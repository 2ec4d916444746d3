"""torchao's `MXTensor` and `NVFP4Tensor`: small floats with a scale per group of inputs.

 - `MXTensor`: `qdata` F8_E4M3 or F8_E5M2 [out, in], or 4-bit floats two a byte U8 [out, in/2], and
   `scale` of exponents F8_E8M0 [out, in/32]. Decoder `torchao_mx`.
 - `NVFP4Tensor`: 4-bit floats, `scale` F8_E4M3 [out, in/16], perhaps `per_tensor_scale`, one for
   all or one a matrix of the stack, which multiplies. Decoder `torchao_nvfp4`.

The scales may be swizzled, see `zoo.formats.swizzled`.
Source: torchao `prototype/mx_formats`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import prod

import torch

from zoo.errors import DecodeError
from zoo.formats.bits import E2M1, look_up, unpack_nibbles
from zoo.formats.claim import Free, wanted
from zoo.formats.grid import as_scale, multiply_blocks
from zoo.formats.swizzled import unswizzled
from zoo.formats.weight import Loader
from zoo.io.checkpoint import Checkpoint
from zoo.io.header import RowRange, TensorMeta

_EIGHT_BIT = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}
"""torch's name of an 8-bit float type, by its stored type."""
_FOUR_BIT = "float4_e2m1fn_x2"
"""torch's name of the 4-bit float type, two values a byte."""


def plan_mx(
    free: Free, meta: TensorMeta, stem: str, logical: str, attributes: Mapping[str, object]
) -> tuple[str, tuple[int, ...], str, Loader]:
    """See `zoo.formats.claim.claim_weight`; `attributes` are those in the metadata."""
    element = attributes.get("elem_dtype")
    element = element.get("_data") if isinstance(element, Mapping) else element
    is_packed = element == _FOUR_BIT and meta.dtype == "U8"
    if not is_packed and _EIGHT_BIT.get(meta.dtype) != element:
        raise DecodeError(
            f"{meta.name}: MXTensor of {element!r} stored as {meta.dtype}; wanted 8- or 4-bit floats"
        )
    shape = _checked(meta, attributes, 32, is_packed=is_packed)
    scale = _scale(free, stem, meta, shape, attributes, 32, ("F8_E8M0",))
    load = partial(_load, meta, scale, None, shape, 32, bool(attributes.get("is_swizzled_scales")))
    return logical, shape, "torchao_mx", load


def plan_nvfp4(
    free: Free, meta: TensorMeta, stem: str, logical: str, attributes: Mapping[str, object]
) -> tuple[str, tuple[int, ...], str, Loader]:
    """See `zoo.formats.claim.claim_weight`; `attributes` are those in the metadata."""
    if meta.dtype not in ("U8", "F4"):
        raise DecodeError(f"{meta.name}: NVFP4Tensor stored as {meta.dtype}; wanted U8")
    shape = _checked(meta, attributes, 16, is_packed=meta.dtype == "U8")
    scale = _scale(free, stem, meta, shape, attributes, 16, ("F8_E4M3",))
    overall = free.get(f"{stem}per_tensor_scale")
    if overall is not None:
        shapes = ((), (1,), (shape[0], 1, 1)) if len(shape) == 3 else ((), (1,))
        wanted(free, overall.name, of=meta.name, shapes=shapes, dtypes=("F32",))
    load = partial(
        _load, meta, scale, overall, shape, 16, bool(attributes.get("is_swizzled_scales"))
    )
    return logical, shape, "torchao_nvfp4", load


def _checked(
    meta: TensorMeta, attributes: Mapping[str, object], size: int, *, is_packed: bool
) -> tuple[int, ...]:
    """The weight's shape; DecodeError when the metadata says another group size."""
    if attributes.get("block_size") != size or len(meta.shape) not in (2, 3):
        raise DecodeError(
            f"{meta.name} {list(meta.shape)}: groups of {attributes.get('block_size')}; wanted a "
            f"matrix, or a stack of them, in groups of {size}"
        )
    shape = (*meta.shape[:-1], meta.shape[-1] * (2 if is_packed else 1))
    if shape[-1] % size:
        raise DecodeError(f"{meta.name}: {shape[-1]} inputs; wanted a multiple of {size}")
    return shape


def _scale(
    free: Free,
    stem: str,
    meta: TensorMeta,
    shape: tuple[int, ...],
    attributes: Mapping[str, object],
    size: int,
    dtypes: tuple[str, ...],
) -> TensorMeta:
    scale = wanted(free, f"{stem}scale", of=meta.name, dtypes=dtypes)
    *stack, rows, groups = (*shape[:-1], shape[-1] // size)
    wanted_shape = (*stack, rows, groups)
    if attributes.get("is_swizzled_scales"):
        if stack and rows % 128:
            raise DecodeError(f"{meta.name}: swizzled scales for a stack of {rows} rows each")
        wanted_shape = (*stack, 32 * -(-rows // 128), 16 * -(-groups // 4))
    wanted(free, scale.name, of=meta.name, shapes=(wanted_shape,))
    return scale


def _load(
    meta: TensorMeta,
    scale: TensorMeta,
    overall: TensorMeta | None,
    shape: tuple[int, ...],
    size: int,
    is_swizzled: bool,
    checkpoint: Checkpoint,
    rows: RowRange | None = None,
) -> torch.Tensor:
    num_rows, groups = prod(shape[:-1]), shape[-1] // size
    factors = as_scale(checkpoint.read(scale.name), scale.dtype)
    if is_swizzled:
        factors = unswizzled(factors, num_rows, groups)
    factors = factors.reshape(*shape[:-1], groups)
    if overall is not None:
        factors = factors * checkpoint.read(overall.name)
    is_stack = len(shape) > 2
    part = rows if is_stack else None
    if part is not None:
        factors = factors[part[0] : part[1]]
    stored = checkpoint.read(meta.name, part)
    if meta.dtype in _EIGHT_BIT:
        values = stored.float()
    else:
        values = look_up(unpack_nibbles(stored.view(torch.uint8)), E2M1)
    multiply_blocks(values.view(-1, shape[-1]), factors.reshape(-1, groups), (1, size))
    return values if is_stack or rows is None else values[rows[0] : rows[1]]
