"""A checkpoint: stored tensors by name, read one at a time.

Knows nothing of what a tensor means, of quantisation, or of layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from types import MappingProxyType
from typing import Literal, Protocol

import torch

from zoo.errors import NotFoundError
from zoo.io.header import RowRange, TensorMeta
from zoo.io.left_out import LeftOut

Container = Literal["safetensors", "gguf", "pickle", "hdf5", "onnx", "numpy", "memory"]
"""What kind of file the tensors lie in."""


class Reader(Protocol):
    """Fetches stored tensors; one class per container."""

    def read(self, meta: TensorMeta, rows: RowRange | None) -> torch.Tensor:
        """The tensor, or those rows of it, in its stored type."""

    def expect(self, metas: tuple[TensorMeta, ...]) -> None:
        """Announce the tensors that will be read next, in this order."""

    def close(self) -> None:
        """Release files and memory. Calling twice is harmless."""


class Checkpoint:
    """Stored tensors by name. Close it, or use it in a `with`."""

    def __init__(
        self,
        tensors: Iterable[TensorMeta],
        reader: Reader,
        *,
        container: Container,
        configs: Mapping[str, Mapping[str, object]] | None = None,
        component_configs: Mapping[str, Mapping[str, object]] | None = None,
        metadata: Mapping[str, str] | None = None,
        set_aside: Mapping[str, str] | None = None,
        left_out: tuple[LeftOut, ...] = (),
        files: Mapping[str, int] | None = None,
        buffers: Iterable[str] = (),
    ) -> None:
        self.tensors: Mapping[str, TensorMeta] = MappingProxyType({t.name: t for t in tensors})
        """Stored tensors by name, in file order."""
        self.container: Container = container
        self.configs = MappingProxyType(dict(configs or {}))
        """Every JSON config by file name: `config.json`, `adapter_config.json`, ..."""
        self.component_configs = MappingProxyType(dict(component_configs or {}))
        """The config by name prefix (`unet.`); the key `` holds the model's own."""
        self.config = self.component_configs.get("", MappingProxyType({}))
        """config.json with quantisation settings, or empty."""
        self.metadata = MappingProxyType(dict(metadata or {}))
        """Free-form strings from the headers."""
        self.set_aside = MappingProxyType(dict(set_aside or {}))
        """Tensors that hold again what others hold, by name, with the reason: no layers."""
        self.left_out = left_out
        """Files that could hold weights and are not read, each with its reason; by name."""
        self.files = MappingProxyType(dict(files or {}))
        """Size of every file of the folder or repository by name, whatever it holds."""
        self.buffers = frozenset(buffers)
        """Names of tensors that a module says it does not learn; files say no such thing."""
        self._reader = reader

    def config_of(self, tensor: str) -> Mapping[str, object]:
        """The config of the component the tensor belongs to; empty when it has none."""
        prefixes = [prefix for prefix in self.component_configs if tensor.startswith(prefix)]
        return self.component_configs[max(prefixes, key=len)] if prefixes else {}

    def read(self, name: str, rows: RowRange | None = None) -> torch.Tensor:
        """A stored tensor in its stored type, or those rows of it.

        What torch has no type for is raw uint8 (see `zoo.io.tensors.as_tensor`). The caller owns
        the memory. NotFoundError for a name that is not there.
        """
        if name not in self.tensors:
            raise NotFoundError(f"no tensor {name!r} in the checkpoint")
        return self._reader.read(self.tensors[name], rows)

    def moved(self, move: Callable[[torch.Tensor], torch.Tensor]) -> Checkpoint:
        """The same checkpoint, whose tensors come as `move` returns them: on another device, say.

        Its files belong to this one, which is to be closed; the two must not be read at a time.
        """
        other = copy(self)
        other._reader = _Moving(self._reader, move)
        return other

    def expect(self, names: Iterable[str]) -> None:
        """Announce the tensors that will be read, so that neighbours can be fetched together."""
        self._reader.expect(tuple(self.tensors[name] for name in names))

    def close(self) -> None:
        """Release files and memory. Calling twice is harmless."""
        self._reader.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Moving:
    """A reader whose tensors are moved before anyone sees them."""

    def __init__(self, reader: Reader, move: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._reader = reader
        self._move = move

    def read(self, meta: TensorMeta, rows: RowRange | None) -> torch.Tensor:
        """See `Reader.read`."""
        return self._move(self._reader.read(meta, rows))

    def expect(self, metas: tuple[TensorMeta, ...]) -> None:
        """See `Reader.expect`."""
        self._reader.expect(metas)

    def close(self) -> None:
        """Nothing: the files are the other's."""
