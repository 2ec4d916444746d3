"""Wanted byte ranges of one file -> the spans to fetch. Pure; the result is a plan.

Few requests against few bytes: neighbours are fetched together, gaps included, as long as the
gaps stay small one by one and in sum.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

MAX_GAP_BYTES = 2**20
"""A gap of this size or more between wanted bytes is never read along."""
MAX_OVERHEAD = 0.02
"""The gaps that are read along are together at most this share of the bytes wanted."""
MAX_SPAN_BYTES = 128 * 2**20
"""Bytes of the longest single request."""


@dataclass(frozen=True, slots=True, order=True)
class ByteRange:
    """Bytes `start <= i < end` of a file."""

    start: int
    """First byte."""
    end: int
    """One past the last byte; > start."""

    @property
    def length(self) -> int:
        """Number of bytes."""
        return self.end - self.start


def union(wanted: Iterable[ByteRange]) -> tuple[ByteRange, ...]:
    """The same bytes as disjoint ranges, ascending, with a gap between any two."""
    disjoint: list[ByteRange] = []
    for piece in sorted(w for w in wanted if w.length > 0):
        if disjoint and piece.start <= disjoint[-1].end:
            last = disjoint[-1]
            disjoint[-1] = ByteRange(last.start, max(last.end, piece.end))
        else:
            disjoint.append(piece)
    return tuple(disjoint)


def holds(pieces: Sequence[ByteRange], start: int, end: int) -> bool:
    """Whether one of `pieces` (a `union`) holds all of `start <= i < end`."""
    place = bisect_right(pieces, start, key=lambda piece: piece.start) - 1
    return place >= 0 and end <= pieces[place].end


def coalesce(
    wanted: Iterable[ByteRange],
    *,
    max_gap: int = MAX_GAP_BYTES,
    max_overhead: float = MAX_OVERHEAD,
    max_span: int = MAX_SPAN_BYTES,
) -> tuple[ByteRange, ...]:
    """Spans that cover `wanted`: disjoint, ascending, each at most `max_span` bytes.

    In all they hold at most `1 + max_overhead` times the bytes wanted. The smallest gaps are
    closed first, which gives the fewest spans for that overhead.
    """
    pieces = union(wanted)
    spare = int(max_overhead * sum(p.length for p in pieces))
    gaps = sorted((b.start - a.end, a.end) for a, b in pairwise(pieces))
    closed: set[int] = set()
    for gap, at in gaps:
        if gap >= max_gap or gap > spare:
            break
        spare -= gap
        closed.add(at)
    spans: list[ByteRange] = []
    for piece in pieces:
        joins = bool(spans) and spans[-1].end in closed
        if joins and piece.end - spans[-1].start <= max_span:
            spans[-1] = ByteRange(spans[-1].start, piece.end)
        else:
            spans += _cut(piece, max_span)
    return tuple(spans)


def whole_or_spans(wanted: Iterable[ByteRange], *, size: int) -> tuple[ByteRange, ...]:
    """One span over the whole file when nearly all of it is wanted, else `coalesce`.

    Whole files come in one request, and their sha256 can be checked on the way.
    """
    pieces = union(wanted)
    if size <= (1.0 + MAX_OVERHEAD) * sum(p.length for p in pieces):
        return (ByteRange(0, size),) if size else ()
    return coalesce(pieces)


def _cut(piece: ByteRange, max_span: int) -> list[ByteRange]:
    """The piece in spans of at most `max_span` bytes."""
    starts = range(piece.start, piece.end, max_span)
    return [ByteRange(s, min(s + max_span, piece.end)) for s in starts]
