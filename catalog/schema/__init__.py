"""The one schema: every table with every column. `arrow_types` makes of it what is written to the files.

A reader of the catalog needs nothing else: `TABLES["layers"].column("alpha").meaning`.
A column that is added says since which version (`since`), which raises SCHEMA_VERSION; rows written
before read as NULL there, in every view. A column never changes its type or meaning: it gets a new name.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from catalog.schema.layers import LAYERS, SPECTRA
from catalog.schema.models import EVALUATIONS, MODELS, TENSORS
from catalog.schema.runs import CAUSES, FAILURES, LISTING, SWEEPS
from catalog.schema.table import Column, Table
from catalog.schema.traps import TRAPS

TABLES: Mapping[str, Table] = MappingProxyType(
    {
        table.name: table
        for table in (
            LAYERS, TRAPS, MODELS, EVALUATIONS, SPECTRA, TENSORS, FAILURES, SWEEPS, LISTING,
        )
    }
)  # fmt: skip
"""Every table by name."""

SCHEMA_VERSION = max(column.since for table in TABLES.values() for column in table.columns)
"""The version of the schema; every file stores its own as `zoo.schema`."""

UNIT_TABLES = ("layers", "traps", "evaluations", "spectra", "tensors")
"""Tables whose rows belong to a unit and are shown once its `models` row is there."""


def dictionary() -> dict[str, list[object]]:
    """The table that says what every column of the tables means, column by column."""
    entries = [(table, column) for table in TABLES.values() for column in table.columns]
    return {
        "table_name": [table.name for table, _ in entries],
        "column_name": [column.name for _, column in entries],
        "type": [str(column.type) for _, column in entries],
        "unit": [column.unit for _, column in entries],
        "nullable": [column.nullable for _, column in entries],
        "meaning": [column.meaning for _, column in entries],
    }


__all__ = [
    "CAUSES",
    "SCHEMA_VERSION",
    "TABLES",
    "UNIT_TABLES",
    "Column",
    "Table",
    "dictionary",
]
