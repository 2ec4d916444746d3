"""One Parquet part: rows validated, written aside, renamed.

Knows no commits: which parts make a unit visible is decided in `commits`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import pyarrow as pa
import pyarrow.parquet as pq

from catalog.errors import SchemaError
from catalog.files.folder import Folder
from catalog.files.layout import HOT
from catalog.schema import SCHEMA_VERSION, TABLES
from catalog.schema.arrow_types import arrow_schema
from catalog.write.arrow_rows import table_from_rows

_SAFE_STEM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,189}")
"""File names, without ending, that are safe on every file system."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part ready to be written: validated, and encoded as the bytes of its file."""

    path: tuple[str, str, str]
    """Table, generation, file name."""
    data: memoryview
    """The whole file."""


def make_part(
    table: str,
    rows: Sequence[Mapping[str, object]],
    *,
    name: str,
    metadata: Mapping[str, str],
) -> Part:
    """`rows` as the part `name` of `table`; nothing is written.

    Every column is there, absent ones as typed NULLs. SchemaError names the column that does not fit.
    """
    if not _SAFE_STEM.fullmatch(name):
        raise SchemaError(f"part name {name!r:.200} is not safe as a file name; use part_name()")
    data = encode(table_from_rows(table, rows), table=table, metadata=metadata)
    return Part((table, HOT, f"{name}.parquet"), data)


def write_part(
    root: str,
    table: str,
    rows: Sequence[Mapping[str, object]],
    *,
    name: str,
    metadata: Mapping[str, str],
) -> str:
    """Make and write a part; returns its path.

    StorageError and DiskFullError say what to do; whatever goes wrong, nothing is left behind.
    """
    part = make_part(table, rows, name=name, metadata=metadata)
    return Folder.parse(root).put(part.data, *part.path)


def encode(rows: pa.Table, *, table: str, metadata: Mapping[str, str]) -> memoryview:
    """The bytes of a Parquet file, of the generation HOT, that holds the Arrow table `rows`."""
    sink = pa.BufferOutputStream()
    with parquet_writer(sink, table, metadata, tier=HOT) as writer:
        writer.write_table(rows)
    return memoryview(sink.getvalue())


def is_parquet(data: bytes) -> bool:
    """True when `data` ends in a footer that can be read."""
    try:
        pq.ParquetFile(pa.BufferReader(data))
    except (pa.ArrowInvalid, OSError):
        return False
    return True


@contextmanager
def parquet_writer(
    sink: str | pa.BufferOutputStream, table: str, metadata: Mapping[str, str], *, tier: str
) -> Iterator[pq.ParquetWriter]:
    """How every file of the catalog is written: compressed, with statistics, dictionaries for text,
    and `zoo.schema`, `zoo.table` and `metadata` (prefixed `zoo.`) in the footer.

    A hot file holds one unit. Beyond its keys no statistics could prune it, and zstd would take half
    of the time of a commit to save a tenth of a few kilobytes; compaction writes both.
    """
    schema, text, keys = _settings(table)
    footer = {f"zoo.{key}": value for key, value in metadata.items()}
    footer |= {"zoo.schema": str(SCHEMA_VERSION), "zoo.table": table}
    with pq.ParquetWriter(
        sink,
        schema,
        compression="snappy" if tier == HOT else "zstd",
        write_statistics=keys if tier == HOT else True,
        use_dictionary=text,
        store_schema=False,  # it would double the size of a small file
    ) as writer:
        yield writer
        writer.add_key_value_metadata(
            {key: value.encode("utf-8", "backslashreplace") for key, value in footer.items()}
        )


@cache
def _settings(table: str) -> tuple[pa.Schema, list[str], list[str]]:
    """(Arrow schema of a table without units and meanings, its text columns, its keys)."""
    schema = arrow_schema(table).remove_metadata()
    text = [field.name for field in schema if pa.types.is_string(field.type)]
    return schema, text, list(TABLES[table].sort_key)
