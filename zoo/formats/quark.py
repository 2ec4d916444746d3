"""AMD Quark's integers: `weight` with `weight_scale` and `weight_zero_point`, `W = (q - z) · s`.

 - per group, 4 bits: `weight` I32 [in, out/8], zero points I32 [groups, out/8], scale [groups, out];
   8 bits: `weight` I8 or U8 [in, out] and zero points alike. Before Quark 1.0 the scale is [out,
   groups]; where both readings fit, the weight is refused;
 - per channel or tensor, 4 bits: `weight` I32 [out, in/8], scale [out] or one number.

With `pack_method` `reorder`, which is the default, the eight numbers of a word lie in AWQ's order.
Signed numbers are two's complement. The config says which type each layer has. Decoder `quark_int`;
its 8-bit channels, 8-bit floats and MXFP4 are those of `zoo.formats.integers`, `fp8` and `fp4`.
Source: amd-quark 0.13 `torch/utils/pack.py`, `torch/export/nn/modules/realquantizer.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

import torch

from zoo.errors import DecodeError
from zoo.formats.claim import SCALE_FLOATS, Claim, Free, claim_weight, quantisation, wanted
from zoo.formats.fp8 import activation_scales
from zoo.formats.gptq import apply_groups
from zoo.formats.scheme import method
from zoo.formats.weight import Loader
from zoo.io.checkpoint import Checkpoint
from zoo.io.header import RowRange, TensorMeta

_KINDS = {"I32": ("int4", "uint4"), "I8": ("int8",), "U8": ("uint8",)}
"""Stored type -> types of numbers it may hold."""
_REORDERED = (0, 4, 1, 5, 2, 6, 3, 7)
"""Number `i` of a word lies at this place of it."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """How one weight is stored."""

    name: str
    kind: str
    shape: tuple[int, int]
    """Outputs and inputs."""
    is_per_group: bool
    """True where the matrix and its scales are transposed."""
    is_scale_transposed: bool
    group_size: int
    has_zeros: bool
    is_reordered: bool


def quark(checkpoint: Checkpoint, free: Free) -> Iterator[Claim]:
    """Every integer `weight` whose config says Quark and that no other decoder reads."""
    for name, meta in free.items():
        is_weight = meta.dtype in _KINDS and name.endswith("weight") and len(meta.shape) >= 2
        config = quantisation(checkpoint, name) if is_weight else {}
        if method(config) != "quark":
            continue
        spec = _spec(config, name)
        is_ours = meta.dtype == "I32" or (spec is not None and spec.get("qscheme") == "per_group")
        lacks_zeros = (spec or {}).get("symmetric") is False and f"{name}_zero_point" not in free
        is_float = str((spec or {}).get("dtype", "")).startswith(("fp", "mx"))
        if (is_ours or lacks_zeros) and not is_float:
            beside = (f"{name}_scale", f"{name}_zero_point")
            make = partial(_plan, config, spec, free, meta)
            unread = activation_scales(name)
            yield claim_weight(free, name, companions=beside, unread=unread, make=make)


def _spec(config: Mapping[str, object], name: str) -> Mapping[str, object] | None:
    """What the config says of a layer's weight; None when it says nothing, or several things."""
    module = name.removesuffix(".weight")
    layers = config.get("layer_quant_config")
    own = [value for pattern, value in (layers.items() if isinstance(layers, Mapping) else ())
           if fnmatchcase(module, str(pattern))]  # fmt: skip
    kinds = config.get("layer_type_quant_config")
    others = [*kinds.values()] if isinstance(kinds, Mapping) else []
    holders = own or [config.get("global_quant_config"), *others]
    specs = [holder.get("weight") for holder in holders if isinstance(holder, Mapping)]
    first = specs[0] if specs else None
    return first if isinstance(first, Mapping) and all(s == first for s in specs) else None


