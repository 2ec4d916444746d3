"""The tables of a release: every shown row of a catalog as one Parquet file a table, without what is private."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from catalog.read.board_kinds import BOARDS
from catalog.read.boards import leaderboard
from catalog.read.query import stream
from catalog.schema import TABLES
from jobs.publish.secrets import LEFT_OUT
from jobs.site.safe import without_paths

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class Written:
    """A Parquet file of a release."""

    path: str
    """In the release, with /."""
    rows: int


def write_tables(
    con: duckdb.DuckDBPyConnection, root: Path, *, spectra: bool, say: Callable[[str], None]
) -> list[Written]:
    """`data/<table>.parquet` of every table, in the order of its keys."""
    written = []
    for name, table in TABLES.items():
        if name == "spectra" and not spectra:
            continue
        dropped = LEFT_OUT.get(name, frozenset())
        columns = [c.name for c in table.columns if c.name not in dropped]
        order = ", ".join(table.sort_key)
        query = f"select {', '.join(columns)} from {name} order by {order}"
        path = root / "data" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = _write(con, query, path)
        say(f"{name}: {rows:,} rows")
        written.append(Written(f"data/{name}.parquet", rows))
    return written


def _write(con: duckdb.DuckDBPyConnection, query: str, path: Path) -> int:
    rows = 0
    writer: pq.ParquetWriter | None = None
    try:
        for batch in stream(con, query):
            clean = _without_paths(batch)
            if writer is None:
                writer = pq.ParquetWriter(path, clean.schema, compression="zstd")
            writer.write_batch(clean)
            rows += clean.num_rows
        if writer is None:
            empty = con.sql(f"select * from ({query}) limit 0").to_arrow_table()
            writer = pq.ParquetWriter(path, empty.schema, compression="zstd")
    finally:
        if writer is not None:
            writer.close()
    return rows


def _without_paths(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Texts with absolute paths of this machine cut to their last piece, as in messages of failures."""
    columns = []
    for column in batch.columns:
        if pa.types.is_string(column.type):
            coded = column.dictionary_encode()
            words = coded.dictionary.to_pylist()
            clean = [word if word is None else without_paths(word) for word in words]
            if clean != words:
                column = pa.DictionaryArray.from_arrays(coded.indices, pa.array(clean, column.type))
                column = column.cast(pa.string())
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def write_boards(con: duckdb.DuckDBPyConnection, root: Path) -> dict[str, Written]:
    """`boards/<board>.parquet` of every leaderboard, models without a rank last, with the reason."""
    written: dict[str, Written] = {}
    (root / "boards").mkdir(parents=True, exist_ok=True)
    for board in BOARDS.values():
        found = leaderboard(con, board, top=None)
        columns = {name: [row.get(name) for row in found.rows] for name in found.column_names}
        path = f"boards/{board.name}.parquet"
        pq.write_table(pa.table(columns), root / path, compression="zstd")
        written[board.name] = Written(path, len(found.rows))
    return written
