"""Names of formats that no decoder reads, by what the config says or what lies in one module.

Used for words alone: a reason that names the format tells its reader what to convert from.
"""

from __future__ import annotations

from zoo.formats.declared import unread_method
from zoo.io.checkpoint import Checkpoint

_SIGNATURES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("qweight", "wscales"), "SVDQuant (nunchaku)"),
    (("trellis", "suh"), "EXL3 (exllamav3)"),
    (("trellis", "tlut"), "QTIP"),
    (("Qidxs",), "QuIP#"),
    (("codes", "codebooks"), "AQLM"),
    (("indices", "centroids"), "VPTQ"),
    (("dense_weights", "row_offsets"), "SpQR"),
    (("tables", "tables2", "scales"), "HIGGS"),
    (("forward_hadamard_matrix", "qweight"), "FP-Quant"),
    (("_data", "_scale"), "optimum-quanto"),
    (("W_q",), "HQQ or one of its kin"),
)
"""Tensors (or children with a `weight`) that lie in one module, and whose format that is."""


def format_of(checkpoint: Checkpoint, tensor: str) -> str | None:
    """What the format of a tensor is called, None when nothing tells."""
    named = unread_method(checkpoint, tensor)
    if named is not None:
        return named
    module = tensor.rpartition(".")[0]
    prefix = f"{module}." if module else ""
    for parts, name in _SIGNATURES:
        if all(f"{prefix}{part}" in checkpoint.tensors
               or f"{prefix}{part}.weight" in checkpoint.tensors for part in parts):  # fmt: skip
            return name
    return None
