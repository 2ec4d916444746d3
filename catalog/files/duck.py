"""An in-memory DuckDB that can read a catalog's folder or bucket while others write. Knows no views.

No extension is ever fetched, so it works without a network. Nothing of the catalog is written.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import duckdb

from catalog.files.folder import Folder

_ATTEMPTS = 8
"""Times that a query is tried while files change under it."""
_PAUSE_S = 0.02
"""Seconds before the second try; doubled each time, which makes 2.5 s in all."""

T = TypeVar("T")
"""What a query gives."""


def open_duck(folder: Folder) -> duckdb.DuckDBPyConnection:
    """A new connection; the SQL variable `zoo` holds the catalog's root, for use in globs."""
    con = duckdb.connect(
        config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    )
    if folder.remote is not None:
        con.register_filesystem(folder.remote)
    con.execute("set TimeZone = 'UTC'")
    con.execute("set parquet_metadata_cache = true")  # views open a file more than once
    con.execute("set variable zoo = ?", [folder.glob()])
    return con


def put(con: duckdb.DuckDBPyConnection, name: str, columns: Mapping[str, Sequence[object]]) -> None:
    """Make the temporary table `name` of `columns`, which are of one length.

    Not by way of Arrow: making an Arrow table of Python values imports pandas, half a second.
    """
    cells = ", ".join(f"unnest(?) as {column}" for column in columns)
    con.execute(
        f"create or replace temp table {name} as select {cells}",
        [list(values) for values in columns.values()],
    )


def while_others_write(read: Callable[[], T]) -> T:
    """What `read` returns; called again, up to eight times, when a file changed under it.

    DuckDB opens a file once for its footer and once more for its pages. A commit that replaces it
    in between gives a footer that does not fit the pages, a compaction takes the file away. The
    last error is raised: then a file is torn, or the storage fails.
    """
    for number in range(_ATTEMPTS - 1):
        try:
            return read()
        except duckdb.Error as error:
            if not is_of_files(error):
                raise
        time.sleep(_PAUSE_S * 2**number)
    return read()


def is_of_files(error: duckdb.Error) -> bool:
    """True when the files are to blame, not the query.

    A vanished file is an IOException; bytes that do not fit are errors of no class of their own
    (`TProtocolException`, `Out of buffer`, ...); a file that is no Parquet at all is invalid input that
    is named. What is wrong with a query always has another class.
    """
    if isinstance(error, duckdb.InvalidInputException):
        return _NO_PARQUET.search(str(error)) is not None
    return isinstance(error, duckdb.IOException) or type(error) is duckdb.Error


_NO_PARQUET = re.compile(
    r"too small to be a Parquet file|No magic bytes|not a parquet|Footer length error|"
    r"schema mismatch in glob",
    re.IGNORECASE,
)
"""What DuckDB says of a file that is empty, cut off or something else, or of another program's."""
