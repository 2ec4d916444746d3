"""AWQ, layout GEMM: `qweight` I32 [in, out/8], `qzeros` I32 and `scales` by groups of inputs.

4-bit only. The eight numbers of a word lie in the order 0 4 1 5 2 6 3 7; forgetting it changes
the singular values. `W[i, o] = scales[g, o] · (q[i, o] - z[g, o])`, `g = i // group_size`.
Decoded to [out, in].

Source: AutoAWQ `utils/packing_utils.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import torch

from zoo.errors import DecodeError
from zoo.formats.claim import SCALE_FLOATS, Claim, Free, claim_weight, quantisation, wanted
from zoo.formats.gptq import apply_groups
from zoo.formats.scheme import method
from zoo.formats.weight import Loader
from zoo.io.checkpoint import Checkpoint
from zoo.io.header import RowRange, TensorMeta

_POSITIONS = (0, 4, 1, 5, 2, 6, 3, 7)
"""Number `i` of a word is stored at its half-byte `_POSITIONS[i]`, the lowest first."""


def awq(checkpoint: Checkpoint, free: Free) -> Iterator[Claim]:
    """Every `qweight` whose config says AWQ."""
    for name, meta in free.items():
        if name.endswith("qweight") and meta.dtype == "I32":
            config = quantisation(checkpoint, name)
            if _is_awq(config):
                stem = name.removesuffix("qweight")
                make = partial(_plan, config, free, meta, stem)
                beside = (stem + "qzeros", stem + "scales")
                yield claim_weight(free, name, companions=beside, make=make)


def _is_awq(config: Mapping[str, object]) -> bool:
    return method(config) == "awq" or str(config.get("packing_format", "")).endswith("awq")


def _plan(
    config: Mapping[str, object], free: Free, meta: TensorMeta, stem: str
) -> tuple[str, tuple[int, ...], str, Loader]:
    version = str(config.get("version", config.get("format", "gemm"))).lower()
    bits = config.get("bits", config.get("w_bit", 4))
    if version not in ("gemm", "awq") or bits != 4 or len(meta.shape) != 2:
        raise DecodeError(
            f"{meta.name}: AWQ version {version!r} with {bits} bits and shape {list(meta.shape)}; "
            "wanted version gemm with 4 bits. Convert the checkpoint"
        )
    num_in, num_words = meta.shape
    num_out = 8 * num_words
    scales = wanted(free, stem + "scales", of=meta.name, dtypes=SCALE_FLOATS)
    num_groups = scales.shape[0] if scales.shape else 0
    wanted(free, stem + "scales", of=meta.name, shapes=((num_groups, num_out),))
    wanted(free, stem + "qzeros", of=meta.name, shapes=((num_groups, num_words),), dtypes=("I32",))
    declared = config.get("group_size", config.get("q_group_size"))
    size = declared if isinstance(declared, int) and declared > 0 else num_in
    if method(config).endswith("auto_round") and num_groups and num_in % num_groups == 0:
        size = num_in // num_groups  # layers may differ from the config
    if num_groups * size != num_in:
        raise DecodeError(
            f"{meta.name}: {num_groups} groups of {size} for {num_in} inputs; wanted a group_size "
            "in the config that divides them"
        )
    return f"{stem}weight", (num_out, num_in), "awq", partial(_load, stem, size)


def _load(
    stem: str, size: int, checkpoint: Checkpoint, rows: RowRange | None = None
) -> torch.Tensor:
    scales = checkpoint.read(stem + "scales").float()
    zeros = _unpacked(checkpoint.read(stem + "qzeros"))
    values = _unpacked(checkpoint.read(stem + "qweight"))
    group = torch.arange(values.shape[0], dtype=torch.int32, device=values.device) // size
    apply_groups(values, group, scales, zeros)
    weight = values.t()
    return weight if rows is None else weight[rows[0] : rows[1]]


def _unpacked(words: torch.Tensor) -> torch.Tensor:
    """int32 [n, k] to float32 [n, 8k], the numbers of a word in their proper order."""
    numbers = words.new_empty(words.shape[0], words.shape[1], 8, dtype=torch.float32)
    for i, position in enumerate(_POSITIONS):
        numbers[:, :, i] = (words >> (4 * position)) & 15
    return numbers.flatten(1)
