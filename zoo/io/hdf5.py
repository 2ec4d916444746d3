"""Keras and other HDF5 files (`.h5`, `.hdf5`, `.keras`): where each data set's bytes lie (extra `hdf5`).

The library h5py reads the directory; the weights are read by range like those of any other file. Names
are written as Keras writes them in its layers: `dense.kernel`, whatever the version that saved them.
"""

from __future__ import annotations

import importlib
import io
import re
from typing import TYPE_CHECKING, Any, Final

from zoo.errors import CheckpointError, TransientError, ZooError
from zoo.io.archives import Seekable, data_start, zip_entries
from zoo.io.blocks import BlockFile
from zoo.io.files import ByteFile, read_bytes
from zoo.io.header import MAX_TENSORS, TensorMeta
from zoo.io.numpy_files import code_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

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
    source = _Quiet(Seekable(BlockFile(file), start))
    metas: dict[str, TensorMeta] = {}
    complaint = _walk(_h5py(file.name), source, file, start, metas)
    if (
        source.failed_at is not None
    ):  # not the fault of what is in the file: read there again, to hear why
        read_bytes(file, *source.failed_at)
        raise TransientError(f"{file.name} could not be read, and now it can; try again")
    if complaint:
        raise CheckpointError(complaint)
    ordered = tuple(sorted(metas.values(), key=lambda meta: meta.start))
    return ordered, frozenset(name for name in metas if _TRAINING.match(name))


def _walk(
    h5py: Any, source: _Quiet, file: ByteFile, start: int, metas: dict[str, TensorMeta]
) -> str | None:
    """Fill `metas`; what is wrong with the file, or None.

    Gives words, as an exception keeps what the library made for the file alive: freed after the library
    itself, at the end of the process, that is a segmentation fault.
    """

    def visit(path: str, item: Any) -> str | None:
        try:
            _add(h5py, file, start, path, item, metas)
        except CheckpointError as error:
            return str(error)  # ends the walk
        return None

    try:
        with h5py.File(source, "r") as opened:
            words = opened.visititems(visit)
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        # whichever of these h5py raises, it is for a damaged file
        return f"{file.name}: no sound Keras or HDF5 file ({error}); fetch it again"
    return None if words is None else str(words)


class _Quiet(io.RawIOBase):
    """A file for h5py, which must see no exception: a read that fails gives zeros, and its place is kept."""

    def __init__(self, file: Seekable) -> None:
        self._file = file
        self.failed_at: tuple[int, int] | None = None
        """(start, bytes) in the whole file of the first read that failed."""

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        at = self._file.position
        num_read = 0
        if self.failed_at is None:
            try:
                num_read = self._file.readinto(view)
            except ZooError:  # told by whoever looks at `failed_at`
                self.failed_at = at, len(view)
        view[num_read:] = bytes(
            len(view) - num_read
        )  # h5py reads beyond the end of a file cut short
        return len(view)


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
