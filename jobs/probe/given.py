"""A file of the user's own data, read as arrays: what probes take in place of random inputs."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zoo.errors import UseError

_KINDS = (".npz", ".npy", ".safetensors", ".parquet")

Arrays = Mapping[str, np.ndarray[Any, Any]]
"""By name, a row a probe."""


@dataclass(frozen=True, slots=True)
class GivenData:
    """A file of data, as it was when the run began. Every worker reads it under the same path."""

    path: str
    sha256: str

    @property
    def label(self) -> str:
        """What the rows say: the name of the file and the beginning of its digest."""
        return f"{Path(self.path).name} {self.sha256[:12]}"

    def read(self) -> Arrays:
        """The arrays. UseError where the file is not there, is another one now, or holds no arrays."""
        if given_data(self.path) != self:
            raise UseError(
                f"data: {self.path} has changed since the run began, or differs on this machine"
            )
        path = Path(self.path)
        try:
            if path.suffix == ".npy":
                return {"input": np.load(path, allow_pickle=False)}
            if path.suffix == ".npz":
                with np.load(path, allow_pickle=False) as file:
                    return {name: file[name] for name in file.files}
            if path.suffix == ".safetensors":
                from safetensors.numpy import load_file

                return dict(load_file(path))
            return _of_parquet(path)
        except (ValueError, OSError, zipfile.BadZipFile, KeyError) as error:
            raise UseError(f"data: {self.path} cannot be read: {error}") from error


def given_data(path: str) -> GivenData:
    """The data at `path`; UseError where there is no such file or it is of another kind."""
    file = Path(path).expanduser().absolute()
    if file.suffix not in _KINDS:
        raise UseError(f"data: got {path!r}; wanted a file of {', '.join(_KINDS)}")
    try:
        with file.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise UseError(f"data: {path}: {error.strerror}; wanted a file of inputs") from error
    return GivenData(str(file), digest)


def _of_parquet(path: Path) -> Arrays:
    """Columns of numbers as [rows], of lists of equal length as [rows, length]; words are left out."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        is_list |= pa.types.is_fixed_size_list(kind)
        value = kind.value_type if is_list else kind
        if not (pa.types.is_integer(value) or pa.types.is_floating(value)):
            continue
        rows = column.to_pylist()
        lengths = {len(row) for row in rows} if is_list else {1}
        if len(lengths) > 1 or None in rows:
            raise ValueError(
                f"column {name}: got rows of {sorted(lengths)[:3]} values; wanted equal lengths"
            )
        arrays[name] = np.asarray(rows)
    if not arrays:
        raise ValueError("got no column of numbers or of lists of numbers")
    return arrays
