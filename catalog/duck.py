"""An in-memory DuckDB that can read a catalog's folder or bucket. Knows no views.

No extension is ever fetched, so it works without a network. Nothing of the catalog is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb

from catalog.folder import Folder


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
