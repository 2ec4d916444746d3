"""DuckDB over a catalog: an in-memory connection with every view of sql/ registered.

The views are plain SQL files that also run in the stock command line:
`duckdb -cmd "set variable zoo = 'results'"`, then `.read` each of them. Nothing is written, nothing
is downloaded, and what a user types is never pasted into their text.
"""

from __future__ import annotations

import os
from importlib import resources

import duckdb

from catalog.errors import StorageError
from catalog.files.duck import open_duck, put
from catalog.files.folder import Folder
from catalog.files.layout import SEED, check_marker
from catalog.schema import dictionary


def connect(root: str | os.PathLike[str]) -> duckdb.DuckDBPyConnection:
    """A connection to the catalog `root` with all views; empty tables give empty views.

    `dictionary` says what every column of the tables means.
    Readers need no lock: any number may be open while sweeps write. NotACatalogError when there is
    no catalog. Fetch timestamps through Arrow: DuckDB's own fetch wants the package pytz for them.
    """
    folder = Folder.parse(root)
    check_marker(folder)
    con = open_duck(folder)
    try:
        con.execute("set variable zoo_files = ?", ["/".join(SEED)])
        con.execute(script())
        con.execute("reset variable zoo_files")
        put(con, "dictionary", dictionary())
    except duckdb.Error as error:
        con.close()
        raise StorageError(
            f"cannot read the tables of {folder.root}: {error}; run `zoo check` to find the cause"
        ) from error
    return con


def script() -> str:
    """All view definitions in order; expects the SQL variable `zoo` to hold the catalog's root."""
    files = sorted(
        (
            f
            for f in resources.files("catalog").joinpath("sql").iterdir()
            if f.name.endswith(".sql")
        ),
        key=lambda f: f.name,
    )
    return "\n".join(f.read_text(encoding="utf-8") for f in files)
