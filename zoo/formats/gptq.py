"""GPTQ: `qweight` I32 [in·bits/32, out], `qzeros`, `scales` [groups, out], perhaps `g_idx` [in].

`W[i, o] = scales[g, o] · (q[i, o] - z[g, o])` with `g = g_idx[i]` or `i // group_size`. Format
`gptq` (v1) stores `z - 1`, `gptq_v2` stores `z`; reading one as the other is wrong by a step, so
the config has to say. Decoded to [out, in], as a linear layer's `weight`.

Source: GPTQModel `nn_modules/qlinear/__init__.py`; AutoGPTQ `qlinear_cuda.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch

from zoo.errors import DecodeError
from zoo.formats.bits import unpack_words
from zoo.formats.claim import SCALE_FLOATS, Claim, Free, claim_weight, quantisation, wanted
from zoo.formats.scheme import method
from zoo.formats.weight import Loader
from zoo.io.checkpoint import Checkpoint
from zoo.io.header import RowRange, TensorMeta

_PER_LAYER = ("dynamic", "extra_config")
"""Keys under which GPTQModel and AutoRound list layers with bits of their own."""
_BITS = (2, 3, 4, 8)
"""Bits of a code that the format allows."""
_AUTO_ROUND = ("auto_round", "intel/auto_round")
"""AutoRound's `quant_method`, new and old."""
_BITS_OF_AUTO_ROUND = (2, 3, 4, 5, 6, 7, 8)
"""It also packs 5, 6 and 7 bits, as a dense stream."""
_BLOCK_ROWS = 1024
"""Rows that are scaled at a time: only so many have a scale and a zero point each in memory."""


def gptq(checkpoint: Checkpoint, free: Free) -> Iterator[Claim]:
    """Every `qweight` whose config says GPTQ, or whose config says nothing (an error)."""
    for name, meta in free.items():
        if name.endswith("qweight") and meta.dtype == "I32":
            stem = name.removesuffix("qweight")
            beside = tuple(stem + part for part in ("qzeros", "scales", "g_idx"))
            make = partial(_plan, quantisation(checkpoint, name), free, meta, stem)
            yield claim_weight(free, name, companions=beside, make=make)


@dataclass(frozen=True, slots=True)
class _Layout:
    """How one weight is stored."""

    stem: str
    """What the names of its tensors start with."""
    bits: int
    """Bits of a code."""
    num_in: int
    num_out: int
    group_size: int
    """Inputs that share a scale; without meaning where `has_order`."""
    zero_offset: int
    """Added to a stored zero point."""
    has_order: bool
    """True when `g_idx` gives the group of each input."""