def _plan(
    config: Mapping[str, object], spec: Mapping[str, object] | None, free: Free, meta: TensorMeta
) -> tuple[str, tuple[int, ...], str, Loader]:
    if spec is None or spec.get("dtype") not in _KINDS[meta.dtype] or len(meta.shape) != 2:
        raise DecodeError(
            f"{meta.name}: {meta.dtype} {list(meta.shape)}, but the config says "
            f"{None if spec is None else spec.get('dtype')!r} of its weight; wanted "
            f"{' or '.join(_KINDS[meta.dtype])}, once"
        )
    scale = wanted(free, f"{meta.name}_scale", of=meta.name, dtypes=SCALE_FLOATS)
    per_word = 8 if meta.dtype == "I32" else 1
    zeros = f"{meta.name}_zero_point"
    if spec.get("symmetric") is False:
        wanted(free, zeros, of=meta.name)
    export = config.get("export")
    pack = export.get("pack_method", "reorder") if isinstance(export, Mapping) else "reorder"
    if pack not in ("reorder", "order"):
        raise DecodeError(f"{meta.name}: pack_method {pack!r}; wanted reorder or order")
    is_per_group = spec.get("qscheme") == "per_group"
    if is_per_group:
        num_in, num_out = meta.shape[0], per_word * meta.shape[1]
        num_out, size, is_transposed = _groups(meta, scale, spec, num_in, num_out, per_word)
        zero_shapes: tuple[tuple[int, ...], ...] = ((num_in // size, meta.shape[1]),)
    else:
        num_out, num_in = meta.shape[0], per_word * meta.shape[1]
        wanted(free, scale.name, of=meta.name, shapes=((), (1,), (num_out,), (num_out, 1)))
        size, is_transposed = num_in, False
        zero_shapes = ((), (1,)) if scale.numel == 1 else ((-(-num_out // per_word),),)
    if zeros in free:
        wanted(free, zeros, of=meta.name, shapes=zero_shapes, dtypes=(meta.dtype,))
    layout = _Layout(
        meta.name, str(spec["dtype"]), (num_out, num_in), is_per_group, is_transposed, size,
        zeros in free, pack == "reorder",
    )  # fmt: skip
    return meta.name, layout.shape, "quark_int", partial(_load, layout)


def _groups(
    meta: TensorMeta,
    scale: TensorMeta,
    spec: Mapping[str, object],
    num_in: int,
    num_padded: int,
    per_word: int,
) -> tuple[int, int, bool]:
    """Outputs, inputs of a group, and whether the scale is [out, groups]."""
    size = spec.get("group_size")
    if not isinstance(size, int) or size < 1 or num_in % size or len(scale.shape) != 2:
        raise DecodeError(
            f"{meta.name}: groups of {size} for {num_in} inputs with a scale {list(scale.shape)}"
        )
    fitting = [
        (scale.shape[1 - axis], axis == 1)
        for axis in (0, 1)
        if scale.shape[axis] == num_in // size
        and 0 <= num_padded - scale.shape[1 - axis] < per_word
    ]
    if len(fitting) != 1:
        raise DecodeError(
            f"{meta.name}: {scale.name!r} has shape {list(scale.shape)}; wanted "
            f"{[num_in // size, num_padded]}, and another number of groups than of outputs"
        )
    return fitting[0][0], size, fitting[0][1]


def _load(layout: _Layout, checkpoint: Checkpoint, rows: RowRange | None = None) -> torch.Tensor:
    num_out, num_in = layout.shape
    values = _numbers(checkpoint.read(layout.name), layout)
    scale = checkpoint.read(f"{layout.name}_scale").float()
    zeros = torch.zeros((), device=scale.device)
    if layout.has_zeros:
        stored = checkpoint.read(f"{layout.name}_zero_point")
        is_packed = layout.kind.endswith("4") and stored.numel() * 8 >= num_out and stored.ndim > 0
        zeros = _numbers(stored, layout) if is_packed else stored.float()
    if layout.is_per_group:
        scale = scale.T if layout.is_scale_transposed else scale
        zeros = zeros[:, :num_out] if zeros.ndim == 2 else torch.zeros_like(scale)
        values = values[:, :num_out].contiguous()
        group = torch.arange(num_in, device=scale.device) // layout.group_size
        apply_groups(values, group, scale, zeros)
        weight = values.t()
    else:
        zeros = zeros.flatten()[:num_out, None] if zeros.numel() > 1 else zeros.reshape(1, 1)
        weight = values.sub_(zeros).mul_(scale.reshape(-1, 1))
    return weight if rows is None else weight[rows[0] : rows[1]]


def _numbers(stored: torch.Tensor, layout: _Layout) -> torch.Tensor:
    """Stored numbers as float32, those of a word in their proper order."""
    if not layout.kind.endswith("4"):
        return stored.float()
    out = stored.new_empty(*stored.shape, 8, dtype=torch.float32)
    for i in range(8):
        place = _REORDERED[i] if layout.is_reordered else i
        out[..., i] = (stored >> (4 * place)) & 15
    if layout.kind == "int4":
        out.sub_(16.0 * (out >= 8))
    return out.flatten(-2)
