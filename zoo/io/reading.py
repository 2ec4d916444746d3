"""Reading tensors that lie as plain bytes in the files of a store.

Neighbours are fetched together where a request costs something. Writers of safetensors sort by
type and then by name, so the scales of a quantised model lie far from its weights and are wanted
in turn with them: several spans are held at once, each until its last tensor was read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Protocol, runtime_checkable

import torch

from zoo.io.dtypes import DTYPE_BITS
from zoo.io.files import ByteFile
from zoo.io.header import RowRange, TensorMeta
from zoo.io.spans import Span, plan_spans, to_stream
from zoo.io.store import Store
from zoo.io.tensors import as_tensor, buffer_of, empty_bytes

MAX_HELD_BYTES = 256 << 20
"""Bytes of fetched spans that are kept because tensors in them are still to be read; beyond it the
least recently used span goes first."""


@runtime_checkable
class ReadsAhead(Protocol):
    """A store that can fetch what will be wanted next while the caller computes."""

    def announce(self, wanted: Iterable[tuple[str, int, int]]) -> None:
        """Tell the store the (file, start, end) that will be read next, in this order."""


@dataclass(slots=True)
class _Held:
    """A span that was fetched."""

    span: Span
    data: torch.Tensor
    """Its bytes, uint8."""
    unread: set[str]
    """Tensors in it that were not read to their end."""


class RangeReader:
    """See `zoo.io.checkpoint.Reader`. Owns the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._files: dict[str, ByteFile] = {}
        self._planned: dict[str, Span] = {}
        self._fetched: set[Span] = set()
        self._held: dict[Span, _Held] = {}
        """In the order of their last use."""

    def read(self, meta: TensorMeta, rows: RowRange | None) -> torch.Tensor:
        """See `Reader.read`."""
        if meta.pieces:
            return self._read_pieces(meta, rows)
        if meta.stride is not None:
            return self._read_strided(meta, meta.stride, rows)
        start, end, shape = _byte_range(meta, rows)
        held = self._held_for(meta.name, in_parts=rows is not None)
        if held is None:
            data = self._fetch(meta.file, start, end, what=f"tensor {meta.name!r}")
            return as_tensor(data, meta, shape)
        data = held.data[start - held.span.start : end - held.span.start].clone()
        if end == meta.end:
            held.unread.discard(meta.name)
            if not held.unread:
                del self._held[held.span]
        return as_tensor(data, meta, shape)

    def expect(self, metas: tuple[TensorMeta, ...]) -> None:
        """See `Reader.expect`."""
        self._forget()
        metas = tuple(stored for meta in metas for stored in meta.stored)
        if isinstance(self._store, ReadsAhead):
            ahead, metas = to_stream(metas)
            self._store.announce([(t.file, t.start, t.end) for t in ahead])
        if self._store.span_bytes:
            for span in plan_spans(metas, span_bytes=self._store.span_bytes):
                self._planned.update((name, span) for name in span.names)

    def close(self) -> None:
        """See `Reader.close`."""
        self._forget()
        while self._files:
            self._files.popitem()[1].close()
        self._store.close()

    def _forget(self) -> None:
        self._held.clear()
        self._planned.clear()
        self._fetched.clear()

    def _held_for(self, name: str, *, in_parts: bool) -> _Held | None:
        """The fetched span that holds the tensor; None when it has to be read alone.

        A span of one tensor is only worth holding when it is read in parts.
        """
        span = self._planned.get(name)
        if span is None:
            return None
        is_small = span.end - span.start <= self._store.span_bytes
        if len(span.names) == 1 and not (in_parts and is_small):
            return None
        held = self._held.pop(span, None)
        if held is None and span not in self._fetched:
            held = self._fetch_span(span)
        if held is not None:
            self._held[span] = held  # at the end: last used
        return held

    def _fetch_span(self, span: Span) -> _Held:
        self._fetched.add(span)  # once: what is evicted is read alone
        while self._held and self._held_bytes() + span.end - span.start > MAX_HELD_BYTES:
            del self._held[next(iter(self._held))]
        what = f"{len(span.names)} tensors of {span.file}"
        return _Held(span, self._fetch(span.file, span.start, span.end, what=what), set(span.names))

    def _held_bytes(self) -> int:
        return sum(len(held.data) for held in self._held.values())

    def _read_pieces(self, meta: TensorMeta, rows: RowRange | None) -> torch.Tensor:
        """A tensor that is stored in parts, put together."""
        first, last = (0, meta.shape[0]) if rows is None else rows
        if not 0 <= first <= last <= meta.shape[0]:
            raise IndexError(f"rows {rows} of a tensor of shape {list(meta.shape)}")
        shape = (last - first, *meta.shape[1:])
        item_bytes = max(DTYPE_BITS[meta.dtype] // 8, 1)
        data = empty_bytes(prod(shape) * item_bytes, what=f"tensor {meta.name!r}")
        joined = as_tensor(data, meta, shape)
        at = 0
        for piece in meta.pieces:
            begin, end = (first, last) if meta.axis else (max(first - at, 0), last - at)
            end = end if meta.axis else min(end, piece.length)
            if begin < end:
                offset = 0 if meta.axis else piece.start
                part = self.read(piece.meta, (offset + begin, offset + end))
                if meta.axis:
                    part = part.narrow(meta.axis, piece.start, piece.length)
                    joined.narrow(meta.axis, at, piece.length).copy_(part)
                else:
                    joined[at + begin - first : at + end - first] = part
            at += piece.length
        return joined

    def _read_strided(
        self, meta: TensorMeta, stride: tuple[int, ...], rows: RowRange | None
    ) -> torch.Tensor:
        """A tensor whose values do not lie one after the other, made contiguous."""
        data = self._fetch(meta.file, meta.start, meta.end, what=f"tensor {meta.name!r}")
        item_bytes = max(DTYPE_BITS[meta.dtype] // 8, 1)
        flat = as_tensor(data, meta, (len(data) // item_bytes,))
        tensor = torch.as_strided(flat, meta.shape, stride)
        return (tensor if rows is None else tensor[rows[0] : rows[1]]).contiguous()

    def _fetch(self, name: str, start: int, end: int, *, what: str) -> torch.Tensor:
        if name not in self._files:
            self._files[name] = self._store.open(name)
        data = empty_bytes(end - start, what=what)
        if end > start:
            self._files[name].read_into(start, buffer_of(data))
        return data


def _byte_range(meta: TensorMeta, rows: RowRange | None) -> tuple[int, int, tuple[int, ...]]:
    """(first byte, end, shape) of the wanted rows; IndexError for rows that are not there."""
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
