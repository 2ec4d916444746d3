"""Fetching neighbouring tensors in one read. The plan is pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from zoo.io.header import TensorMeta

MAX_GAP_SHARE = 0.005
"""A gap is read along only while all gaps stay below this share of the bytes wanted."""

COMPANION_SHARE = 0.25
"""Tensors of one module that are smaller than this share of its largest are its companions."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start` to `end` of `file`, holding the tensors called `names`."""

    file: str
    start: int
    end: int
    names: tuple[str, ...]


def plan_spans(metas: Iterable[TensorMeta], *, span_bytes: int) -> tuple[Span, ...]:
    """Reads that cover `metas`, in file order.

    A span holds at most `span_bytes` unless a single tensor is larger; gaps inside it are at most
    `MAX_GAP_SHARE` of what is wanted.
    """
    spans: list[Span] = []
    wanted = 0
    for meta in sorted(metas, key=lambda t: (t.file, t.start, t.end)):
        last = spans[-1] if spans else None
        if last and last.file == meta.file and meta.end - last.start <= span_bytes:
            gaps = (last.end - last.start) - wanted + max(0, meta.start - last.end)
            if gaps <= MAX_GAP_SHARE * (wanted + meta.nbytes):
                wanted += meta.nbytes
                names = (*last.names, meta.name)
                spans[-1] = Span(last.file, last.start, max(last.end, meta.end), names)
                continue
        wanted = meta.nbytes
        spans.append(Span(meta.file, meta.start, meta.end, (meta.name,)))
    return tuple(spans)


def to_stream(
    metas: Iterable[TensorMeta],
) -> tuple[tuple[TensorMeta, ...], tuple[TensorMeta, ...]]:
    """(tensors to fetch as one stream ahead of their use, the others), both in the order of `metas`.

    A stream is read forward only, so it holds the tensors that each lie behind all before them
    (files counting in the order in which they are first wanted), and not the small companions of
    a large tensor: they are wanted together with every part of it.
    """
    rank: dict[str, int] = {}
    ahead: list[TensorMeta] = []
    others: list[TensorMeta] = []
    reached = (0, 0)
    for _, family in groupby(metas, key=lambda t: t.name.rpartition(".")[0]):
        members = tuple(family)
        largest = max(t.nbytes for t in members)
        for meta in members:
            place = (rank.setdefault(meta.file, len(rank)), meta.start)
            if place >= reached and meta.nbytes >= COMPANION_SHARE * largest:
                reached = (place[0], meta.end)
                ahead.append(meta)
            else:
                others.append(meta)
    return tuple(ahead), tuple(others)
