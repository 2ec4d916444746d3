"""What a table and a column are, as values. Knows no particular table.

Types are Arrow types; a column says its unit and meaning, so that the schema is its own manual.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

TEXT = pa.string()
INT = pa.int64()
INT32 = pa.int32()
REAL = pa.float64()
FLAG = pa.bool_()
TIME = pa.timestamp("us", tz="UTC")
REALS32 = pa.list_(pa.float32())
INTS32 = pa.list_(pa.int32())
INTS = pa.list_(pa.int64())


@dataclass(frozen=True, slots=True)
class Column:
    """One column: what it is called, what it holds, and what that means."""

    name: str
    """Name in the Parquet file and in SQL."""
    type: pa.DataType
    """Arrow type."""
    unit: str
    """Unit of the value: `1` for a pure number, `count`, `s`, `bytes`, `text`, `UTC`, ..."""
    meaning: str
    """Definition in one sentence; for a nullable column, when it is NULL if that is not obvious."""
    nullable: bool = True
    """False: every row must have a value."""
    choices: tuple[str, ...] = ()
    """The only values a text column takes; empty: any."""


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
