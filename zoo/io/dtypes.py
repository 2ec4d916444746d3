"""The number formats a safetensors header may name. Pure: no torch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

DTYPE_BITS: Mapping[str, int] = MappingProxyType({
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
})  # fmt: skip
"""Bits of one element, by the code of its format."""

NATIVE_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
"""Formats whose stored values are the weights, with no scale beside them."""
