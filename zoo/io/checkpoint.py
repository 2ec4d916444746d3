"""A checkpoint: stored tensors by name, read one at a time.

Knows nothing of what a tensor means, of quantisation, or of layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Literal, Protocol

import torch

from zoo.errors import NotFoundError
from zoo.io.dtypes import DTYPE_BITS
from zoo.io.files import ByteFile
from zoo.io.header import TensorMeta
from zoo.io.spans import Span, plan_spans
from zoo.io.store import Store
from zoo.io.tensors import as_tensor, buffer_of, empty_bytes

Container = Literal["safetensors", "gguf", "pickle", "memory"]


class Reader(Protocol):
    """Fetches stored tensors; one class per container."""

    def read(self, meta: TensorMeta, rows: tuple[int, int] | None) -> torch.Tensor:
        """The tensor, or its rows `a <= i < b` along the first axis, in its stored type."""

    def expect(self, metas: tuple[TensorMeta, ...]) -> None:
        """These will be read next, in file order; nothing else before them."""

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
        left_out: tuple[str, ...] = (),
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
        self.left_out = left_out
        """Weight files of the folder that are not part of this checkpoint."""
        self._reader = reader

    def config_of(self, tensor: str) -> Mapping[str, object]:
        """The config of the component the tensor belongs to; empty when it has none."""
        fitting = [p for p in self.component_configs if tensor.startswith(p)]
        return self.component_configs[max(fitting, key=len)] if fitting else {}

    def read(self, name: str, rows: tuple[int, int] | None = None) -> torch.Tensor:
        """A stored tensor in its stored type, or its rows `a <= i < b` along the first axis.

        What torch has no type for is raw uint8 (see `zoo.io.tensors.as_tensor`). The caller owns
        the memory. NotFoundError for a name that is not there.
        """
        if name not in self.tensors:
            raise NotFoundError(f"no tensor {name!r} in the checkpoint")
        return self._reader.read(self.tensors[name], rows)

    def expect(self, names: Iterable[str]) -> None:
        """Announce the tensors that will be read, so that neighbours can be fetched together."""
        self._reader.expect(tuple(self.tensors[name] for name in names))

    def read_many(self, names: Iterable[str]) -> Iterator[tuple[str, torch.Tensor]]:
        """The tensors called `names`, in file order, fetched in as few reads as sensible."""
        wanted = set(names)
        ordered = [t.name for t in self.tensors.values() if t.name in wanted]
        self.expect(ordered)
        for name in ordered:
            yield name, self.read(name)

    def close(self) -> None:
        """Release files and memory. Calling twice is harmless."""
        self._reader.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RangeReader:
    """Reads tensors that lie as plain bytes in the files of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._files: dict[str, ByteFile] = {}
        self._spans: dict[str, Span] = {}
        self._held: tuple[Span, torch.Tensor] | None = None
        self._held_names: frozenset[str] = frozenset()

    def read(self, meta: TensorMeta, rows: tuple[int, int] | None) -> torch.Tensor:
        """See `Reader.read`."""
        if meta.stride is not None:
            return self._read_strided(meta, meta.stride, rows)
        start, end, shape = _byte_range(meta, rows)
        held = self._held_for(meta.name)
        if held is not None:
            span, whole = held
            data = whole[start - span.start : end - span.start].clone()
        else:
            data = self._fetch(meta.file, start, end, what=f"tensor {meta.name!r}")
        return as_tensor(data, meta, shape)

    def expect(self, metas: tuple[TensorMeta, ...]) -> None:
        """See `Reader.expect`."""
        self._held = None
        self._spans = {}
        if self._store.span_bytes:
            spans = plan_spans(metas, span_bytes=self._store.span_bytes)
            self._spans = {name: span for span in spans for name in span.names}

    def close(self) -> None:
        """See `Reader.close`."""
        self._held = None
        while self._files:
            self._files.popitem()[1].close()
        self._store.close()

    def _read_strided(
        self, meta: TensorMeta, stride: tuple[int, ...], rows: tuple[int, int] | None
    ) -> torch.Tensor:
        data = self._fetch(meta.file, meta.start, meta.end, what=f"tensor {meta.name!r}")
        item = max(DTYPE_BITS[meta.dtype] // 8, 1)
        flat = as_tensor(data, meta, (len(data) // item,))
        seen = torch.as_strided(flat, meta.shape, stride)
        return (seen if rows is None else seen[rows[0] : rows[1]]).contiguous()

    def _held_for(self, name: str) -> tuple[Span, torch.Tensor] | None:
        """The span that holds the tensor, fetched once; None when it has to be read alone."""
        if self._held is not None and name in self._held_names:
            return self._held
        span = self._spans.get(name)
        if span is None or len(span.names) == 1:
            return None
        for member in span.names:
            del self._spans[member]
        self._held = None  # before the next one is allocated
        what = f"{len(span.names)} tensors of {span.file}"
        self._held = (span, self._fetch(span.file, span.start, span.end, what=what))
        self._held_names = frozenset(span.names)
        return self._held

    def _fetch(self, name: str, start: int, end: int, *, what: str) -> torch.Tensor:
        if name not in self._files:
            self._files[name] = self._store.open(name)
        data = empty_bytes(end - start, what=what)
        if end > start:
            self._files[name].read_into(start, buffer_of(data))
        return data


def _byte_range(meta: TensorMeta, rows: tuple[int, int] | None) -> tuple[int, int, tuple[int, ...]]:
    """First byte, end and shape of the wanted rows."""
    if rows is None:
        return meta.start, meta.end, meta.shape
    first, last = rows
    if not meta.shape or not 0 <= first <= last <= meta.shape[0]:
        raise IndexError(f"rows {rows} of a tensor of shape {list(meta.shape)}")
    if meta.shape[0] and meta.nbytes % meta.shape[0]:
        raise IndexError(f"rows of {meta.name!r} do not start on whole bytes")
    row_bytes = meta.nbytes // max(meta.shape[0], 1)
    shape = (last - first, *meta.shape[1:])
    return meta.start + first * row_bytes, meta.start + last * row_bytes, shape
