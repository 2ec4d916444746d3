"""Whole units as they are stored: every row of every table, read from the very files they lie in.

For what writes units again: with other numbers (a refit), or under another name (equal weights). A view
would look into every file of the catalog for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from catalog.files.duck import put, while_others_write
from catalog.files.folder import Folder
from catalog.files.layout import HOT, check_marker, seed
from catalog.schema.arrow_types import under_todays_names
from catalog.schema.keys import COMMIT
from catalog.write.names import part_name

KEYS = ", ".join(COMMIT)
"""What rows of a unit are joined on."""

StoredRows = list[dict[str, Any]]
"""Rows of one table and unit, as they are stored: values by column."""


class StoredUnit(Protocol):
    """Where a unit is."""

    @property
    def keys(self) -> Mapping[str, str]:
        """sweep_id, model_id, revision, analysis_key."""

    @property
    def generation(self) -> str:
        """Folder of its files within each table."""


class UnitFiles:
    """Where the rows of every unit lie. Looks once; compaction must not run meanwhile."""

    def __init__(
        self, con: duckdb.DuckDBPyConnection, folder: Folder, *, are_named_as_today: bool = False
    ) -> None:
        """`are_named_as_today`: true when no unit asked for is of an older program, which may have named
        its files otherwise: then a unit without a file in a table has no rows there."""
        self._con = con
        self._folder = folder
        self._seed = seed(check_marker(folder))
        self._names: dict[str, frozenset[str]] = {}
        self._inside: dict[str, dict[tuple[str, ...], list[str]]] = {}
        self._are_named_as_today = are_named_as_today

    def of(self, table: str, units: Sequence[StoredUnit]) -> list[str]:
        """Files of `table` with rows of `units`, which lie in one generation, after an empty one, so
        that there always is one."""
        tier = units[0].generation
        empty = self._folder.at(table, *self._seed)
        if tier != HOT:
            names = self._folder.names(table, tier)
            return [empty, *(self._folder.at(table, tier, name) for name in names)]
        return [empty, *(file for unit in units for file in self._hot_files(table, unit.keys))]

    def _hot_files(self, table: str, keys: Mapping[str, str]) -> Sequence[str]:
        """By the name that a commit gives today, else (an older name, or no rows) by looking."""
        if table not in self._names:
            self._names[table] = frozenset(self._folder.names(table, HOT))
        name = f"{part_name(table, keys)}.parquet"
        if name in self._names[table]:
            return [self._folder.at(table, HOT, name)]
        if self._are_named_as_today:
            return ()
        if table not in self._inside:
            self._inside[table] = self._look(table)
        return self._inside[table].get(tuple(keys.values()), ())

    def _look(self, table: str) -> dict[tuple[str, ...], list[str]]:
        """The hot files by the keys of the rows inside, whatever the files are called."""
        files_of: dict[tuple[str, ...], list[str]] = {}
        if self._names[table]:
            query = (
                f"select distinct {KEYS}, filename from read_parquet(?, filename = true, "
                f"union_by_name = true, hive_partitioning = false)"
            )
            files = [self._folder.glob(table, HOT, "*.parquet")]
            for *key, file in while_others_write(
                lambda: self._con.execute(query, files).fetchall()
            ):
                files_of.setdefault(tuple(key), []).append(file)
        return files_of


def register(con: duckdb.DuckDBPyConnection, units: Sequence[StoredUnit]) -> None:
    """Make `units` the table `stored_units` (unit_no and KEYS) of `con`."""
    columns = {name: [unit.keys[name] for unit in units] for name in COMMIT}
    put(con, "stored_units", {**columns, "unit_no": range(len(units))})


def rows_of(
    con: duckdb.DuckDBPyConnection, files: UnitFiles, table: str, units: Sequence[StoredUnit]
) -> list[StoredRows]:
    """All rows of each unit, in file order; lists of numbers stay arrays. The units lie in one
    generation."""
    register(con, units)
    query = (
        f"select t.*, u.unit_no from read_parquet(?, union_by_name = true, "
        f"hive_partitioning = false, file_row_number = true) t "
        f"join stored_units u using ({KEYS}) order by u.unit_no, t.file_row_number"
    )
    values = [files.of(table, units)]
    stored = while_others_write(lambda: con.sql(query, params=values).to_arrow_table())
    rows: list[StoredRows] = [[] for _ in units]
    stored = under_todays_names(table, stored.drop_columns(["file_row_number"]))
    for batch in stored.to_batches():
        for row in _plain(batch):
            rows[row.pop("unit_no")].append(row)
    return rows


def _plain(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    names = batch.schema.names
    columns = [_values(batch.column(i)) for i in range(len(names))]
    for cells in zip(*columns, strict=True):
        yield dict(zip(names, cells, strict=True))


def _values(column: pa.Array) -> list[Any]:
    kind = column.type
    if pa.types.is_list(kind) and pa.types.is_floating(kind.value_type):
        return [cell.values.to_numpy() if cell.is_valid else None for cell in column]
    return list(column.to_pylist())
