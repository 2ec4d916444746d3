"""Which columns of a table fit a terminal, and how wide each is.

Figures are never cut, names are cut at their start and only when nothing else is left to give, prose goes on
in further lines. What does not fit leaves, the least important first: empty columns and those that say the
same in every row, then the others from the end of the list of priorities. Headers are broken at their
underscores where that saves places. Knows no rows, no command and no terminal: strings in, strings out.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from jobs.screen.text import ELLIPSIS, keep_end, keep_start, places

GAP = 2
"""Spaces between columns."""
PROSE = 24
"""Places that a column of prose is narrowed to before another column leaves."""
_PROSE_LINES = 4
"""Lines that a cell of prose goes on for."""
_NAME = 12
"""Places that a name is not cut below."""
_HEADER_LINES = 3
"""Most lines of a header."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of text."""

    name: str
    cells: tuple[str, ...]
    kind: Literal["figure", "name", "prose"]
    width: int = 0
    """Places of its widest cell; the header may be wider."""
    is_cut: bool = False
    """Some cell has lost a part of its text."""

    @classmethod
    def of(cls, name: str, cells: Iterable[str], *, is_figure: bool) -> Column:
        """A column of numbers or times, else of names (no cell has a blank in it) or of prose."""
        texts = tuple(cells)
        is_name = not any(" " in text for text in texts)
        kind: Literal["figure", "name", "prose"]
        kind = "figure" if is_figure else "name" if is_name else "prose"
        return cls(name, texts, kind, max(map(places, texts), default=0))

    @property
    def is_empty(self) -> bool:
        """No row has anything here."""
        return not any(self.cells)

    @property
    def is_same(self) -> bool:
        """Every row of several says the same."""
        return len(self.cells) > 1 and len(set(self.cells)) == 1


@dataclass(frozen=True, slots=True)
class Fitted:
    """What fits."""

    columns: tuple[Column, ...]
    """In the order of display, cells of at most `width` places a line."""
    headers: tuple[tuple[str, ...], ...]
    """Lines of the header of each column, all of the same number."""
    left_out: tuple[Column, ...]
    """Whole, in the order of display."""


