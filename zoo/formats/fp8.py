"""8-bit floats with a scale beside them: per tensor, per channel, per block, per group of 32.

Decoders `fp8` (one scale per tensor, expert or channel), `fp8_block` (DeepSeek and others: a grid
of scales, block size from the config, the last blocks cut off), `mxfp8` (an exponent per 32) and
`fp8_cast` (a checkpoint without any scale, cast as it was). A scale multiplies, also when it is
called `scale_inv`, or `qscale_weight` (Mistral's own files). Block sizes are never guessed from shapes.

Sources: transformers `integrations/finegrained_fp8.py`, `fbgemm_fp8.py`; compressed-tensors
`naive_quantized`; nvidia-modelopt `export/quant_utils.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from zoo.errors import DecodeError
from zoo.formats.claim import Claim, Free, claim_weight, quantisation, wanted
from zoo.formats.grid import load_scaled
from zoo.formats.scheme import Declared, declared_blocks
from zoo.formats.weight import Loader
from zoo.io.checkpoint import Checkpoint
from zoo.io.header import RowRange, TensorMeta

_EIGHT_BIT = frozenset({"F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"})
"""Stored types that are 8-bit floats with a sign."""
SCALE_DTYPES = ("F32", "F16", "BF16", "F8_E8M0", "U8")
"""Stored types that a scale may have; the last two are exponents of 2."""
_SCALE_PARTS = ("scale", "absmax", "SCB")
"""What the names of scales contain, in every format."""
_LARGEST = {
    "F8_E4M3": 448.0, "F8_E5M2": 57344.0, "F8_E4M3FNUZ": 240.0, "F8_E5M2FNUZ": 57344.0,
}  # fmt: skip
"""The largest finite value of each type."""


def fp8(checkpoint: Checkpoint, free: Free) -> Iterator[Claim]:
    """Every F8 tensor with two axes or more."""
    scales_exist = any(p in n.rpartition(".")[2] for n in checkpoint.tensors for p in _SCALE_PARTS)
    has_more = {  # modules with a tensor nobody expects: it may be a scale under another name
        name.rpartition(".")[0]
        for name in checkpoint.tensors
        if not name.endswith((".weight", "bias"))
    }
    taken: set[str] = set()
    for name, meta in free.items():
        if meta.dtype not in _EIGHT_BIT or len(meta.shape) < 2 or name in taken:
            continue
        scale = scale_name(free, name)
        is_alone = not (name.endswith(".weight") and name.removesuffix(".weight") in has_more)
        is_cast = is_alone and not scales_exist and not quantisation(checkpoint, name)
        if scale is None and is_cast:
            make = partial(_cast, meta)
            yield claim_weight(free, name, companions=(), make=make)
            continue
        scale = scale or f"{name}_scale"
        unread = activation_scales(name)
        taken.update((scale, *unread))
        make = partial(_scaled, checkpoint, free, meta, scale)
        yield claim_weight(free, name, companions=(scale,), unread=unread, make=make)


def scale_name(free: Free, name: str) -> str | None:
    """The scale that lies beside a tensor, under the names in use; None when there is none."""
    stem = name.removesuffix("weight")
    names = [f"{name}_scale_inv", f"{name}_scale"]
    if stem != name:
        names += [f"{stem}scale", f"{stem}scale_weight", f"{stem}weight_quantizer.scale"]
        names += [f"{stem}qscale_weight"]
    return next((n for n in names if n in free), None)


def activation_scales(name: str) -> tuple[str, ...]:
    """Names of scales of what flows through the layer: explained by it, not needed to decode."""
    stem = name.removesuffix("weight").removesuffix("weight_packed")
    kinds = (
        "input_scale", "input_scale_ub", "output_scale", "scale_input", "input_global_scale",
        "input_zero_point", "k_scale", "v_scale", "input_quantizer.scale",
        "qscale_act", "comfy_quant",
    )  # fmt: skip
    return tuple(f"{stem}{kind}" for kind in kinds)


def _cast(meta: TensorMeta) -> tuple[str, tuple[int, ...], str, Loader]:
    return meta.name, meta.shape, "fp8_cast", partial(_load_cast, meta.name, _LARGEST[meta.dtype])


def _load_cast(
    name: str, largest: float, checkpoint: Checkpoint, rows: RowRange | None = None
) -> torch.Tensor:
    values = checkpoint.read(name, rows).float()
    if values.numel() and values.abs().max() >= largest:
        raise DecodeError(
            f"{name}: no scale beside it, yet its largest value is the largest the type can hold, "
            f"{largest:g}: it was scaled. Wanted {name}_scale; save the checkpoint again"
        )
    return values


def _scaled(
    checkpoint: Checkpoint, free: Free, meta: TensorMeta, scale_at: str
) -> tuple[str, tuple[int, ...], str, Loader]:
    scale = wanted(free, scale_at, of=meta.name, dtypes=SCALE_DTYPES)
    declared = declared_blocks(quantisation(checkpoint, meta.name))
    block = block_of(meta, scale, declared)
    decoder = "mxfp8" if block == (1, 32) else "fp8_block" if block in declared.blocks else "fp8"
    return meta.name, meta.shape, decoder, partial(_load, meta, scale, block)


def _load(
    meta: TensorMeta,
    scale: TensorMeta,
    block: tuple[int, int],
    checkpoint: Checkpoint,
    rows: RowRange | None = None,
) -> torch.Tensor:
    return load_scaled(checkpoint, meta, scale, block, torch.Tensor.float, rows)


def block_of(meta: TensorMeta, scale: TensorMeta, declared: Declared) -> tuple[int, int]:
    """Rows and columns that share a scale; DecodeError when the shapes fit no known layout."""
    *stack, rows, cols = meta.shape
    grids = {(h, w): [*stack, -(-rows // h), -(-cols // w)] for h, w in declared.blocks}
    if scale.dtype in ("U8", "F8_E8M0") and cols % 32 == 0:
        grids[1, 32] = [*stack, rows, cols // 32]  # the microscaling formats fix the group
    scale_shape = list(scale.shape)
    for block, grid in grids.items():
        if scale_shape == grid or (not stack and scale_shape == [grid[0], 1, grid[1], 1]):
            return block
    channels = {
        (1, cols): [[*stack, rows], [*stack, rows, 1]],
        (rows, cols): [stack, [*stack, 1], [*stack, 1, 1]],
        (rows, 1): [[*stack, 1, cols]],
    }
    if not declared.only_blocks and scale.dtype not in ("U8", "F8_E8M0"):
        if scale.numel == 1:
            return rows, cols
        for block, shapes in channels.items():
            if scale_shape in shapes:
                return block
    known = [*grids.values()]
    if not declared.only_blocks:
        known += [[1], [*stack, rows], [*stack, rows, 1]]
    hint = "" if declared.blocks else "; the config declares no block size"
    raise DecodeError(
        f"{meta.name} {list(meta.shape)}: its scale {scale.name!r} has shape {scale_shape}; wanted "
        f"{' or '.join(map(str, known))}{hint}. Save the checkpoint again, or complete its config"
    )
