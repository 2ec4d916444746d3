"""BitNet: matrices of -1, 0 and 1 with one factor, four a byte, as transformers stores them.

`weight` U8 [out/4, in] holds q + 1: row r of the bytes carries rows r, r + out/4, r + out/2 and
r + 3·out/4 of the matrix, the first in the lowest bits. The factor `weight_scale`, one number,
multiplies where the config's `linear_class` is `autobitlinear`, and divides where it is `bitlinear`
or not said. Saved again after loading, `autobitlinear` has q itself, unpacked and in floats, beside
the same factor. Decoder `bitnet`.

In mode `online` a checkpoint holds plain floats that the model rounds as it runs: they are what was
trained, and are measured as they are.
Source: transformers `integrations/bitnet.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import torch

from zoo.errors import DecodeError
from zoo.formats.claim import SCALE_FLOATS, Claim, Free, claim_weight, quantisation, wanted
from zoo.formats.scheme import method
from zoo.formats.weight import Loader
from zoo.io.checkpoint import Checkpoint
from zoo.io.header import RowRange, TensorMeta

_PER_BYTE = 4
"""Numbers that share a byte."""


def bitnet(checkpoint: Checkpoint, free: Free) -> Iterator[Claim]:
    """Every `weight` whose config says BitNet: U8, or plain floats with a factor beside them."""
    for name, meta in free.items():
        is_matrix = name.endswith("weight") and len(meta.shape) >= 2
        if is_matrix and (meta.dtype == "U8" or f"{name}_scale" in free):
            config = quantisation(checkpoint, name)
            if method(config) == "bitnet":
                make = partial(_plan, config, free, meta)
                yield claim_weight(free, name, companions=(f"{name}_scale",), make=make)


def _plan(
    config: Mapping[str, object], free: Free, meta: TensorMeta
) -> tuple[str, tuple[int, ...], str, Loader]:
    kind = config.get("linear_class", "bitlinear")
    if kind not in ("bitlinear", "autobitlinear") or len(meta.shape) != 2:
        raise DecodeError(
            f"{meta.name} {list(meta.shape)}: linear_class {kind!r}; wanted a matrix of bitlinear or "
            "autobitlinear"
        )
    scale = wanted(free, f"{meta.name}_scale", of=meta.name, shapes=((), (1,)), dtypes=SCALE_FLOATS)
    if meta.dtype in SCALE_FLOATS and kind == "autobitlinear":
        return meta.name, meta.shape, "bitnet", partial(_load_unpacked, meta, scale.name)
    if meta.dtype != "U8":
        raise DecodeError(f"{meta.name}: {meta.dtype} with a factor beside it; wanted U8 of {kind}")
    shape = (_PER_BYTE * meta.shape[0], meta.shape[1])
    load = partial(_load, meta, scale.name, kind == "autobitlinear")
    return meta.name, shape, "bitnet", load


def _load_unpacked(
    meta: TensorMeta, scale: str, checkpoint: Checkpoint, rows: RowRange | None = None
) -> torch.Tensor:
    values = checkpoint.read(meta.name, rows).float()
    if not bool(((values == 0) | (values.abs() == 1)).all()):
        raise DecodeError(f"{meta.name}: holds other numbers than -1, 0 and 1 beside its factor")
    return values.mul_(checkpoint.read(scale).float().reshape(()))


def _load(
    meta: TensorMeta,
    scale: str,
    multiplies: bool,
    checkpoint: Checkpoint,
    rows: RowRange | None = None,
) -> torch.Tensor:
    factor = float(checkpoint.read(scale).float().reshape(()))
    if not multiplies and factor == 0.0:
        raise DecodeError(f"{meta.name}: {scale!r} is 0, and it divides; wanted another number")
    stored = checkpoint.read(meta.name)
    height = stored.shape[0]
    values = torch.empty(_PER_BYTE * height, stored.shape[1])
    for i in range(_PER_BYTE):
        codes = (stored >> (2 * i)) & 3
        if codes.numel() and int(codes.max()) > 2:
            raise DecodeError(f"{meta.name}: holds the code 3, which is none of -1, 0 and 1")
        values[i * height : (i + 1) * height] = codes
    values.sub_(1)
    values = values.mul_(factor) if multiplies else values.div_(factor)
    return values if rows is None else values[rows[0] : rows[1]]
