"""bitsandbytes: 4-bit codes (`nf4`, `fp4`) in blocks, and 8-bit rows.

 - 4 bits: `weight` holds two codes a byte, high half first, flat; `weight.absmax` a factor per
   block, `weight.quant_map` the 16 values, `weight.quant_state.bitsandbytes__nf4` JSON with shape
   and block size. When nested, `absmax` is 8-bit codes: `nested_quant_map[code] ·
   nested_absmax[block / nested_blocksize] + nested_offset`.
 - 8 bits: `weight` I8 [out, in], `SCB` F32 [out], `W = q · SCB / 127`; `weight_format` must be 0.

The shape of a 4-bit weight is only in that JSON, so the account reads those few bytes.
Source: bitsandbytes `functional.QuantState`, `backends/default/ops.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from math import prod

import torch

from zoo.errors import DecodeError, HeaderError
from zoo.formats.bits import look_up, unpack_nibbles
from zoo.formats.claim import Claim, Free, claim_weight, wanted
from zoo.formats.scheme import is_count
from zoo.formats.weight import Loader
from zoo.io.checkpoint import Checkpoint
from zoo.io.header import RowRange, TensorMeta, strict_json

_KINDS = ("nf4", "fp4")
"""Kinds of 4-bit codes, as the name of the quantisation state tells them."""
_PARTS = ("absmax", "quant_map", "nested_absmax", "nested_quant_map")
"""Endings of the tensors that are read with the codes."""
_MAX_STATE_BYTES = 65536
"""A longer quantisation state is refused unread; real ones take hundreds of bytes."""


def bnb_4bit(checkpoint: Checkpoint, free: Free) -> Iterator[Claim]:
    """Every tensor with a quantisation state, or with an `absmax`, beside it."""
    for name in free:
        states = tuple(f"{name}.quant_state.bitsandbytes__{kind}" for kind in _KINDS)
        if any(n in free for n in (*states, f"{name}.absmax")):
            beside = tuple(f"{name}.{part}" for part in _PARTS)
            make = partial(_plan_4bit, checkpoint, free, name, states)
            yield claim_weight(free, name, companions=beside, unread=states, make=make)


def bnb_8bit(checkpoint: Checkpoint, free: Free) -> Iterator[Claim]:
    """Every I8 matrix with `SCB` beside it."""
    del checkpoint
    for name, meta in free.items():
        stem = name.removesuffix("weight")
        if meta.dtype == "I8" and len(meta.shape) == 2 and f"{stem}SCB" in free:
            beside = (f"{stem}SCB", f"{stem}weight_format")
            make = partial(_plan_8bit, free, meta, stem)
            yield claim_weight(free, name, companions=beside, make=make)


def _plan_4bit(
    checkpoint: Checkpoint, free: Free, name: str, states: tuple[str, ...]
) -> tuple[str, tuple[int, ...], str, Loader]:
    state_name = next((n for n in states if n in free), None)
    state_meta = free[state_name] if state_name else wanted(free, states[0], of=name)
    if state_meta.dtype != "U8" or state_meta.nbytes > _MAX_STATE_BYTES:
        raise DecodeError(f"{name}: {state_meta.name!r} is no small U8 vector")
    state = _state(checkpoint.read(state_meta.name), name)
    shape, size = state["shape"], state["blocksize"]
    assert isinstance(shape, tuple) and isinstance(size, int)
    numel = prod(shape)
    if -(-numel // 2) != free[name].nbytes:
        raise DecodeError(
            f"{name}: {free[name].nbytes:,} bytes for shape {list(shape)}; wanted one byte for two"
        )
    num_blocks = -(-numel // size)
    is_nested = f"{name}.nested_absmax" in free
    wanted(free, f"{name}.quant_map", of=name, shapes=((16,),), dtypes=("F32",))
    kinds = ("U8",) if is_nested else ("F32",)
    wanted(free, f"{name}.absmax", of=name, shapes=((num_blocks,), (num_blocks, 1)), dtypes=kinds)
    if is_nested:
        nested_size = state.get("nested_blocksize")
        if not is_count(nested_size) or type(state.get("nested_offset")) not in (int, float):
            raise DecodeError(f"{name}: no nested_blocksize and nested_offset in its state")
        assert isinstance(nested_size, int)
        shapes = ((-(-num_blocks // nested_size),),)
        wanted(free, f"{name}.nested_absmax", of=name, shapes=shapes, dtypes=("F32",))
        wanted(free, f"{name}.nested_quant_map", of=name, shapes=((256,),), dtypes=("F32",))
    decoder = "bnb_" + str(state_meta.name).rpartition("__")[2]
    return name, shape, decoder, partial(_load_4bit, name, state)


def _state(raw: torch.Tensor, name: str) -> Mapping[str, object]:
    """The checked JSON of a quantisation state; `shape` becomes a tuple."""
    try:
        state = strict_json(raw.numpy().tobytes(), what=f"quantisation state of {name}")
    except HeaderError as error:
        raise DecodeError(str(error)) from error
    shape = state.get("shape") if isinstance(state, dict) else None
    if not isinstance(state, dict) or not isinstance(shape, list) or not 1 <= len(shape) <= 8:
        raise DecodeError(f"{name}: its quantisation state has no shape")
    if not all(map(is_count, shape)) or not is_count(state.get("blocksize")):
        raise DecodeError(f"{name}: its quantisation state has no sound shape and blocksize")
    return {**state, "shape": tuple(shape)}


def _load_4bit(
    name: str,
    state: Mapping[str, object],
    checkpoint: Checkpoint,
    rows: RowRange | None = None,
) -> torch.Tensor:
    shape, size = state["shape"], state["blocksize"]
    assert isinstance(shape, tuple) and isinstance(size, int)
    absmax = checkpoint.read(f"{name}.absmax").flatten()
    if absmax.dtype == torch.uint8:
        absmax = look_up(absmax, checkpoint.read(f"{name}.nested_quant_map"))
        nested_size, offset = state["nested_blocksize"], state["nested_offset"]
        assert isinstance(nested_size, int) and isinstance(offset, (int, float))
        multiply_flat(absmax, checkpoint.read(f"{name}.nested_absmax"), nested_size)
        absmax += offset
    table = checkpoint.read(f"{name}.quant_map")
    stored = checkpoint.read(name).flatten().view(torch.uint8)
    values = look_up(unpack_nibbles(stored, high_first=True), table)[: prod(shape)]
    multiply_flat(values, absmax, size)
    weight = values.view(shape)
    return weight if rows is None else weight[rows[0] : rows[1]]


def multiply_flat(values: torch.Tensor, factors: torch.Tensor, size: int) -> None:
    """`values[i] *= factors[i // size]`, in place."""
    num_full = values.numel() // size
    values[: num_full * size].view(num_full, size).mul_(factors[:num_full, None])
    if num_full < len(factors):
        values[num_full * size :].mul_(factors[num_full])


def _plan_8bit(free: Free, meta: TensorMeta, stem: str) -> tuple[str, tuple[int, ...], str, Loader]:
    wanted(free, f"{stem}SCB", of=meta.name, shapes=((meta.shape[0],),), dtypes=("F32", "F16"))
    layout = f"{stem}weight_format" if f"{stem}weight_format" in free else None
    return meta.name, meta.shape, "bnb_int8", partial(_load_8bit, meta.name, stem, layout)


def _load_8bit(
    name: str,
    stem: str,
    layout: str | None,
    checkpoint: Checkpoint,
    rows: RowRange | None = None,
) -> torch.Tensor:
    if layout is not None and bool(checkpoint.read(layout).any()):
        raise DecodeError(f"{name}: {layout!r} is not 0 (rows); wanted rows. Save it again")
    factors = checkpoint.read(f"{stem}SCB").float() / 127.0
    if rows is not None:
        factors = factors[rows[0] : rows[1]]
    return checkpoint.read(name, rows).float().mul_(factors[:, None])
