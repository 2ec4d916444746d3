"""The Arrow schema of every table, as it is written to the files; loaded by what writes or audits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc

from catalog.schema import TABLES
from catalog.schema.table import Type

ARROW_TYPES: Mapping[Type, pa.DataType] = MappingProxyType(
    {
        Type.TEXT: pa.string(),
        Type.INT: pa.int64(),
        Type.INT32: pa.int32(),
        Type.REAL: pa.float64(),
        Type.FLAG: pa.bool_(),
        Type.TIME: pa.timestamp("us", tz="UTC"),
        Type.REALS32: pa.list_(pa.float32()),
        Type.INTS32: pa.list_(pa.int32()),
        Type.INTS: pa.list_(pa.int64()),
    }
)
"""The Arrow type behind each type a column may have."""


@cache
def arrow_schema(name: str) -> pa.Schema:
    """The `pyarrow.Schema` of table `name`; field metadata holds unit and meaning."""
    return pa.schema(
        [
            pa.field(
                column.name,
                ARROW_TYPES[column.type],
                nullable=column.nullable,
                metadata={"unit": column.unit, "meaning": column.meaning},
            )
            for column in TABLES[name].columns
        ]
    )


def under_todays_names(name: str, rows: pa.Table) -> pa.Table:
    """Rows read from files of table `name`, also of older schemas, with every column under today's name."""
    for column in TABLES[name].columns:
        if not column.was or column.was not in rows.column_names:
            continue
        values = rows.column(column.was)
        if column.name in rows.column_names:  # of older and of newer files
            values = pc.coalesce(rows.column(column.name), values)
            rows = rows.drop_columns([column.name])
        rows = rows.drop_columns([column.was]).append_column(column.name, values)
    return rows
