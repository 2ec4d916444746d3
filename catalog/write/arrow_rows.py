"""Rows (mappings) -> one Arrow table that fits the schema exactly, or an error naming the column.

Pure. Every column is always there; a missing one is a typed NULL. NaN and Inf are refused: a number
that could not be computed is None, with a status or reason beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from numbers import Integral, Real
from types import NoneType

import pyarrow as pa
import pyarrow.compute as pc

from catalog.errors import SchemaError
from catalog.schema import TABLES
from catalog.schema.arrow_types import ARROW_TYPES, arrow_schema
from catalog.schema.table import Column, Table


def table_from_rows(name: str, rows: Sequence[Mapping[str, object]]) -> pa.Table:
    """The `pyarrow.Table` of `rows` under the schema of table `name`; SchemaError otherwise."""
    if name not in TABLES:
        raise SchemaError(f"no table {name!r}; the tables are {', '.join(TABLES)}")
    table = TABLES[name]
    known, kinds = _known(name)
    for number, row in enumerate(rows):
        if not row.keys() <= known:
            unknown = next(key for key in row if key not in known)
            raise SchemaError(
                f"{name} row {number}: unknown column {unknown!r}; the columns are those of "
                f"catalog.schema.TABLES[{name!r}]"
            )
    arrays = [
        _array(table, column, kind, rows) for column, kind in zip(table.columns, kinds, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=arrow_schema(name).remove_metadata())


@cache
def _known(name: str) -> tuple[frozenset[str], tuple[type | None, ...]]:
    """The column names of a table, and for each column the Python type that Arrow takes as it is."""
    columns = TABLES[name].columns
    return frozenset(column.name for column in columns), tuple(
        _plain(ARROW_TYPES[c.type]) for c in columns
    )


def _plain(kind: pa.DataType) -> type | None:
    """The Python type that Arrow takes as it is for a column of this type; None without one."""
    if pa.types.is_string(kind):
        return str
    if pa.types.is_boolean(kind):
        return bool
    if pa.types.is_integer(kind):
        return int
    return float if pa.types.is_floating(kind) else None


def _array(
    table: Table, column: Column, kind: type | None, rows: Sequence[Mapping[str, object]]
) -> pa.Array:
    """The column of `rows` as an Arrow array; SchemaError names what does not fit."""
    name = column.name
    cells = [row.get(name) for row in rows]
    arrow_type = ARROW_TYPES[column.type]
    types = set(map(type, cells))
    if types == {NoneType} and column.nullable:
        return pa.nulls(len(cells), arrow_type)
    where = f"{table.name}.{name}"
    if not _are_plain(column, kind, types, cells):
        cells = [_cell(column, cell, f"{where} row {i}") for i, cell in enumerate(cells)]
    try:
        array = pa.array(cells, type=arrow_type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError) as error:
        raise SchemaError(f"{where}: wanted {arrow_type}, got {error}") from error
    if pa.types.is_list(arrow_type) and pa.types.is_floating(arrow_type.value_type):
        _check_finite(array, where)
    return array


def _are_plain(
    column: Column, kind: type | None, types: set[type], cells: Sequence[object]
) -> bool:
    """True when no cell needs `_cell`: a look at each costs a commit more than all its files."""
    if kind not in types or not types <= {kind, NoneType}:
        return False
    if NoneType in types and not column.nullable:
        return False
    if kind is float:  # then all cells are, which the types seen do not tell mypy
        return all(cell is None or math.isfinite(cell) for cell in cells)  # type: ignore[arg-type]
    return not column.choices or set(cells) <= set(column.choices)


def _check_finite(array: pa.Array, where: str) -> None:
    """Lists may be long, so finiteness is checked on the flat buffer, after rounding to float32."""
    flat = array.flatten()
    if flat.null_count or pc.all(pc.is_finite(flat)).as_py() is False:
        raise SchemaError(
            f"{where}: a list holds NaN, Inf or NULL (or overflows float32); write None for the "
            f"whole list, with a reason, or scale the values"
        )


def _cell(column: Column, value: object, where: str) -> object:
    """`value` as Arrow will take it without losing anything."""
    if value is None:
        if not column.nullable:
            raise SchemaError(f"{where}: no value; this column must have one ({column.meaning})")
        return None
    kind = ARROW_TYPES[column.type]
    if pa.types.is_list(kind):
        return _list(kind, value, where)
    if pa.types.is_string(kind):
        return _text(column, value, where)
    if pa.types.is_boolean(kind):
        if isinstance(value, bool):
            return value
    elif pa.types.is_timestamp(kind):
        if isinstance(value, datetime) and value.tzinfo is not None:
            return value.astimezone(UTC)
        if isinstance(value, datetime):
            raise SchemaError(f"{where}: got {value!r} without a time zone; wanted UTC")
    elif not isinstance(value, bool):
        return _number(kind, value, where)
    raise SchemaError(f"{where}: wanted {kind}, got {type(value).__name__} {value!r:.80}")


def _number(kind: pa.DataType, value: object, where: str) -> int | float:
    if isinstance(value, Integral):
        return int(value) if pa.types.is_integer(kind) else float(value)
    if isinstance(value, Real):
        number = float(value)
        if not math.isfinite(number):
            raise SchemaError(f"{where}: got {number}; write None, with a status or reason")
        if pa.types.is_floating(kind):
            return number
        if number.is_integer():
            return int(number)
    raise SchemaError(f"{where}: wanted {kind}, got {type(value).__name__} {value!r:.80}")


def _text(column: Column, value: object, where: str) -> str:
    if not isinstance(value, str):
        raise SchemaError(f"{where}: wanted text, got {type(value).__name__} {value!r:.80}")
    if column.choices and value not in column.choices:
        raise SchemaError(f"{where}: got {value!r:.80}; wanted one of {', '.join(column.choices)}")
    return value


def _list(kind: pa.DataType, value: object, where: str) -> object:
    """Sequences pass through: pyarrow reads arrays of numbers without a Python loop."""
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__len__"):
        raise SchemaError(f"{where}: wanted {kind}, got {type(value).__name__} {value!r:.80}")
    if pa.types.is_integer(kind.value_type) and isinstance(value, Sequence):
        return [_number(kind.value_type, item, where) for item in value]
    return value