def fit(columns: Sequence[Column], *, width: int, first: Sequence[str]) -> Fitted:
    """`columns` in `width` places; those named in `first` are the most important, in this order."""
    if _total(columns, lines=1) <= width:
        return _drawn(columns, columns, lines=1)
    ranked = _by_importance(columns, first)
    if not _room(_telling(ranked), width, _HEADER_LINES)[
        0
    ]:  # then names, to leave room for figures
        half = max(width // 2, _NAME)
        ranked = [_cut(c, half) if c.kind == "name" and c.width > half else c for c in ranked]
    telling = _telling(ranked)
    lines = max(range(1, _HEADER_LINES + 1), key=lambda lines: _room(telling, width, lines))
    kept = _chosen(telling, _essential(telling), width, lines)
    kept = _chosen([*kept, *(c for c in ranked if c not in telling)], kept, width, lines)
    names = {column.name for column in kept}
    in_order = [column for column in columns if column.name in names]
    return _drawn(columns, _narrowed(in_order, width, lines), lines=lines)


def _telling(columns: Sequence[Column]) -> Sequence[Column]:
    """Columns that tell rows apart; all where none does."""
    return [c for c in columns if not (c.is_empty or c.is_same)] or columns


def _room(telling: Sequence[Column], width: int, lines: int) -> tuple[bool, int, int]:
    """How good headers of `lines` lines are: no name has to be cut, there is room for so many columns, and,
    where names are cut, little of them is."""
    kept = _chosen(telling, _essential(telling), width, lines)
    spare = width - _total(kept, lines=lines, prose=PROSE)
    return spare >= 0, len(kept), min(spare, 0)


def _by_importance(columns: Sequence[Column], first: Sequence[str]) -> list[Column]:
    place = {name: number for number, name in enumerate(first)}
    return sorted(columns, key=lambda column: place.get(column.name, len(place)))


def _essential(ranked: Sequence[Column]) -> list[Column]:
    """The first name, and the first column besides it."""
    names = [column for column in ranked if column.kind == "name"][:1]
    return [*names, *[column for column in ranked if column not in names][:1]]


def _chosen(
    ranked: Sequence[Column], least: Sequence[Column], width: int, lines: int
) -> list[Column]:
    """`least`, and of the others the most important ones, up to the first that finds no room."""
    chosen = list(least)
    for column in ranked:
        if column not in chosen:
            if _total([*chosen, column], lines=lines, prose=PROSE) > width:
                break
            chosen.append(column)
    return chosen


def _narrowed(columns: list[Column], width: int, lines: int) -> list[Column]:
    """`columns` with prose narrowed, then names cut, then the last columns gone, until they fit."""
    for kind, least in (("prose", PROSE), ("name", _NAME), ("prose", 1)):
        widest_first = sorted(enumerate(columns), key=lambda pair: -pair[1].width)
        for number, column in widest_first:
            spare = _total(columns, lines=lines) - width
            if column.kind == kind and spare > 0:
                place = max(column.width - spare, min(least, column.width))
                columns[number] = _cut(column, place)
    while len(columns) > 1 and _total(columns, lines=lines) > width:
        columns.pop()
    if columns and columns[0].kind != "figure" and _total(columns, lines=lines) > width:
        columns[0] = _cut(columns[0], max(width, 1))
    return columns


def _cut(column: Column, width: int) -> Column:
    """`column` in `width` places: names lose their start, prose goes on in further lines."""
    narrow = keep_end if column.kind == "name" else _wrapped
    cells = tuple(narrow(text, width) for text in column.cells)
    is_cut = any(
        ELLIPSIS in cut and cut != text for cut, text in zip(cells, column.cells, strict=True)
    )
    return replace(column, cells=cells, width=width, is_cut=is_cut or column.is_cut)


def _wrapped(text: str, width: int) -> str:
    """`text` in lines of `width` places; beyond the last line that prose may have it is cut."""
    if places(text) != len(text):  # wide letters take two places, which textwrap does not know
        return keep_start(text, width)
    lines = textwrap.wrap(text, width, break_on_hyphens=False)
    if len(lines) > _PROSE_LINES:
        lines[_PROSE_LINES - 1 :] = [keep_start(" ".join(lines[_PROSE_LINES - 1 :]), width)]
    return "\n".join(lines)


def _total(columns: Sequence[Column], *, lines: int, prose: int | None = None) -> int:
    """Places of a row; with prose narrowed to `prose` where it is longer."""
    taken = (_width(column, lines, prose) for column in columns)
    return sum(taken) + GAP * (len(columns) - 1)


def _width(column: Column, lines: int, prose: int | None = None) -> int:
    cells = column.width
    if prose is not None and column.kind == "prose":
        cells = min(cells, prose)
    return max(cells, max(map(places, _header(column.name, lines, cells))))


def _header(name: str, lines: int, width: int) -> list[str]:
    """`name` in at most `lines` lines, broken behind underscores, as narrow as that goes; in fewer where
    `width`, which the cells take anyway, has room for them."""
    words = name.split("_")
    pieces = [*(f"{word}_" for word in words[:-1]), words[-1]]
    least = max(width, *map(places, pieces))
    while True:
        broken = [""]
        for piece in pieces:
            if broken[-1] and places(broken[-1] + piece) > least:
                broken.append("")
            broken[-1] += piece
        if len(broken) <= lines:
            return broken
        least += 1


def _drawn(every: Sequence[Column], kept: Sequence[Column], *, lines: int) -> Fitted:
    """`kept` with headers and widths."""
    broken = [_header(column.name, lines, column.width) for column in kept]
    tallest = max(map(len, broken), default=1)
    headers = [("",) * (tallest - len(header)) + tuple(header) for header in broken]
    widths = [_width(column, lines) for column in kept]
    names = {column.name for column in kept}
    return Fitted(
        tuple(replace(column, width=w) for column, w in zip(kept, widths, strict=True)),
        tuple(headers),
        tuple(column for column in every if column.name not in names),
    )
