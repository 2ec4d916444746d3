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
from typing import Any, Literal

Format = Literal["table", "csv", "json", "md"]
Rows = Sequence[Mapping[str, object]]


def print_rows(rows: Rows, *, columns: Sequence[str], format: Format, quiet: bool = False) -> None:
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
    return printable(plain) if isinstance(plain, str) and sys.stdout.isatty() else plain


def printable(text: str, *, keep: str = "") -> str:
    """`text` without the control characters of hostile names, but for those in `keep`.

    They must not reach a terminal; a file gets them verbatim.
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


def _print_markdown(rows: Rows, columns: Sequence[str]) -> None:
    def cell(value: object) -> str:
        return _short(value).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")

    print("| " + " | ".join(columns) + " |")
    print("|" + "|".join(" --- " for _ in columns) + "|")
    for row in rows:
        print("| " + " | ".join(cell(row.get(c)) for c in columns) + " |")


def _print_table(rows: Rows, columns: Sequence[str]) -> None:
    cells = [[_short(row.get(c)) for c in columns] for row in rows]
    numeric = [
        all(isinstance(r.get(c), int | float | Decimal) or r.get(c) is None for r in rows)
        for c in columns
    ]
    widths = [max([len(name), *(len(r[i]) for r in cells)]) for i, name in enumerate(columns)]
    widths = _fit(widths, numeric)
    bold, plain = ("\x1b[1m", "\x1b[0m") if _has_colour() else ("", "")
    print(bold + _line(columns, widths, numeric).rstrip() + plain)
    for row in cells:
        print(_line(row, widths, numeric).rstrip())


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    parts = []
    for text, width, right in zip(cells, widths, numeric, strict=True):
        cut = text if len(text) <= width else text[: max(width - 1, 0)] + "…"
        parts.append(cut.rjust(width) if right else cut.ljust(width))
    return "  ".join(parts)


def _fit(widths: list[int], numeric: Sequence[bool]) -> list[int]:
    """On a terminal, shorten the widest text columns until a row fits; never below 12 characters."""
    if not sys.stdout.isatty():
        return widths
    room = shutil.get_terminal_size().columns - 2 * (len(widths) - 1)
    while sum(widths) > room:
        texts = [i for i, number in enumerate(numeric) if not number and widths[i] > 12]
        if not texts:
            break
        widest = max(texts, key=lambda i: widths[i])
        widths[widest] -= 1
    return widths


def _has_colour() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def print_arrow(table: Any, *, format: Format, quiet: bool = False) -> None:
    """Print an Arrow table."""
    print_rows(table.to_pylist(), columns=table.column_names, format=format, quiet=quiet)
