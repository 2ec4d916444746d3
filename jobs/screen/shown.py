"""The options that every command with rows takes: which columns, in which order, how wide."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from cyclopts import Parameter

from zoo.errors import UseError

Format = Literal["table", "csv", "json", "md"]
"""How rows are written."""
TableRows = Sequence[Mapping[str, object]]
"""What is printed, row by row: values by column."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Shown:
    """`--columns`, `--sort` and `--wide`, as typed."""

    columns: Annotated[
        tuple[str, ...],
        Parameter(
            consume_multiple=False,
            show_default=False,
            help="Only these columns, in this order, in every format: names or globs with commas between "
            "them, such as `tensor,alpha*`; `*` is all there are.",
        ),
    ] = ()
    sort: Annotated[
        str | None,
        Parameter(
            allow_leading_hyphen=True,
            help="Sort the rows by these columns: `role,-alpha`, a minus is largest first. Empty cells last.",
        ),
    ] = None
    wide: Annotated[
        bool,
        Parameter(
            show_default=False,
            help="On a terminal: every column that csv has, none cut, however wide the terminal is.",
        ),
    ] = False

    def pick(self, usual: Sequence[str], every: Sequence[str]) -> list[str]:
        """The columns to print: those of `every` that `--columns` names; else `usual`.

        UseError for a name that fits none, with the nearest.
        """
        if not self.columns:
            return list(usual)
        picked: list[str] = []
        for name in _names(",".join(self.columns), "--columns"):
            fitting = [column for column in every if fnmatchcase(column, name)]
            if not fitting:
                raise _unknown("--columns", name, every)
            picked += [column for column in fitting if column not in picked]
        return picked

    @property
    def sort_columns(self) -> list[str]:
        """Columns that `--sort` names, without their minus."""
        return (
            [] if self.sort is None else [n.removeprefix("-") for n in _names(self.sort, "--sort")]
        )

    def check_sort(self, every: Sequence[str]) -> None:
        """UseError when `--sort` names a column that is not among `every`."""
        for name in self.sort_columns:
            if name not in every:
                raise _unknown("--sort", name, every)

    def sorted(self, rows: TableRows) -> TableRows:
        """`rows` in the order of `--sort`, which keeps the order of equals; without it as they are."""
        if self.sort is None:
            return rows
        for name in reversed(_names(self.sort, "--sort")):
            column = name.removeprefix("-")
            filled = [row for row in rows if row.get(column) is not None]
            empty = [row for row in rows if row.get(column) is None]
            filled.sort(key=lambda row: _key(row[column]), reverse=name.startswith("-"))
            rows = [*filled, *empty]
        return rows


def _key(value: object) -> tuple[str, object]:
    """Numbers among numbers, text among text; what has no order of its own by how it is written."""
    if isinstance(value, bool | int | float):
        return ("", value)
    kind = type(value).__name__
    return (kind, value if hasattr(value, "__lt__") and not isinstance(value, dict) else str(value))


def _names(text: str, option: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UseError(f"{option}: got {text!r}; wanted names of columns, such as alpha,num_traps")
    return names


def _unknown(option: str, name: str, every: Sequence[str]) -> UseError:
    near = difflib.get_close_matches(name, every, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return UseError(f"{option}: no column {name!r:.100}; {hint}there are {', '.join(every)}")


AS_USUAL = Shown()
"""None of the options."""
