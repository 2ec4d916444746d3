"""Rows on standard output as a table, CSV, JSON or Markdown. Everything else the program says goes to stderr."""

from __future__ import annotations

import csv
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import zip_longest
from typing import Any, Protocol

from jobs.screen.fit import GAP, Column, Fitted, fit
from jobs.screen.quantities import Quantity, human, unit_of
from jobs.screen.shown import AS_USUAL, Format, Shown, TableRows
from jobs.screen.text import UNBOUNDED, places, printable, screen_width


def print_rows(
    rows: TableRows,
    *,
    columns: Sequence[str],
    format: Format,
    quiet: bool = False,
    shown: Shown = AS_USUAL,
    usual: Sequence[str] | None = None,
    first: Sequence[str] = (),
    exact: bool = False,
) -> None:
    """Print `rows` (all with the same keys). NULL is null, empty or blank.

    `columns`: every column there is, in order; csv and json have all of them, tables and Markdown those of
    `usual` (None: all). A table on a terminal has those that fit it, what is named in `first` before all
    others, and a line on stderr says what was left out. `shown`: what the user wants instead. `exact`: no
    number becomes 22.7 M.
    """
    is_whole = format in ("csv", "json") or usual is None or shown.wide
    chosen = shown.pick(columns if is_whole or usual is None else usual, columns)
    shown.check_sort([*columns, *(rows[0] if rows else ())])
    rows = shown.sorted(rows)
    if format == "json":
        json.dump(
            [{c: _plain(r.get(c)) for c in chosen} for r in rows], sys.stdout, ensure_ascii=False
        )
        sys.stdout.write("\n")
    elif format == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(chosen)
        writer.writerows([_csv_cell(r.get(c)) for c in chosen] for r in rows)
    elif format == "md":
        _print_markdown(rows, chosen, exact)
    else:
        _print_table(rows, chosen, shown, first, exact, quiet)
        if not rows and not quiet:
            print("(no rows)", file=sys.stderr)


def _plain(value: object) -> object:
    """A value JSON knows; a number stays a number."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):  # DuckDB's type of a literal such as 1.5
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Quantity):
        return value.value
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def _csv_cell(value: object) -> object:
    plain = _plain(value)
    if plain is None:
        return ""
    if isinstance(plain, list | dict):
        return json.dumps(plain, ensure_ascii=False)
    return printable(plain, keep="\n\t") if isinstance(plain, str) else plain


def _short(value: object) -> str:
    """A cell for people: four significant digits, times to the second, one line."""
    if isinstance(value, Quantity):
        return str(value)
    plain = _plain(value)
    if plain is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(plain, float):
        return f"{plain:.4g}"
    if isinstance(plain, list | dict):
        return json.dumps(plain, ensure_ascii=False)
    return printable(str(plain))


def _cells(rows: TableRows, column: str, exact: bool) -> list[str]:
    """A column for people: numbers of bytes, seconds and parameters in the largest unit that fits them."""
    values = [row.get(column) for row in rows]
    unit = None if exact else unit_of(column)
    if unit is None:
        return [_short(value) for value in values]
    return [
        human(float(value), unit) if isinstance(value, int | float | Decimal) else _short(value)
        for value in values
    ]


def _is_number(value: object) -> bool:
    """True for a number, also one of a Decimal, and for none at all."""
    return value is None or isinstance(value, int | float | Decimal)


def _print_markdown(rows: TableRows, columns: Sequence[str], exact: bool) -> None:
    def safe(text: str) -> str:
        return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")

    print("| " + " | ".join(columns) + " |")
    print("|" + "|".join(" --- " for _ in columns) + "|")
    cells = [_cells(rows, column, exact) for column in columns]
    for line in zip(*cells, strict=True):
        print("| " + " | ".join(map(safe, line)) + " |")


def _print_table(
    rows: TableRows,
    names: Sequence[str],
    shown: Shown,
    first: Sequence[str],
    exact: bool,
    quiet: bool,
) -> None:
    """On a terminal what fits it; in a file, and with --wide, every column as wide as it is."""
    columns = [
        Column.of(
            name,
            _cells(rows, name, exact),
            is_figure=all(_is_number(row.get(name)) for row in rows),
        )
        for name in names
    ]
    is_screen = sys.stdout.isatty()
    width = UNBOUNDED if shown.wide else screen_width()
    # who names columns wants the first of them most
    fitted = fit(columns, width=width, first=names if shown.columns else first)
    _print_lines(fitted, is_marked=is_screen and not os.environ.get("NO_COLOR"))
    note = _left_out(fitted, width)
    if note and not quiet:
        print(note, file=sys.stderr)


def _print_lines(fitted: Fitted, *, is_marked: bool) -> None:
    """Aligned columns, numbers to the right; the header bold where `is_marked`."""
    for line in zip(*fitted.headers, strict=True):
        text = _line(line, fitted.columns)
        print(f"\x1b[1m{text}\x1b[0m" if is_marked else text)
    for cells in zip(*(column.cells for column in fitted.columns), strict=True):
        parts = [text.split("\n") for text in cells]  # only prose that was wrapped has several
        for line in zip_longest(*parts, fillvalue=""):
            print(_line(line, fitted.columns))


def _line(cells: Sequence[str], columns: Sequence[Column]) -> str:
    padded = []
    for text, column in zip(cells, columns, strict=True):
        blank = " " * (column.width - places(text))
        padded.append(blank + text if column.kind == "figure" else text + blank)
    return (" " * GAP).join(padded).rstrip()


def _left_out(fitted: Fitted, width: int) -> str:
    """What a terminal of `width` places had no room for; of a column with one value, the value."""
    columns = fitted.left_out
    cut = [column.name for column in fitted.columns if column.is_cut]
    varied = [c.name for c in columns if not (c.is_same or c.is_empty)]
    same = [f"{c.name} = {c.cells[0]}" for c in columns if c.is_same and not c.is_empty]
    empty = [c.name for c in columns if c.is_empty]
    parts = [
        f"left out to fit {width} columns: {', '.join(varied)}" if varied else "",
        f"cut: {', '.join(cut)}" if cut else "",
        f"the same in every row: {', '.join(same)}" if same else "",
        f"empty: {', '.join(empty)}" if empty else "",
    ]
    said = "; ".join(filter(None, parts))
    return said and f"{said} (--wide shows all, --columns A,B these)"


class Table(Protocol):
    """Rows by column name, as the catalog and Arrow give them."""

    @property
    def column_names(self) -> Sequence[str]:
        """Names of the columns in order."""

    def to_pylist(self) -> list[dict[str, Any]]:
        """One mapping a row."""


def print_table(
    table: Table,
    *,
    format: Format,
    quiet: bool = False,
    shown: Shown = AS_USUAL,
    first: Sequence[str] = (),
    exact: bool = False,
) -> None:
    """Print all columns of a table; see `print_rows`."""
    print_rows(
        table.to_pylist(), columns=table.column_names, format=format, quiet=quiet, shown=shown,
        first=first, exact=exact,
    )  # fmt: skip
