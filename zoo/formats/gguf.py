"""Quantised tensors of GGUF files, decoded by the `gguf` package.

A tensor `X.scale` beside `X.weight`, one number or one a matrix of a stack, multiplies (NVFP4 and old
BitNet files); `X.input_scale` scales what flows through. Rows of q and k projections of llama-like
models are permuted within each head by the converter: singular values do not notice.

Source: gguf `quants.py`; llama.cpp `llama-model.cpp` for the scales.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from zoo.errors import DecodeError
from zoo.formats.claim import Claim, Free, claim_weight, wanted
from zoo.formats.weight import Loader
from zoo.io.checkpoint import Checkpoint
from zoo.io.dtypes import DTYPE_BITS
from zoo.io.header import RowRange, TensorMeta
from zoo.io.tensors import empty_bytes
from zoo.io.weight_files import SUFFIXES

_CHUNK_BYTES = 16 << 20
"""Bytes of decoded values that are made at a time, besides the result."""


def gguf(checkpoint: Checkpoint, free: Free) -> Iterator[Claim]:
    """Every tensor of a GGUF file that is not stored in a plain type."""
    for name, meta in free.items():
        if meta.dtype not in DTYPE_BITS and meta.file.endswith(SUFFIXES["gguf"]):
            stem = name.removesuffix("weight")
            scale = f"{stem}scale" if stem != name else ""
            unread = (f"{stem}input_scale",) if stem != name else ()
            make = partial(_plan, free, meta, scale)
            yield claim_weight(free, name, companions=(scale,), unread=unread, make=make)


def _plan(free: Free, meta: TensorMeta, scale: str) -> tuple[str, tuple[int, ...], str, Loader]:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
    from gguf.quants import dequantize

    kind = GGMLQuantizationType[meta.dtype]
    _, block_bytes = GGML_QUANT_SIZES[kind]
    try:
        dequantize(np.zeros((1, block_bytes), dtype=np.uint8), kind)
    except NotImplementedError as error:
        raise DecodeError(
            f"{meta.name}: the gguf package cannot decode {meta.dtype}; update gguf, or convert "
            "the file to another type"
        ) from error
    factor = free.get(scale)
    if factor is not None:
        shapes = ((), (1,), meta.shape[:1]) if len(meta.shape) > 2 else ((), (1,))
        wanted(free, scale, of=meta.name, shapes=shapes, dtypes=("F32",))
    load = partial(_load, meta, factor)
    return meta.name, meta.shape, f"gguf_{meta.dtype.lower()}", load


def _load(
    meta: TensorMeta,
    factor: TensorMeta | None,
    checkpoint: Checkpoint,
    rows: RowRange | None = None,
) -> torch.Tensor:
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    kind = GGMLQuantizationType[meta.dtype]
    shape = meta.shape if rows is None else (rows[1] - rows[0], *meta.shape[1:])
    num_rows = max(meta.numel // max(meta.shape[-1], 1), 1)
    stored = checkpoint.read(meta.name, rows).numpy().reshape(-1, meta.nbytes // num_rows)
    values = empty_bytes(4 * len(stored) * meta.shape[-1], what=meta.name).view(torch.float32)
    values = values.view(len(stored), meta.shape[-1])
    step = max(1, _CHUNK_BYTES // max(4 * meta.shape[-1], 1))
    for start in range(0, len(stored), step):
        chunk = stored[start : start + step]
        values[start : start + step] = torch.from_numpy(dequantize(chunk, kind))
    weight = values.view(shape)
    if factor is not None:
        factors = checkpoint.read(factor.name).flatten()
        of_rows = factors[rows[0] : rows[1]] if rows is not None and len(factors) > 1 else factors
        weight *= of_rows.view(-1, *[1] * (len(shape) - 1))
    return weight
