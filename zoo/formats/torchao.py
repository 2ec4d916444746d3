"""torchao: tensor subclasses taken apart, as transformers saves them to safetensors.

`M.weight` becomes `M._weight_qdata`, `M._weight_scale`, ...; the header's metadata may hold, under
the name `M.weight`, JSON with the subclass and its attributes.

 - `Float8Tensor`, `Int8Tensor`, `IntxUnpackedToInt8Tensor`: `qdata` in the weight's own shape and
   `scale` with as many axes, each of which divides the weight's: a block is the quotient. Perhaps
   `zero_point` like the scale. `W = (q - z) · s`. Decoders `torchao_float8`, `torchao_int8`.
 - `Int4Tensor`: two codes a byte along the inputs, low half first, of -8 to 7; `scale` and
   `zero_point` [in/group, out]; `W = q · s + z`. Decoder `torchao_int4`.
 - `MXTensor`, `NVFP4Tensor`: see `zoo.formats.torchao_mx`; `Int4TilePackedTo4dTensor`: see
   `zoo.formats.torchao_tiles`.

The first kind is known by its types and shapes; the others need the metadata. `act_pre_scale`
scales what flows into the layer and is no part of the weight.
Source: torchao `prototype/safetensors`, `quantization/quantize_/workflows`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial

import torch

from zoo.errors import DecodeError, HeaderError
from zoo.formats.bits import unpack_nibbles
from zoo.formats.claim import SCALE_FLOATS, Claim, Free, claim_weight, wanted
from zoo.formats.grid import on_blocks
from zoo.formats.torchao_mx import plan_mx, plan_nvfp4
from zoo.formats.torchao_tiles import plan_tiles
from zoo.formats.weight import Loader
from zoo.io.checkpoint import Checkpoint
from zoo.io.header import RowRange, TensorMeta, strict_json

_QDATA = re.compile(r"^(?P<module>(.*\.)?)_(?P<param>\w+)_qdata$")
"""The name of the codes of a parameter: `module._weight_qdata`."""
_READ = ("scale", "zero_point", "scale_and_zero", "per_tensor_scale")
"""Endings of the tensors that are read with the codes."""
_UNREAD = ("act_pre_scale", "act_quant_scale", "act_quant_zero_point", "act_per_tensor_scale")
"""Endings of the tensors that decoding does not need."""
_EIGHT_BIT = ("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ")
"""Stored types that are 8-bit floats with a sign."""
_MAX_METADATA_CHARS = 65536
"""Longer metadata of a tensor is refused."""


def torchao(checkpoint: Checkpoint, free: Free) -> Iterator[Claim]:
    """Every tensor called `_…_qdata`."""
    for name, meta in free.items():
        match = _QDATA.match(name)
        if match is not None:
            stem = name.removesuffix("qdata")
            logical = match["module"] + match["param"]
            make = partial(_plan, checkpoint, free, meta, stem, logical)
            yield claim_weight(
                free,
                name,
                companions=tuple(stem + part for part in _READ),
                unread=tuple(stem + part for part in _UNREAD),
                make=make,
            )


def _plan(
    checkpoint: Checkpoint, free: Free, meta: TensorMeta, stem: str, logical: str
) -> tuple[str, tuple[int, ...], str, Loader]:
    kind, attributes = _subclass(checkpoint, free, meta.name, stem, logical)
    if kind == "Int4TilePackedTo4dTensor":
        return plan_tiles(free, meta, stem, logical, attributes)
    if kind == "MXTensor":
        return plan_mx(free, meta, stem, logical, attributes)
    if kind == "NVFP4Tensor":
        return plan_nvfp4(free, meta, stem, logical, attributes)
    if kind == "Int4Tensor":
        return _plan_int4(free, meta, stem, logical, attributes)
    if kind in (None, "Float8Tensor") and meta.dtype in _EIGHT_BIT:
        return _plan_blocks(free, meta, stem, logical, attributes, "torchao_float8")
    if kind in (None, "Int8Tensor", "IntxUnpackedToInt8Tensor") and meta.dtype == "I8":
        return _plan_blocks(free, meta, stem, logical, attributes, "torchao_int8")
    raise DecodeError(
        f"{meta.name}: {meta.dtype} {list(meta.shape)} of torchao's "
        f"{kind or 'subclass that the header does not name'}, which no decoder reads; wanted one of "
        "the subclasses named in docs/formats.md. Save it from torchao as Int8Tensor or dequantised"
    )


def _subclass(
    checkpoint: Checkpoint, free: Free, main: str, stem: str, logical: str
) -> tuple[str | None, Mapping[str, object]]:
    """The subclass and its attributes from the header's metadata; None and nothing without."""
    raw = checkpoint.metadata.get(logical)
    if raw is None:
        return None, {}
    try:
        content = strict_json(
            raw[: _MAX_METADATA_CHARS + 1].encode(), what=f"metadata of {logical}"
        )
    except HeaderError as error:
        raise DecodeError(str(error)) from error
    kind = content.get("_type") if isinstance(content, dict) else None
    attributes = content.get("_data") if isinstance(content, dict) else None
    if (
        not isinstance(content, dict)
        or not isinstance(kind, str)
        or not isinstance(attributes, dict)
    ):
        raise DecodeError(f"{logical}: its metadata names no _type with _data; wanted torchao's")
    parts = content.get("_tensor_data_names")
    for part in parts if isinstance(parts, list) else ():
        wanted(free, f"{stem}{part}", of=main)
    return kind, attributes


