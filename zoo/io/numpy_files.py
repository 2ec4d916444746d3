"""Arrays saved by numpy: `.npy`, and `.npz` that are not compressed. Nothing pickled in them is run."""

from __future__ import annotations

import io
from math import prod
from typing import Final

import numpy as np
from numpy.lib import format as npy

from zoo.errors import CheckpointError, TruncatedError
from zoo.io.archives import data_start, zip_entries
from zoo.io.files import ByteFile, read_bytes
from zoo.io.header import TensorMeta

CODES: Final = {
    "b1": "BOOL", "u1": "U8", "i1": "I8", "u2": "U16", "i2": "I16", "u4": "U32", "i4": "I32",
    "u8": "U64", "i8": "I64", "f2": "F16", "f4": "F32", "f8": "F64", "c8": "C64",
}  # fmt: skip
"""Safetensors code by numpy's kind and bytes an element."""
_MAX_HEAD_BYTES: Final = 1 << 16


def read_numpy_table(file: ByteFile) -> tuple[TensorMeta, ...]:
    """The arrays of `file`, in file order; `/` in a name is written `.`.

    CheckpointError for a compressed archive, for objects (which are pickles) and for types that are no
    plain numbers of this machine's byte order.
    """
    if not file.name.endswith(".npz"):
        name = file.name.rpartition("/")[2].removesuffix(".npy")
        return (_array(file, name, 0, file.size),)
    entries = zip_entries(
        file, kind="archive of numpy", advice="save it with numpy.savez, which does not compress"
    )
    metas = [
        _array(file, name.removesuffix(".npy"), data_start(file, header_at), size)
        for name, (header_at, size) in entries.items()
        if not name.endswith("/")
    ]
    return tuple(sorted(metas, key=lambda meta: meta.start))


def _array(file: ByteFile, name: str, start: int, size: int) -> TensorMeta:
    """The array whose `.npy` of `size` bytes starts at `start`."""
    head = io.BytesIO(read_bytes(file, start, min(size, _MAX_HEAD_BYTES, file.size - start)))
    try:
        version = npy.read_magic(head)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, is_column_major, dtype = read(head)
    except ValueError as error:
        raise CheckpointError(f"{file.name}: {name!r} is no array of numpy ({error})") from error
    code = code_of(dtype, f"{file.name}: array {name!r}")
    data = start + head.tell()
    end = data + prod(shape) * dtype.itemsize
    if end > start + size or end > file.size:
        raise TruncatedError(
            f"{file.name}: {start + size - data:,} bytes for array {name!r}; wanted {end - data:,}. Fetch it again"
        )
    stride = None
    if is_column_major and len(shape) > 1 and 0 not in shape:
        stride = tuple(prod(shape[:axis]) for axis in range(len(shape)))
    return TensorMeta(name.replace("/", "."), code, tuple(shape), file.name, data, end, stride)


def code_of(dtype: np.dtype[np.generic], what: str) -> str:
    """The safetensors code of a type; CheckpointError, which begins with `what`, when it has none."""
    code = CODES.get(f"{dtype.kind}{dtype.itemsize}")
    if code is not None and dtype.newbyteorder("<") == dtype:
        return code
    kind = "pickled objects, which are not opened" if dtype.hasobject else f"the type {dtype.str!r}"
    raise CheckpointError(f"{what} holds {kind}; wanted plain little-endian numbers. Save them so")
