"""Quantisation data that no decoder claimed: its weight is missing, renamed or in no known format.

A float scale has two axes like a weight, so it must not be taken for one. Beside a matrix that is
not plain floats a looser name is enough: MLX, HQQ, HIGGS and others each have their own words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from zoo.formats.claim import Claim, Free, quantisation
from zoo.formats.leftovers import no_weight
from zoo.formats.signatures import format_of
from zoo.io.checkpoint import Checkpoint
from zoo.io.dtypes import NATIVE_FLOATS
from zoo.io.header import TensorMeta

_QUANTISATION_DATA = re.compile(
    r"(^|[._])(scale_inv|weight_scale|weight_scale_2|weight_global_scale|weight_zero_point"
    r"|weight_scales|qweight|qzeros|g_idx|absmax|quant_map|nested_absmax|SCB|weight_packed"
    r"|weight_quantizer\.scale|[a-z]+_proj_scale|[a-z]+_proj_scales|[a-z]+_proj_blocks"
    r"|weight\._scale|weight\._data|codebooks|W_q|packed_weight)$"
)
"""Names that no format gives to a weight."""
_BESIDE_CODES = re.compile(
    r"scale|zero|biases|table|code|centroid|absmax|quant|compressed|(^|_)(min|max|meta)s?$"
)
"""Names of quantisation data, where a matrix of codes lies in the same module."""
_UNDER_A_CONFIG = re.compile(r"(^|_)q?(scales?|zeros?|biases|zero_points?)$")
"""Names of quantisation data, where the config says that the tensor is quantised."""
_BESIDE_A_WEIGHT = re.compile(r"(?P<weight>.*\bweight)[._]\w+$")
"""Names that extend the name of a weight."""


def orphans(checkpoint: Checkpoint, free: Free) -> Iterator[Claim]:
    """Tensors with two axes or more whose name says that they quantise something."""
    coded = {
        name.rpartition(".")[0]
        for name, meta in checkpoint.tensors.items()
        if len(meta.shape) >= 2 and _holds_codes(meta)
    }
    for name, meta in free.items():
        if len(meta.shape) < 2 or meta.numel <= 1:
            continue
        module, _, leaf = name.rpartition(".")
        is_beside_codes = module in coded and _BESIDE_CODES.search(leaf) is not None
        is_declared = _UNDER_A_CONFIG.search(leaf) is not None and _is_quantised(checkpoint, name)
        if is_beside_codes or is_declared or _is_data(checkpoint, name):
            format_name = format_of(checkpoint, name)
            named = "" if format_name is None else f" of the format {format_name!r}"
            reason = (
                f"{name}: quantisation data{named} ({meta.dtype} {list(meta.shape)}) that fits no "
                "weight; wanted its weight beside it in a known format. Report the format"
            )
            yield Claim(name, (), None, reason)


def _holds_codes(meta: TensorMeta) -> bool:
    """True for what is neither plain floats nor a mask or buffer (Swin's index beside its table)."""
    return meta.dtype not in (*NATIVE_FLOATS, "BOOL", "I64") and no_weight(meta) is None


def _is_quantised(checkpoint: Checkpoint, name: str) -> bool:
    """True when a config says that the model is quantised: then its codes were lost."""
    return bool(quantisation(checkpoint, name) or checkpoint.config_of(name).get("quantization"))


def _is_data(checkpoint: Checkpoint, name: str) -> bool:
    """By its own name, or because it extends the name of a weight that is not plain floats."""
    beside = _BESIDE_A_WEIGHT.match(name)
    weight = checkpoint.tensors.get(beside["weight"]) if beside else None
    is_quantised = weight is not None and weight.dtype not in NATIVE_FLOATS
    return is_quantised or bool(_QUANTISATION_DATA.search(name))
