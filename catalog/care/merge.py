"""Sorted rows -> Parquet files of a bounded size, cut between parts and never within one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from catalog.files.folder import Folder
from catalog.schema.arrow_types import arrow_schema
from catalog.schema.table import Table
from catalog.write.parts import parquet_writer


def write_sorted(
    folder: Folder,
    table: Table,
    batches: Iterable[pa.RecordBatch],
    *,
    generation: str,
    target_bytes: int,
) -> int:
    """Write `batches`, sorted by part, as files of `generation`; returns how many.

    A file is closed at the first part that begins beyond `target_bytes`.
    """
    schema = arrow_schema(table.name).remove_metadata()
    unwritten = _Unwritten(batches, schema, table.part_key)
    count = 0
    while unwritten.rows is not None:

        def write(path: str) -> None:
            with parquet_writer(path, table.name, {}, tier=generation) as writer:
                unwritten.drain(writer, lambda: os.path.getsize(path) > target_bytes)

        folder.put_written(write, table.name, generation, f"part-{count:04d}.parquet")
        count += 1
    return count


class _Unwritten:
    """The rows that are not written yet; `rows` are the next of them, None when there are none."""

    def __init__(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema, key: Sequence[str]
    ) -> None:
        self._batches = iter(batches)
        self._schema = schema
        self._key = key
        self.rows: pa.Table | None = None
        self._advance()

    def drain(self, writer: pq.ParquetWriter, is_full: Callable[[], bool]) -> None:
        """Write rows until the file is full and a new part begins, or none are left."""
        last: tuple[object, ...] | None = None
        while self.rows is not None:
            rows = self.rows
            end = rows.num_rows
            if last is not None and is_full():
                end = next((i for i, key in enumerate(self._keys(rows)) if key != last), end)
            if end:
                writer.write_table(rows.slice(0, end))
                last = self._keys(rows.slice(end - 1, 1))[0]
            if end < rows.num_rows:
                self.rows = rows.slice(end)
                return
            self._advance()

    def _advance(self) -> None:
        """Takes the next batch that has rows."""
        self.rows = None
        for batch in self._batches:
            if batch.num_rows:
                rows = pa.Table.from_batches([batch])
                self.rows = rows.select(self._schema.names).cast(self._schema)
                return

    def _keys(self, rows: pa.Table) -> list[tuple[object, ...]]:
        """The part that each row belongs to."""
        return list(zip(*(rows.column(c).to_pylist() for c in self._key), strict=True))
