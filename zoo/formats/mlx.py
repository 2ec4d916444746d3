"""MLX: codes in 32-bit words along the inputs, low bits first, with a scale per group of inputs.

 - `affine`, 1, 2, 3, 4, 5, 6 or 8 bits: `weight` U32 [out, in·bits/32], `scales` and `biases` [out,
   in/group] (transformers' `metal` calls them `qbiases`), `W = q · s + b`. Numbers of 3, 5 and 6
   bits straddle words. Bits and group come from the config, of the module itself where it is named;
   the shapes give only their product.
 - `mxfp4`, `mxfp8`, `nvfp4`: small floats, `scales` U8: exponents per 32, or F8_E4M3 per 16. Their
   products of bits and group are 128, 256 and 64, so that the shapes tell the mode. NVFP4 may have
   a `global_scale` G, one for all or one a matrix of a stack; it multiplies by G / 2688.

Stacks of experts have a leading axis more. Decoders `mlx_affine`, `mlx_mxfp4`, ...
Source: MLX `mx.quantize`, `mx.dequantize`; mlx-lm `utils.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from math import prod

import torch

from zoo.errors import DecodeError
from zoo.formats.bits import E2M1, E8M0, look_up, unpack_nibbles, unpack_words
from zoo.formats.claim import SCALE_FLOATS, Claim, Free, claim_weight, quantisation, wanted
from zoo.formats.grid import on_blocks
from zoo.formats.scheme import is_count, method
from zoo.formats.weight import Loader
from zoo.io.checkpoint import Checkpoint
from zoo.io.header import RowRange, TensorMeta

_AFFINE_BITS = (1, 2, 3, 4, 5, 6, 8)
"""Bits of a code that MLX knows."""
_FLOAT_MODES = {128: ("mxfp4", 32), 256: ("mxfp8", 32), 64: ("nvfp4", 16)}
"""Mode and group of the small floats, by the product of bits and group."""
_UNIT_OF_GLOBAL_SCALE = 448.0 * 6.0
"""The largest F8_E4M3 times the largest E2M1."""


def mlx(checkpoint: Checkpoint, free: Free) -> Iterator[Claim]:
    """Every U32 `weight` with `scales` beside it."""
    for name, meta in free.items():
        stem = name.removesuffix("weight")
        if meta.dtype == "U32" and stem != name and f"{stem}scales" in free:
            parts = ("scales", "biases", "qbiases", "global_scale")
            make = partial(_plan, checkpoint, free, meta, stem)
            beside = tuple(stem + part for part in parts)
            yield claim_weight(free, name, companions=beside, make=make)


def _plan(
    checkpoint: Checkpoint, free: Free, meta: TensorMeta, stem: str
) -> tuple[str, tuple[int, ...], str, Loader]:
    if len(meta.shape) not in (2, 3) or not prod(meta.shape):
        raise DecodeError(f"{meta.name} has shape {list(meta.shape)}; wanted a matrix or a stack")
    *stack, num_out, num_words = meta.shape
    scales = wanted(free, f"{stem}scales", of=meta.name)
    groups = scales.shape[-1] if scales.shape else 0
    if scales.shape[:-1] != (*stack, num_out) or not groups or 32 * num_words % groups:
        raise DecodeError(
            f"{meta.name} {list(meta.shape)}: {scales.name!r} has shape {list(scales.shape)}; wanted "
            f"{[*stack, num_out]} and a number of groups that divides {32 * num_words} bits"
        )
    bits_of_group = 32 * num_words // groups
    settings = _settings(checkpoint, stem.rstrip("."), meta.name)
    if scales.dtype == "U8":
        return _plan_floats(free, meta, scales, stem, bits_of_group, settings.get("mode"))
    bits, size = _bits_and_group(settings, meta.name)
    if bits not in _AFFINE_BITS or bits * size != bits_of_group:
        raise DecodeError(
            f"{meta.name}: {num_words} words and {groups} groups a row; wanted those of {bits} bits "
            f"in groups of {size}, as the config says"
        )
    wanted(free, scales.name, of=meta.name, dtypes=SCALE_FLOATS)
    named = (f"{stem}biases", f"{stem}qbiases")
    bias = next((name for name in named if name in free), named[0])
    wanted(free, bias, of=meta.name, shapes=(scales.shape,), dtypes=SCALE_FLOATS)
    if all(name in free for name in named) or f"{stem}global_scale" in free:
        raise DecodeError(
            f"{meta.name}: biases twice, or a global_scale; wanted affine codes alone"
        )
    shape = (*stack, num_out, size * groups)
    load = partial(_load_affine, meta, scales.name, bias, shape, bits, size)
    return meta.name, shape, "mlx_affine", load


def _settings(checkpoint: Checkpoint, module: str, name: str) -> Mapping[str, object]:
    """What the config says of a module, else of all; DecodeError when it says nothing."""
    config = checkpoint.config_of(name)
    holders = (config.get("quantization"), quantisation(checkpoint, name))
    declared = next((c for c in holders if isinstance(c, Mapping) and c), None)
    if declared is None or method(declared) not in ("", "mlx", "metal"):
        raise DecodeError(
            f"{name}: no quantization in the config says bits and group_size, and the shapes give "
            "only their product. Put config.json beside the weights"
        )
    own = [value for key, value in declared.items()
           if isinstance(value, (Mapping, bool)) and _is_same_module(key, module)]  # fmt: skip
    if not own:
        return declared
    of_module = own[0]
    if not isinstance(of_module, Mapping) or any(value != of_module for value in own):
        raise DecodeError(f"{name}: the config says {own} of it; wanted bits and group_size once")
    return {**{key: declared.get(key) for key in ("bits", "group_size", "mode")}, **of_module}


def _bits_and_group(settings: Mapping[str, object], name: str) -> tuple[int, int]:
    mode, bits, size = settings.get("mode"), settings.get("bits"), settings.get("group_size")
    if mode not in (None, "affine") or not is_count(bits) or not is_count(size):
        raise DecodeError(
            f"{name}: the config says mode {mode!r}, {bits} bits in groups of {size}; wanted affine "
            "codes with both. Complete the config"
        )
    assert isinstance(bits, int) and isinstance(size, int)
    return bits, size


def _is_same_module(key: str, module: str) -> bool:
    """True for the same path, also when one of the two lacks a prefix of the other."""
    return key == module or module.endswith(f".{key}") or key.endswith(f".{module}")


def _load_affine(
    meta: TensorMeta,
    scales: str,
    biases: str,
    shape: tuple[int, ...],
    bits: int,
    size: int,
    checkpoint: Checkpoint,
    rows: RowRange | None = None,
) -> torch.Tensor:
    is_stack = len(shape) > 2
    part = rows if is_stack else None
    matrix = _codes(checkpoint.read(meta.name, part), shape[-1], bits)
    for name, operation in ((scales, torch.Tensor.mul_), (biases, torch.Tensor.add_)):
        grid = checkpoint.read(name, part).float().flatten(0, -2)
        on_blocks(matrix, grid, (1, size), operation)
    values = torch.unflatten(matrix, 0, (-1, shape[-2])) if is_stack else matrix
    return values if is_stack or rows is None else values[rows[0] : rows[1]]


def _codes(words: torch.Tensor, num_in: int, bits: int) -> torch.Tensor:
    """U32 [..., words] to float32 [rows, inputs]."""
    if 8 % bits:  # numbers straddle bytes
        columns = words.view(torch.int32).flatten(0, -2).t().contiguous()
        return unpack_words(columns, bits=bits, count=num_in).float().t()
    stored = words.view(torch.uint8).flatten(0, -2)
    matrix = stored.new_empty(stored.shape[0], stored.shape[1], 8 // bits, dtype=torch.float32)
    for i in range(8 // bits):
        matrix[..., i] = (stored >> (bits * i)) & ((1 << bits) - 1)
    return matrix.flatten(1)


def _plan_floats(
    free: Free,
    meta: TensorMeta,
    scales: TensorMeta,
    stem: str,
    bits_of_group: int,
    declared_mode: object,
) -> tuple[str, tuple[int, ...], str, Loader]:
    known = _FLOAT_MODES.get(bits_of_group)
    beside = [n for n in (f"{stem}biases", f"{stem}qbiases") if n in free]
    if known is None or beside:
        raise DecodeError(
            f"{meta.name}: {bits_of_group} bits a group with U8 scales, beside it {beside}; wanted "
            "128 (mxfp4), 256 (mxfp8) or 64 (nvfp4) and no biases"
        )
    mode, size = known
    if declared_mode not in (
        mode,
        None,
        "affine",
    ):  # the config's word for all modules, or for this one
        raise DecodeError(
            f"{meta.name}: {bits_of_group} bits a group are {mode}, but the config says "
            f"{declared_mode!r}"
        )
    overall = free.get(f"{stem}global_scale")
    if overall is not None:
        *stack, _, _ = meta.shape
        is_one_each = bool(stack) and overall.numel == stack[0] and overall.shape[0] == stack[0]
        if mode != "nvfp4" or overall.dtype != "F32" or not (overall.numel == 1 or is_one_each):
            raise DecodeError(
                f"{meta.name}: {overall.name!r} is {overall.dtype} {list(overall.shape)} with {mode}; "
                "wanted one F32 number, or one a matrix, with nvfp4"
            )
    shape = (*meta.shape[:-1], scales.shape[-1] * size)
    load = partial(_load_floats, meta, scales.name, overall, shape, mode, size)
    return meta.name, shape, f"mlx_{mode}", load


def _load_floats(
    meta: TensorMeta,
    scales: str,
    overall: TensorMeta | None,
    shape: tuple[int, ...],
    mode: str,
    size: int,
    checkpoint: Checkpoint,
    rows: RowRange | None = None,
) -> torch.Tensor:
    is_stack = len(shape) > 2
    part = rows if is_stack else None
    stored = checkpoint.read(meta.name, part).view(torch.uint8)
    if mode == "mxfp8":
        values = stored.view(torch.float8_e4m3fn).float()
    else:
        values = look_up(unpack_nibbles(stored), E2M1)
    raw = checkpoint.read(scales, part)
    grid = raw.view(torch.float8_e4m3fn).float() if mode == "nvfp4" else look_up(raw, E8M0)
    if overall is not None:
        factor = checkpoint.read(overall.name).flatten() / _UNIT_OF_GLOBAL_SCALE
        of_rows = factor[part[0] : part[1]] if part is not None and len(factor) > 1 else factor
        grid = grid * of_rows.reshape(-1, *[1] * (grid.ndim - 1))
    on_blocks(values.flatten(0, -2), grid.flatten(0, -2), (1, size), torch.Tensor.mul_)
    return values if is_stack or rows is None else values[rows[0] : rows[1]]