def _plan(
    config: Mapping[str, object], free: Free, meta: TensorMeta, stem: str
) -> tuple[str, tuple[int, ...], str, Loader]:
    zero_offset = _zero_offset(config, meta.name)
    if len(meta.shape) != 2:
        raise DecodeError(f"{meta.name} has shape {list(meta.shape)}; wanted two axes")
    num_words, num_out = meta.shape
    scales = wanted(free, stem + "scales", of=meta.name, dtypes=SCALE_FLOATS)
    zeros = wanted(free, stem + "qzeros", of=meta.name, dtypes=("I32",))
    if len(scales.shape) != 2 or scales.shape[1] != num_out:
        raise DecodeError(
            f"{meta.name}: {scales.name!r} has shape {list(scales.shape)}; wanted "
            f"[groups, {num_out}]"
        )
    num_groups = scales.shape[0]
    known = _BITS_OF_AUTO_ROUND if method(config) in _AUTO_ROUND else _BITS
    possible_bits = [b for b in known if zeros.shape == (num_groups, -(-num_out * b // 32))]
    if len(possible_bits) != 1:
        raise DecodeError(
            f"{meta.name}: {zeros.name!r} has shape {list(zeros.shape)}; wanted "
            f"[{num_groups}, {num_out}·bits/32] with bits among {known}"
        )
    bits = possible_bits[0]
    declared_bits = config.get("bits")
    if declared_bits not in (None, bits) and not any(config.get(key) for key in _PER_LAYER):
        raise DecodeError(
            f"{meta.name}: {zeros.name!r} {list(zeros.shape)} holds {bits}-bit numbers, but the "
            f"config says {declared_bits} bits, and names no layers with other ones"
        )
    order = free.get(stem + "g_idx")
    if order is None and config.get("desc_act") is True:
        wanted(free, stem + "g_idx", of=meta.name)
    num_in = order.shape[0] if order and len(order.shape) == 1 else num_words * 32 // bits
    if order and (len(order.shape) != 1 or order.dtype not in ("I32", "I64")):
        raise DecodeError(f"{meta.name}: {order.name!r} is {order.dtype} {list(order.shape)}")
    if num_in * bits != 32 * num_words:
        raise DecodeError(
            f"{meta.name}: {num_words} words of {bits}-bit numbers do not hold {num_in} inputs"
        )
    group_size = _group_size(config, num_in, num_groups, meta.name, has_order=order is not None)
    layout = _Layout(stem, bits, num_in, num_out, group_size, zero_offset, order is not None)
    return f"{stem}weight", (num_out, num_in), "gptq", partial(_load, layout)


def _zero_offset(config: Mapping[str, object], name: str) -> int:
    """1 for the v1 layout, 0 for v2; DecodeError when the config does not say."""
    declared = method(config)
    if declared in ("gptq", "gptqmodel"):
        layout = config.get("checkpoint_format", config.get("format", "gptq"))
        if layout in ("gptq", "gptq_v2"):
            return 1 if layout == "gptq" else 0
        raise DecodeError(
            f"{name}: checkpoint_format {layout!r}; wanted gptq or gptq_v2. Convert it"
        )
    if declared in _AUTO_ROUND:
        return _zero_offset_of_auto_round(config, name)
    raise DecodeError(
        f"{name}: the config's quant_method is {config.get('quant_method')!r}; wanted gptq, "
        "which also says how zero points are stored. Put quantize_config.json or the "
        "quantization_config beside the weights"
    )


def _zero_offset_of_auto_round(config: Mapping[str, object], name: str) -> int:
    """AutoRound packs as AutoGPTQ does (v1), as GPTQModel does (v2), or its own way (v2)."""
    packing = config.get("packing_format")
    data_type = str(config.get("data_type", "int"))
    act_bits = config.get("act_bits", 16)
    if (
        not isinstance(packing, str)
        or not data_type.startswith("int")
        or act_bits not in (None, 16)
    ):
        raise DecodeError(
            f"{name}: AutoRound's packing_format is {packing!r}, its data_type {data_type!r}, its "
            f"act_bits {act_bits!r}; wanted integers with plain activations. Export it again"
        )
    if "gptqmodel" in packing:
        return 0
    if "gptq" in packing:
        return 1
    if packing == "auto_round":
        return 0
    raise DecodeError(f"{name}: packing_format {packing!r}; wanted auto_round or auto_gptq")


def _group_size(
    config: Mapping[str, object], num_in: int, num_groups: int, name: str, *, has_order: bool
) -> int:
    """Inputs per group; only used when there is no `g_idx`."""
    declared = config.get("group_size")
    size = declared if isinstance(declared, int) and declared > 0 else num_in
    if not has_order and -(-num_in // size) != num_groups:
        size = -(-num_in // num_groups) if num_groups else 0  # layers may differ from the config
        if size == 0 or num_in % size or num_in // size != num_groups:
            raise DecodeError(
                f"{name}: {num_groups} groups for {num_in} inputs; wanted group_size {declared!r}"
            )
    return size


def _load(layout: _Layout, checkpoint: Checkpoint, rows: RowRange | None = None) -> torch.Tensor:
    stem, bits = layout.stem, layout.bits
    scales = checkpoint.read(stem + "scales").float()
    packed = checkpoint.read(stem + "qzeros").t().contiguous()
    codes = unpack_words(packed, bits=bits, count=layout.num_out).t()
    zeros = ((codes.int() + layout.zero_offset) & ((1 << bits) - 1)).float()
    if layout.has_order:
        group = checkpoint.read(stem + "g_idx").int()
        if group.numel() and not 0 <= int(group.min()) <= int(group.max()) < scales.shape[0]:
            raise DecodeError(
                f"{stem}g_idx: groups {int(group.min())} to {int(group.max())}; wanted 0 to "
                f"{scales.shape[0] - 1}"
            )
    else:
        group = (
            torch.arange(layout.num_in, dtype=torch.int32, device=scales.device)
            // layout.group_size
        )
    stored = checkpoint.read(stem + "qweight")
    values = unpack_words(stored, bits=bits, count=layout.num_in).float()
    del stored
    apply_groups(values, group, scales, zeros)
    weight = values.t()
    return weight if rows is None else weight[rows[0] : rows[1]]


def apply_groups(
    values: torch.Tensor, group: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor
) -> None:
    """`values[i] = scales[group[i]] * (values[i] - zeros[group[i]])`, in place, by blocks."""
    for start in range(0, values.shape[0], _BLOCK_ROWS):
        block = values[start : start + _BLOCK_ROWS]
        groups = group[start : start + _BLOCK_ROWS]
        block.sub_(zeros[groups]).mul_(scales[groups])
