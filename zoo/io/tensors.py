"""Bytes to torch tensors, without a second copy."""

from __future__ import annotations

import torch

from zoo.errors import ResourceError
from zoo.io.header import TensorMeta

_TORCH_TYPES = {
    "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16",
    "U32": "uint32", "I32": "int32", "U64": "uint64", "I64": "int64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
    "C64": "complex64",
}  # fmt: skip
"""The name of the torch type of a safetensors code, where bytes can be seen as it without a change.
Names, so that headers can be read without torch."""
_CODES = {f"torch.{name}": code for code, name in _TORCH_TYPES.items()} | {"torch.bool": "BOOL"}
"""The safetensors code of a torch type, by how torch writes the type."""


def empty_bytes(num_bytes: int, *, what: str) -> torch.Tensor:
    """An uninitialised uint8 tensor; ResourceError when the machine cannot hold it."""
    try:
        return torch.empty(num_bytes, dtype=torch.uint8)
    except RuntimeError as error:
        raise ResourceError(
            f"{what} needs {num_bytes / 2**30:.2f} GiB and the allocation failed; wanted a worker "
            "with more memory. Raise the memory of a worker in [run]"
        ) from error


def buffer_of(data: torch.Tensor) -> memoryview:
    """The memory of a contiguous uint8 tensor, for `ByteFile.read_into`."""
    return data.numpy().data


def as_tensor(data: torch.Tensor, meta: TensorMeta, shape: tuple[int, ...]) -> torch.Tensor:
    """The stored bytes `data` seen as `meta.dtype` and `shape`; shares memory.

    What torch has no type for stays uint8: F8_E8M0 with its own shape, F4 with two values a byte
    along the last axis, F6 and the types of GGUF as a flat row. BOOL becomes torch.bool.
    """
    if meta.dtype in _TORCH_TYPES:
        return data.view(getattr(torch, _TORCH_TYPES[meta.dtype])).reshape(shape)
    if meta.dtype == "BOOL":
        return (data != 0).reshape(shape)  # bytes other than 0 and 1 are no valid torch.bool
    if meta.dtype == "F4" and shape and shape[-1] % 2 == 0:
        return data.reshape(*shape[:-1], shape[-1] // 2)
    return data.reshape(shape) if meta.dtype == "F8_E8M0" else data


def dtype_code(dtype: torch.dtype) -> str | None:
    """The safetensors code of a torch type; None when there is none."""
    return _CODES.get(str(dtype))
