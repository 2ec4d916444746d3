"""What a table and a column are, as values. Knows no particular table.

A column says its unit and meaning, so that the schema is its own manual. Types are named here and
become Arrow types in `arrow_types`: whoever only reads a catalog need not load Arrow, which takes longer
than the answer to a small question.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Type(StrEnum):
    """What a column holds; the value is Arrow's name of the type, as the page of tables shows it."""

    TEXT = "string"
    INT = "int64"
    INT32 = "int32"
    REAL = "double"
    FLAG = "bool"
    TIME = "timestamp[us, tz=UTC]"
    REALS32 = "list<item: float>"
    INTS32 = "list<item: int32>"
    INTS = "list<item: int64>"


# the types under short names, for the declarations of the tables
TEXT = Type.TEXT
INT = Type.INT
INT32 = Type.INT32
REAL = Type.REAL
FLAG = Type.FLAG
TIME = Type.TIME
REALS32 = Type.REALS32
INTS32 = Type.INTS32
INTS = Type.INTS


@dataclass(frozen=True, slots=True)
class Column:
    """One column: what it is called, what it holds, and what that means."""

    name: str
    """Name in the Parquet file and in SQL."""
    type: Type
    """Type of its values."""
    unit: str
    """Unit of the value: `1` for a pure number, `count`, `s`, `bytes`, `text`, `UTC`, ..."""
    meaning: str
    """Definition in one sentence; for a nullable column, when it is NULL if that is not obvious."""
    nullable: bool = True
    """False: every row must have a value."""
    choices: tuple[str, ...] = ()
    """The only values a text column takes; empty: any."""
    since: int = 1
    """Schema version that added the column; it is NULL in rows written before, so it is nullable."""
    was: str = ""
    """Its name in files written before `since`, whose values are shown under today's; empty: it had none."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its columns in order, and which of them name a part file."""

    name: str
    """Name of the folder below the catalog's root, and of the view in SQL."""
    meaning: str
    """What one row is."""
    part_key: tuple[str, ...]
    """Rows that agree here live in one part; of two parts with the same key, one wins."""
    sort_key: tuple[str, ...]
    """Order of the rows of a compacted file, so that row-group statistics prune."""
    columns: tuple[Column, ...]
    """Every column, in file order."""

    def column(self, name: str) -> Column:
        """The column called `name`; KeyError when there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)
