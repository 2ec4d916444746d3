"""ComfyUI's small floats, whose scales lie as matrix units read them (`zoo.formats.swizzled`).

A layer is marked by a tensor `comfy_quant`, JSON with its `format`, or by the header's metadata
`_quantization_metadata`, JSON with `layers`.

 - `nvfp4`: `weight` U8 [out, in/2], two 4-bit floats a byte, the high half first; `weight_scale`
   F8_E4M3 per 16, swizzled; `weight_scale_2`, one number that multiplies. Decoder `comfy_nvfp4`.
 - `mxfp8`: `weight` F8_E4M3 or F8_E5M2; `weight_scale` of exponents per 32, swizzled. Decoder
   `comfy_mxfp8`.

Unmarked, both look like the plain layouts of `zoo.formats.fp4` and `fp8`. Outputs and inputs are padded
to 16 or 32 with zeros, and where the last of them is zero throughout, the weight is refused. Rotated
layers (`convrot`) and other formats are refused by name; `float8_*` and `int8_tensorwise` without a
rotation are read by `fp8` and `int8`.
Source: comfy-kitchen 0.2 `backends/eager/quantization.py`, `float_utils.py`; ComfyUI `comfy/ops.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import torch

from zoo.errors import DecodeError, HeaderError
from zoo.formats.bits import E2M1, look_up, unpack_nibbles
from zoo.formats.claim import Claim, Free, claim_weight, wanted
from zoo.formats.grid import as_scale, multiply_blocks
from zoo.formats.swizzled import swizzled_shapes, unswizzled
from zoo.formats.weight import Loader
from zoo.io.checkpoint import Checkpoint
from zoo.io.header import RowRange, TensorMeta, strict_json

_READ_ELSEWHERE = ("float8_e4m3fn", "float8_e5m2", "int8_tensorwise")
"""Formats that other decoders read, where the layer is not rotated."""
_MAX_JSON_BYTES = 1 << 24
"""A longer `_quantization_metadata` says nothing."""
_MAX_MARKER_BYTES = 1 << 16
"""A longer tensor called `comfy_quant` is no marker."""
_UNREAD = ("input_scale", "comfy_quant", "weight_s_rel", "weight_s_channel", "weight_codebook")
"""Endings of the tensors that belong to a layer, and that decoding does not need."""


def comfy(checkpoint: Checkpoint, free: Free) -> Iterator[Claim]:
    """Every marked layer that is no plain 8-bit one."""
    for layer, marked in _marked(checkpoint, free).items():
        name = f"{layer}.weight"
        is_plain = marked.get("format") in _READ_ELSEWHERE and not marked.get("convrot")
        if name in free and not is_plain:
            beside = (f"{name}_scale", f"{name}_scale_2")
            unread = tuple(f"{layer}.{part}" for part in _UNREAD)
            make = partial(_plan, marked, free, free[name])
            yield claim_weight(free, name, companions=beside, unread=unread, make=make)


def _marked(checkpoint: Checkpoint, free: Free) -> dict[str, Mapping[str, object]]:
    """What the markers say, by layer; a marker that cannot be read says nothing (`{}`)."""
    by_layer: dict[str, Mapping[str, object]] = {}
    raw = checkpoint.metadata.get("_quantization_metadata")
    if raw is not None:
        layers = _parsed(raw.encode(), "_quantization_metadata").get("layers")
        for layer, marked in layers.items() if isinstance(layers, Mapping) else ():
            by_layer[str(layer)] = marked if isinstance(marked, Mapping) else {}
    markers = [name for name, meta in free.items() if name.endswith(".comfy_quant")
               and meta.dtype == "U8" and meta.nbytes <= _MAX_MARKER_BYTES]  # fmt: skip
    checkpoint.expect(markers)
    for name in markers:
        stored = checkpoint.read(name).numpy().tobytes()
        by_layer[name.removesuffix(".comfy_quant")] = _parsed(stored, name)
    return by_layer


def _parsed(raw: bytes, what: str) -> Mapping[str, object]:
    """The JSON object in `raw`; empty when there is none, or it is too long."""
    if len(raw) > _MAX_JSON_BYTES:
        return {}
    try:
        parsed = strict_json(raw, what=what)
    except HeaderError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _plan(
    marked: Mapping[str, object], free: Free, meta: TensorMeta
) -> tuple[str, tuple[int, ...], str, Loader]:
    kind = marked.get("format")
    is_nvfp4 = kind == "nvfp4" and meta.dtype == "U8"
    is_mxfp8 = kind == "mxfp8" and meta.dtype in ("F8_E4M3", "F8_E5M2")
    if not (is_nvfp4 or is_mxfp8) or marked.get("convrot") or len(meta.shape) != 2:
        rotated = ", rotated (convrot)" if marked.get("convrot") else ""
        raise DecodeError(
            f"{meta.name}: {meta.dtype} {list(meta.shape)} in ComfyUI's format {kind!r}{rotated}, "
            "which no decoder reads; wanted nvfp4 or mxfp8 without a rotation. Report the format"
        )
    num_out, num_in = meta.shape[0], meta.shape[1] * (2 if is_nvfp4 else 1)
    size = 16 if is_nvfp4 else 32
    if num_in % size:
        raise DecodeError(f"{meta.name}: {num_in} inputs; wanted a multiple of {size}")
    scale = wanted(
        free,
        f"{meta.name}_scale",
        of=meta.name,
        shapes=swizzled_shapes(num_out, num_in // size),
        dtypes=("F8_E4M3",) if is_nvfp4 else ("U8", "F8_E8M0"),
    )
    overall = None
    if is_nvfp4:
        second = f"{meta.name}_scale_2"
        overall = wanted(free, second, of=meta.name, shapes=((), (1,)), dtypes=("F32",))
    load = partial(_load, meta, scale, overall, (num_out, num_in), size)
    return meta.name, (num_out, num_in), f"comfy_{kind}", load


def _load(
    meta: TensorMeta,
    scale: TensorMeta,
    overall: TensorMeta | None,
    shape: tuple[int, int],
    size: int,
    checkpoint: Checkpoint,
    rows: RowRange | None = None,
) -> torch.Tensor:
    stored = checkpoint.read(meta.name)
    if overall is None:
        values = stored.float()
    else:
        values = look_up(unpack_nibbles(stored, high_first=True), E2M1)
    del stored
    if not bool(values[-1].any()) or not bool(values[:, -1].any()):
        raise DecodeError(
            f"{meta.name}: its last output or input is zero throughout, so it was padded to "
            f"{list(shape)}, and nothing says how large it is"
        )
    factors = unswizzled(
        as_scale(checkpoint.read(scale.name), scale.dtype), shape[0], shape[1] // size
    )
    if overall is not None:
        factors = factors * checkpoint.read(overall.name).reshape(())
    multiply_blocks(values, factors, (1, size))
    return values if rows is None else values[rows[0] : rows[1]]
