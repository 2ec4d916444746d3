"""Keras and other HDF5 files (`.h5`, `.hdf5`, `.keras`): where each data set's bytes lie (extra `hdf5`).

The library h5py reads the directory; the weights are read by range like those of any other file. Names
are written as Keras writes them in its layers: `dense.kernel`, whatever the version that saved them.
"""

from __future__ import annotations

import importlib
import re
from typing import Any, Final

from zoo.errors import CheckpointError
from zoo.io.archives import Seekable, data_start, zip_entries
from zoo.io.blocks import BlockFile
from zoo.io.files import ByteFile
from zoo.io.header import MAX_TENSORS, TensorMeta
from zoo.io.numpy_files import code_of

_IN_KERAS: Final = "model.weights.h5"
"""The HDF5 file inside a `.keras` archive."""
_TRAINING: Final = re.compile(r"^(?:optimizer|optimizer_weights|_?metrics)\.")
"""Groups that hold what a training run keeps beside the weights."""
_VARIABLE: Final = re.compile(r"^(?P<layer>.*?)(?:/_?layer)?/vars/(?P<number>\d+)$")
"""Keras 3 numbers the variables of a layer in the order in which it made them."""

_WITH_BIAS: Final = (
    "query",
    "key",
    "value",
    "attention_output",
    "depthwise_conv1d",
    "depthwise_conv2d",
)
"""Layers, beside dense ones and convolutions, whose second variable is their bias."""


def read_hdf5_table(file: ByteFile) -> tuple[tuple[TensorMeta, ...], frozenset[str]]:
    """The data sets of `file` in file order, and which of them are the optimizer's.

    CheckpointError for data sets that are compressed or cut into chunks, and where h5py is missing.
    """
    start = 0
    if file.name.endswith(".keras"):
        entries = zip_entries(file, advice="save the model again")
        if _IN_KERAS not in entries:
            raise CheckpointError(
                f"{file.name}: an archive without {_IN_KERAS}; save the model again"
            )
        start = data_start(file, entries[_IN_KERAS][0])
    h5py = _h5py(file.name)
    metas: dict[str, TensorMeta] = {}
    source = Seekable(BlockFile(file), start)
    try:
        with h5py.File(source, "r") as opened:
            opened.visititems(lambda path, item: _add(h5py, file, start, path, item, metas))
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        if source.error is not None:  # the file could not be read, which is not its fault
            raise source.error from error
        # whichever of these h5py raises, it is for a damaged file
        raise CheckpointError(
            f"{file.name}: no sound Keras or HDF5 file ({error}); fetch it again"
        ) from error
    ordered = tuple(sorted(metas.values(), key=lambda meta: meta.start))
    return ordered, frozenset(name for name in metas if _TRAINING.match(name))


def _add(
    h5py: Any, file: ByteFile, start: int, path: str, item: Any, metas: dict[str, TensorMeta]
) -> None:
    """Keep `item` if it is a data set of weights. What it raises ends the walk."""
    if not isinstance(item, h5py.Dataset):
        return
    name = keras_name(path, item.ndim)
    what = f"{file.name}: data set {path!r}"
    if name in metas:
        raise CheckpointError(f"{what} is called {name!r} like another one; wanted it once")
    if len(metas) >= MAX_TENSORS:
        raise CheckpointError(f"{file.name}: more than {MAX_TENSORS:,} data sets")
    code = code_of(item.dtype, what)
    at = item.id.get_offset()
    if at is None and item.size:
        raise CheckpointError(
            f"{what} is compressed or cut into chunks; wanted one that lies in one piece. Save it without"
        )
    begin = start + (at or 0)
    end = begin + item.size * item.dtype.itemsize
    if end > file.size:
        raise CheckpointError(f"{what} reaches byte {end:,} of {file.size:,}; fetch it again")
    metas[name] = TensorMeta(name, code, tuple(item.shape), file.name, begin, end)


def keras_name(path: str, num_axes: int) -> str:
    """The name of a variable as Keras writes it in its layers, with dots.

    Keras 2 stores `model_weights/dense/dense/kernel:0`, `transformers` `layer_._0` for a block. Keras 3 stores
    `layers/dense/vars/0`: the variables of a layer in the order in which it makes them.
    """
    path = re.sub(r":\d+$", "", path.removeprefix("model_weights/"))
    match = _VARIABLE.match(path)
    if match is not None:
        layer = match["layer"].removeprefix("layers/")
        layer = re.sub(r"/output_dense$", "/attention_output", layer)
        layer = re.sub(r"/(query|key|value)_dense$", r"/\1", layer)
        path = f"{layer}/{_word(layer, int(match['number']), num_axes)}"
    parts = re.sub(r"_\._(\d+)", r"/\1", path).split("/")
    if len(parts) > 2 and parts[0] == parts[1]:  # Keras 2 writes the layer's name twice
        del parts[0]
    return ".".join(parts)


def _word(layer: str, number: int, num_axes: int) -> str:
    """What the variable of that number is to its layer; `vars.0` where nothing tells."""
    kind = layer.rpartition("/")[2]
    if kind.endswith("cell"):
        return ("kernel", "recurrent_kernel", "bias")[number] if number < 3 else f"vars.{number}"
    if kind.startswith("separable_conv"):
        words = ("depthwise_kernel", "pointwise_kernel", "bias")
        return words[number] if number < 3 else f"vars.{number}"
    if num_axes > 1 and number == 0:
        return "embeddings" if "embedding" in kind else "kernel"
    if number == 1 and (kind in _WITH_BIAS or kind.startswith(("dense", "conv", "einsum_dense"))):
        return "bias"
    return f"vars.{number}"


def _h5py(name: str) -> Any:
    """The library, which is an extra."""
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise CheckpointError(
            f"{name}: Keras and HDF5 files are read by h5py, which is not installed: pip install 'spectral-zoo[hdf5]'"
        ) from error