def _plan_blocks(
    free: Free,
    meta: TensorMeta,
    stem: str,
    logical: str,
    attributes: Mapping[str, object],
    decoder: str,
) -> tuple[str, tuple[int, ...], str, Loader]:
    scale = wanted(free, stem + "scale", of=meta.name, dtypes=SCALE_FLOATS)
    if scale.shape in ((), (1,)):
        block = meta.shape
    elif len(scale.shape) != len(meta.shape) or any(
        not part or size % part for size, part in zip(meta.shape, scale.shape, strict=True)
    ):
        raise DecodeError(
            f"{meta.name} {list(meta.shape)}: {scale.name!r} has shape {list(scale.shape)}; wanted "
            "as many axes, each of which divides the weight's"
        )
    else:
        block = tuple(n // parts for n, parts in zip(meta.shape, scale.shape, strict=True))
    declared = attributes.get("block_size")
    if declared is not None and list(block) != declared and declared != []:
        raise DecodeError(
            f"{meta.name}: blocks of {list(block)} by the shape of {scale.name!r}, but the metadata "
            f"says {declared}; one of them is wrong"
        )
    is_stack_of_whole = len(meta.shape) > 2 and any(n != 1 for n in block[:-2])
    if len(meta.shape) < 2 or (is_stack_of_whole and scale.numel != 1):
        raise DecodeError(
            f"{meta.name}: blocks of {list(block)} for {list(meta.shape)}; wanted a matrix, or a "
            "stack of matrices with scales of their own"
        )
    zero = free.get(stem + "zero_point")
    kinds = ("I8",) if not attributes else ("I8", *SCALE_FLOATS)
    if zero is not None:
        wanted(free, zero.name, of=meta.name, shapes=(scale.shape,), dtypes=kinds)
    load = partial(_load_blocks, meta, scale, zero, (block[-2], block[-1]))
    return logical, meta.shape, decoder, load


def _load_blocks(
    meta: TensorMeta,
    scale: TensorMeta,
    zero: TensorMeta | None,
    block: tuple[int, int],
    checkpoint: Checkpoint,
    rows: RowRange | None = None,
) -> torch.Tensor:
    is_stack = len(meta.shape) > 2
    part = rows if is_stack else None
    values = checkpoint.read(meta.name, part).float()
    of_stack = part if scale.numel > 1 else None
    for grid_of, operation in ((zero, torch.Tensor.sub_), (scale, torch.Tensor.mul_)):
        if grid_of is None:
            continue
        grid = checkpoint.read(grid_of.name, of_stack).float()
        if grid.numel() == 1:
            operation(values, grid.reshape(()))
            continue
        num_rows, num_cols = values.shape[-2:]
        grids = grid.reshape(-1, num_rows // block[0], num_cols // block[1])
        for i, matrix in enumerate(values.view(-1, num_rows, num_cols)):
            on_blocks(matrix, grids[i], block, operation)
    return values if is_stack or rows is None else values[rows[0] : rows[1]]


def _plan_int4(
    free: Free, meta: TensorMeta, stem: str, logical: str, attributes: Mapping[str, object]
) -> tuple[str, tuple[int, ...], str, Loader]:
    shape, block = attributes.get("shape"), attributes.get("block_size")
    *stack, num_out, num_bytes = meta.shape if len(meta.shape) >= 2 else (0, 0)
    num_in = 2 * num_bytes
    if meta.dtype not in ("I8", "U8") or len(meta.shape) not in (2, 3):
        raise DecodeError(
            f"{meta.name} is {meta.dtype} {list(meta.shape)}; wanted I8 [out, in/2] of Int4Tensor"
        )
    if shape != [*stack, num_out, num_in] or not isinstance(block, list) or not block:
        raise DecodeError(
            f"{meta.name} {list(meta.shape)}: the metadata says shape {shape} and blocks of {block}; "
            f"wanted {[*stack, num_out, num_in]} and blocks"
        )
    size = block[-1]
    if type(size) is not int or size < 1 or num_in % size or any(n != 1 for n in block[:-1]):
        raise DecodeError(f"{meta.name}: blocks of {block}; wanted groups that divide {num_in}")
    shapes = ((*stack, num_in // size, num_out),)
    for grid in ("scale", "zero_point"):
        wanted(free, stem + grid, of=meta.name, shapes=shapes, dtypes=SCALE_FLOATS)
    load = partial(_load_int4, meta, stem, size)
    return logical, (*stack, num_out, num_in), "torchao_int4", load


def _load_int4(
    meta: TensorMeta,
    stem: str,
    size: int,
    checkpoint: Checkpoint,
    rows: RowRange | None = None,
) -> torch.Tensor:
    is_stack = len(meta.shape) > 2
    part = rows if is_stack else None
    stored = checkpoint.read(meta.name, part).view(torch.uint8)
    values = (unpack_nibbles(stored) ^ 8).float().sub_(8)  # two's complement of four bits
    del stored
    for name, operation in (("scale", torch.Tensor.mul_), ("zero_point", torch.Tensor.add_)):
        grids = checkpoint.read(stem + name, part).float().transpose(-1, -2)
        for i, matrix in enumerate(values.view(-1, *values.shape[-2:])):
            on_blocks(matrix, grids.reshape(-1, *grids.shape[-2:])[i], (1, size), operation)
    return values if is_stack or rows is None else values[rows[0] : rows[1]]
