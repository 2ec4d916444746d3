"""Rows on standard output as a table, CSV, JSON or Markdown. Everything else the program says goes to stderr."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, Protocol

Format = Literal["table", "csv", "json", "md"]
"""How rows are written."""
TableRows = Sequence[Mapping[str, object]]
"""What is printed, row by row: values by column."""


def print_rows(
    rows: TableRows, *, columns: Sequence[str], format: Format, quiet: bool = False
) -> None:
    """Print `rows` (all with the same keys, `columns` in this order). NULL is null, empty or blank."""
    if format == "json":
        json.dump(
            [{c: _plain(r.get(c)) for c in columns} for r in rows], sys.stdout, ensure_ascii=False
        )
        sys.stdout.write("\n")
    elif format == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_csv_cell(r.get(c)) for c in columns] for r in rows)
    elif format == "md":
        _print_markdown(rows, columns)
    else:
        _print_table(rows, columns)
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


def printable(text: str, *, keep: str = "") -> str:
    """`text` without the control characters of hostile names, but for those in `keep`.

    They must not reach a terminal, not even by way of a file that is looked at later.
    """
    return "".join(c if c.isprintable() or c in keep else "\N{REPLACEMENT CHARACTER}" for c in text)


def _short(value: object) -> str:
    """A cell for people: four significant digits, times to the second, one line."""
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


def _print_markdown(rows: TableRows, columns: Sequence[str]) -> None:
    def cell(value: object) -> str:
        return _short(value).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")

    print("| " + " | ".join(columns) + " |")
    print("|" + "|".join(" --- " for _ in columns) + "|")
    for row in rows:
        print("| " + " | ".join(cell(row.get(c)) for c in columns) + " |")


def _print_table(rows: TableRows, columns: Sequence[str]) -> None:
    cells = [[_short(row.get(column)) for row in rows] for column in columns]
    is_number = [
        all(isinstance(row.get(c), int | float | Decimal | None) for row in rows) for c in columns
    ]
    if sys.stdout.isatty() and len(rows) <= _MANY_ROWS:
        _print_on_screen(columns, cells, is_number)
    else:
        _print_lines(columns, cells, is_number)


def _print_lines(
    columns: Sequence[str], cells: Sequence[Sequence[str]], is_number: Sequence[bool]
) -> None:
    """Aligned columns, as wide as they are: for files, and for tables too long for a screen."""
    padded = []
    for name, texts, right in zip(columns, cells, is_number, strict=True):
        column = (name, *texts)
        width = max(map(_width, column))
        spaces = (" " * (width - _width(text)) for text in column)
        padded.append([s + t if right else t + s for s, t in zip(spaces, column, strict=True)])
    for line in zip(*padded, strict=True):
        print("  ".join(line).rstrip())


def _width(text: str) -> int:
    """How many places of a terminal the text takes: wide letters take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _print_on_screen(
    columns: Sequence[str], cells: Sequence[Sequence[str]], is_number: Sequence[bool]
) -> None:
    """The same look, but text is cut until a row fits the terminal; numbers are never cut."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    least = 0
    for name, texts, right in zip(columns, cells, is_number, strict=True):
        header = Text(name, overflow="ellipsis", no_wrap=True)
        table.add_column(header, justify="right" if right else "left", no_wrap=right)
        width = max(map(_width, (name, *texts)))
        least += (width if right else min(width, _NARROWEST)) + _GAP
    if cells and cells[0]:  # a row of columns: three times faster than a row a row
        table.add_row(*(Text("\n".join(t), overflow="ellipsis", no_wrap=True) for t in cells))
    Console(
        file=sys.stdout,
        width=max(shutil.get_terminal_size().columns, least - _GAP),
        force_terminal=True,
        color_system=None if os.environ.get("NO_COLOR") else "standard",
        highlight=False,
    ).print(table)


_MANY_ROWS = 1000
"""Nobody reads more on a screen, and `rich.table` would take seconds to draw them."""
_GAP = 2
"""Spaces between columns."""
_NARROWEST = 12
"""A column of text is not cut to less, give or take one."""


class Table(Protocol):
    """Rows by column name, as the catalog and Arrow give them."""

    @property
    def column_names(self) -> Sequence[str]:
        """Names of the columns in order."""

    def to_pylist(self) -> list[dict[str, Any]]:
        """One mapping a row."""


def print_table(table: Table, *, format: Format, quiet: bool = False) -> None:
    """Print all columns of a table."""
    print_rows(table.to_pylist(), columns=table.column_names, format=format, quiet=quiet)
