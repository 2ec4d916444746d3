"""Finished units whose files hold other numbers of rows than were committed.

A file under its final name is whole when a commit ends; later a disk may tear it, or a person move it
away. The row of `models` names the rows of every table, so such a unit is told without reading any:
of hot files, one each unit and table, by the size in the listing, and by the footer where that is
another one; of merged files by their footers. Rows are counted only where the footers do not add up.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import duckdb

from catalog.files.duck import is_of_files, open_duck, while_others_write
from catalog.files.folder import Folder
from catalog.files.layout import HOT
from catalog.schema import UNIT_TABLES
from catalog.schema.keys import COMMIT
from catalog.write.finished import FinishedUnit, newest, stored_units
from catalog.write.names import UnitKey, part_name

_PAUSE_S = 0.1
"""Seconds before what seems to lack is looked at once more: longer than a file is being replaced."""


@dataclass(frozen=True, slots=True)
class Lack:
    """A table in which a finished unit has not the rows it was committed with."""

    key: UnitKey
    table: str
    num_rows: int | None
    """Rows that are there; None: they lie in a file that cannot be read, which is `torn`."""
    wanted: int
    """Rows that the commit wrote."""
    torn: str | None = None
    """Name of the hot file that cannot be read."""

    def __str__(self) -> str:
        there = "unreadable rows" if self.num_rows is None else f"{self.num_rows} rows"
        return f"{self.key.model_id}: {there} of {self.wanted} in {self.table}"


def lacking(root: str) -> tuple[Lack, ...]:
    """What is not there of the finished units of the catalog `root`; empty when all is well."""
    return lacking_of(root, stored_units(root))


def lacking_of(root: str, stored: Sequence[FinishedUnit]) -> tuple[Lack, ...]:
    """`lacking`, by the rows of `models` that were just read.

    A commit or a compaction may have moved rows since: what seems to lack is looked at once more.
    """
    folder = Folder.parse(root)
    with open_duck(folder) as con:
        lacks = _look(con, folder, stored)
        if lacks:
            time.sleep(_PAUSE_S)
            again = set(_look(con, folder, stored_units(root)))
            lacks = [lack for lack in lacks if lack in again]
    return tuple(lacks)


def _look(
    con: duckdb.DuckDBPyConnection, folder: Folder, stored: Sequence[FinishedUnit]
) -> list[Lack]:
    shown = newest(stored)
    shown_units = {id(unit) for unit in shown}
    lacks = list(_hot(con, folder, [unit for unit in shown if unit.generation == HOT]))
    for tier in sorted({unit.generation for unit in shown} - {HOT}):
        # rows of units that were committed again since are still in the merged files
        merged = [unit for unit in stored if unit.generation == tier]
        lacks += [
            _lack(unit, table, num_rows)
            for table in UNIT_TABLES
            for unit, num_rows in _merged(con, folder, table, tier, merged)
            if id(unit) in shown_units
        ]
    return lacks


def _lack(unit: FinishedUnit, table: str, num_rows: int | None, torn: str | None = None) -> Lack:
    return Lack(unit.key, table, num_rows, unit.parts[table].num_rows, torn)


def _hot(
    con: duckdb.DuckDBPyConnection, folder: Folder, units: Iterable[FinishedUnit]
) -> Iterator[Lack]:
    """Units of hot files, which are named after unit and sweep, alike in all tables."""
    named = [(unit, f"{part_name('layers', _keys(unit))}.parquet") for unit in units]
    for table in UNIT_TABLES if named else ():
        sizes = folder.sizes(table, HOT)
        doubtful = [
            (unit, name)
            for unit, name in named
            if (size := unit.parts.get(table)) is not None
            and size.num_rows
            and (name not in sizes or sizes[name] != size.nbytes)
        ]
        footers = _footers(con, folder, table, HOT, [n for _, n in doubtful if n in sizes])
        for unit, name in doubtful:
            num_rows = footers.get(name, 0)
            if num_rows != unit.parts[table].num_rows:
                yield _lack(unit, table, num_rows, name if num_rows is None else None)


def _merged(
    con: duckdb.DuckDBPyConnection,
    folder: Folder,
    table: str,
    tier: str,
    units: Sequence[FinishedUnit],
) -> Iterator[tuple[FinishedUnit, int]]:
    """Units of one generation, with the rows of `table` that it has, where these are not all."""
    sizes = [unit.parts.get(table) for unit in units]
    if None in sizes:
        return  # of a row that is older than the column only the layers are known
    footers = _footers(con, folder, table, tier, folder.names(table, tier))
    whole = {name: num_rows for name, num_rows in footers.items() if num_rows is not None}
    wanted = sum(size.num_rows for size in sizes if size is not None)
    if len(whole) == len(footers) and sum(whole.values()) == wanted:
        return
    counts = _rows_by_unit(con, folder, table, tier, list(whole))
    for unit in units:
        num_rows = counts.get(tuple(_keys(unit).values()), 0)
        if num_rows != unit.parts[table].num_rows:
            yield unit, num_rows


def _footers(
    con: duckdb.DuckDBPyConnection, folder: Folder, table: str, tier: str, names: Sequence[str]
) -> dict[str, int | None]:
    """Rows of each file by its footer; None for one that cannot be read. No row is read."""
    if not names:
        return {}
    query = "select file_name, num_rows from parquet_file_metadata(?)"
    files = [[folder.glob(table, tier, name) for name in names]]
    try:
        rows = con.execute(query, files).fetchall()
    except duckdb.Error as error:
        if not (is_of_files(error) or isinstance(error, duckdb.InvalidInputException)):
            raise
        if len(names) == 1:
            return {names[0]: None}
        half = len(names) // 2
        first = _footers(con, folder, table, tier, names[:half])
        return first | _footers(con, folder, table, tier, names[half:])
    return {file.rsplit("/", 1)[-1]: num_rows for file, num_rows in rows}


def _rows_by_unit(
    con: duckdb.DuckDBPyConnection, folder: Folder, table: str, tier: str, names: Sequence[str]
) -> dict[tuple[str, ...], int]:
    """Rows of these files by the keys of their commit: the only query here that reads any."""
    if not names:
        return {}
    query = (
        f"select {', '.join(COMMIT)}, count(*) from read_parquet(?, union_by_name = true, "
        f"hive_partitioning = false) group by all"
    )
    files = [[folder.glob(table, tier, name) for name in names]]
    rows = while_others_write(lambda: con.execute(query, files).fetchall())
    return {tuple(keys): num_rows for *keys, num_rows in rows}


def _keys(unit: FinishedUnit) -> dict[str, str]:
    """The keys of its commit, in the order of COMMIT."""
    model_id, revision, analysis_key = unit.key.model_id, unit.key.revision, unit.key.analysis_key
    return dict(zip(COMMIT, (unit.sweep_id, model_id, revision, analysis_key), strict=True))
