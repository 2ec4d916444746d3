"""Weights stored as plain floating-point numbers: decoder `none`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from zoo.formats.claim import Claim, Free
from zoo.formats.weight import Weight
from zoo.io.checkpoint import Checkpoint
from zoo.io.dtypes import NATIVE_FLOATS
from zoo.io.header import RowRange


def native(checkpoint: Checkpoint, free: Free) -> Iterator[Claim]:
    """Every F64, F32, F16 and BF16 tensor with two axes or more."""
    del checkpoint
    for name, meta in free.items():
        if meta.dtype in NATIVE_FLOATS and len(meta.shape) >= 2:
            weight = Weight(
                name, meta.shape, meta.dtype, "none", (name,), partial(_load, name), meta.nbytes
            )
            yield Claim(name, (), weight, None)


def _load(name: str, checkpoint: Checkpoint, rows: RowRange | None = None) -> torch.Tensor:
    return checkpoint.read(name, rows)
