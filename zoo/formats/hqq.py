"""HQQ: `W_q` with `scale` and `zero`, and how they lie in a dozen small tensors beside them.

The matrix is cut into groups of `group_size` numbers that follow one another in memory: the rows of
[groups, size] when `axis` is 1, the columns of [size, groups] when it is 0. `W = (q - zero) · scale`
with a scale and a zero per group. Codes are packed along the first axis of that matrix, which is
cut into as many parts as fit into a byte (8, 4, 2, 1 bits) or word (10 of 3 bits); the first part
lies in the highest bits. 1.58 bits are packed as 2; 5 and 6 bits as 8. With `view_as_float` the
bytes are stored under a float type. Decoder `hqq`.

`scale` and `zero` that are quantised themselves cannot be written to safetensors, and are refused.
Source: hqq `core/quantize.py`, `core/bitpack.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from zoo.errors import DecodeError
from zoo.formats.claim import SCALE_FLOATS, Claim, Free, claim_weight, wanted
from zoo.formats.weight import Loader
from zoo.io.checkpoint import Checkpoint
from zoo.io.header import RowRange, TensorMeta

_NEEDED = ("scale", "zero", "nbits", "group_size", "axis", "packing", "shape")
"""Tensors without which the codes cannot be read."""
_FLAGS = ("quant_scale", "quant_zero", "view_as_float")
"""Tensors that may be missing, which means false."""
_UNREAD = (
    "channel_wise", "compute_dtype", "encoded_state_dict", "offload_meta", "optimize",
    "round_zero", "stores_quant_config", "unpack_view_dtype",
)  # fmt: skip
"""Tensors that belong to the weight, and that decoding does not need."""
_PACKINGS = {"8bit_u8": (8, 1), "4bit_u8": (4, 2), "3bit_32": (3, 10), "2bit_u8": (2, 4),
             "1bit_u8": (1, 8)}  # fmt: skip
"""Bits of a stored code, and how many share a byte or word."""
_BITS_OF = {8: "8bit_u8", 6: "8bit_u8", 5: "8bit_u8", 4: "4bit_u8", 3: "3bit_32", 2: "2bit_u8",
            1.58: "2bit_u8", 1: "1bit_u8"}  # fmt: skip
"""The packing that HQQ uses for a number of bits."""


def hqq(checkpoint: Checkpoint, free: Free) -> Iterator[Claim]:
    """Every `W_q`."""
    known = {"W_q", "bias", *_NEEDED, *_FLAGS, *_UNREAD}
    strangers: dict[str, str] = {}
    for name in checkpoint.tensors:
        module, _, leaf = name.rpartition(".")
        if leaf not in known:
            strangers.setdefault(module, name)
    for name, meta in free.items():
        module, _, leaf = name.rpartition(".")
        if leaf == "W_q":
            stem = name.removesuffix("W_q")
            beside = tuple(stem + part for part in (*_NEEDED, *_FLAGS))
            unread = tuple(stem + part for part in _UNREAD)
            make = partial(_plan, checkpoint, free, meta, stem, strangers.get(module))
            yield claim_weight(free, name, companions=beside, unread=unread, make=make)


def _plan(
    checkpoint: Checkpoint, free: Free, meta: TensorMeta, stem: str, stranger: str | None
) -> tuple[str, tuple[int, ...], str, Loader]:
    for part in _NEEDED:
        wanted(free, stem + part, of=meta.name)
    for part in ("scale", "zero"):
        wanted(free, stem + part, of=meta.name, dtypes=SCALE_FLOATS)
    if stranger is not None:
        raise DecodeError(
            f"{meta.name}: {stranger!r} beside it is no part of HQQ; one of its kin (SINQ?) wrote "
            "it. Report the format"
        )
    at = wanted(free, f"{stem}shape", of=meta.name, shapes=((2,),), dtypes=("I64",))
    rows, cols = (int(n) for n in checkpoint.read(at.name))
    if rows < 1 or cols < 1 or len(meta.shape) != 2:
        raise DecodeError(f"{meta.name} {list(meta.shape)}: shape says {[rows, cols]}")
    flags = tuple(part for part in _FLAGS if stem + part in free)
    return f"{stem}weight", (rows, cols), "hqq", partial(_load, stem, (rows, cols), flags)


def _load(
    stem: str,
    shape: tuple[int, int],
    flags: tuple[str, ...],
    checkpoint: Checkpoint,
    rows: RowRange | None = None,
) -> torch.Tensor:
    name = f"{stem}W_q"
    small = {part: checkpoint.read(stem + part) for part in (*_NEEDED, *flags)}
    bits, per_item = _packing(small, name)
    size, axis = _whole(small, "group_size", name), _whole(small, "axis", name)
    numel = shape[0] * shape[1]
    if axis not in (0, 1) or size < 1 or numel % size:
        raise DecodeError(f"{name}: axis {axis} and groups of {size} for shape {list(shape)}")
    grouped = (size, numel // size) if axis == 0 else (numel // size, size)
    stored = checkpoint.read(name)
    kind = torch.int32 if bits == 3 else torch.uint8
    if stored.dtype != kind:
        if not _flag(small, "view_as_float"):
            raise DecodeError(f"{name}: {stored.dtype} for {bits}-bit codes; wanted {kind}")
        stored = stored.view(kind)
    step = -(-grouped[0] // per_item)
    if tuple(stored.shape) != (step, grouped[1]):
        raise DecodeError(
            f"{name}: {list(stored.shape)} for {bits}-bit codes in groups of {size} along axis "
            f"{axis}; wanted {[step, grouped[1]]}"
        )
    values = stored.new_empty(step * per_item, grouped[1], dtype=torch.float32)
    for i in range(per_item):
        shift = bits * (per_item - 1 - i)
        values[i * step : (i + 1) * step] = (stored >> shift) & ((1 << bits) - 1)
    del stored
    values = values[: grouped[0]]
    wanted_shapes = ((1, grouped[1]) if axis == 0 else (grouped[0], 1), (), (1,))
    for part, operation in (("zero", torch.Tensor.sub_), ("scale", torch.Tensor.mul_)):
        if tuple(small[part].shape) not in wanted_shapes:
            raise DecodeError(
                f"{name}: {part} has shape {list(small[part].shape)}; wanted "
                f"{list(wanted_shapes[0])}"
            )
        operation(values, small[part].float())
    weight = values.reshape(shape)
    return weight if rows is None else weight[rows[0] : rows[1]]


def _packing(small: dict[str, torch.Tensor], name: str) -> tuple[int, int]:
    """Bits of a stored code and codes a byte or word; DecodeError when its tensors disagree."""
    for part in ("quant_scale", "quant_zero"):
        if _flag(small, part):
            raise DecodeError(f"{name}: {part} is set; wanted a scale and a zero in plain floats")
    letters = small["packing"].flatten().tolist()
    packing = "".join(chr(n) for n in letters if isinstance(n, int) and 0 < n < 128)
    bits = round(float(small["nbits"].flatten()[0]), 2) if small["nbits"].numel() == 1 else None
    if bits is None or _BITS_OF.get(bits) != packing:
        raise DecodeError(f"{name}: {bits} bits packed as {packing!r}; wanted HQQ's own pairs")
    return _PACKINGS[packing]


def _whole(small: dict[str, torch.Tensor], part: str, name: str) -> int:
    tensor = small[part]
    if tensor.numel() != 1 or tensor.is_floating_point():
        raise DecodeError(f"{name}: {part} is {tensor.dtype} {list(tensor.shape)}; wanted a number")
    return int(tensor)


def _flag(small: dict[str, torch.Tensor], part: str) -> bool:
    return part in small and bool(small[part].any())
