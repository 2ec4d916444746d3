"""DuckDB over a catalog: an in-memory connection with the views of sql/ defined, all or the needed ones.

The views are plain SQL files that also run in the stock command line:
`duckdb -cmd "set variable zoo = 'results'"`, then `.read` each of them. Nothing is written, nothing
is downloaded, and what a user types is never pasted into their text.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import duckdb

from catalog.errors import StorageError
from catalog.files.duck import open_duck, put
from catalog.files.folder import Folder
from catalog.files.layout import read_marker, seed
from catalog.read import rollup
from catalog.read.definitions import DICTIONARY, mixed_over_uniform, script_for
from catalog.read.safety import shut
from catalog.schema import SCHEMA_VERSION, dictionary


def connect(
    root: str | os.PathLike[str], *, only: Iterable[str] | None = None, allow_files: bool = False
) -> duckdb.DuckDBPyConnection:
    """A connection to the catalog `root` with all views, or those named in `only` alone.

    `dictionary` says what every column of the tables means. Queries reach the catalog's files alone,
    or any with `allow_files`.
    Readers need no lock: any number may be open while sweeps write, and while a newer program adds
    columns. Columns that are newer than the catalog are NULL. NotACatalogError when there is no
    catalog, or a newer program wrote it. Fetch timestamps through Arrow: DuckDB's own fetch wants
    the package pytz for them.
    """
    folder = Folder.parse(root)
    marker = read_marker(folder)
    con = open_duck(folder)
    try:
        con.execute("set variable zoo_schemas = ?", [[marker.oldest, marker.version]])
        con.execute("set variable zoo_rollup = ?", [rollup.is_there(folder)])
        try:
            define(con, only=only)
        except duckdb.Error:  # a file of kept scores went while it was bound: the layers give the same
            con.execute("set variable zoo_rollup = false")
            define(con, only=only)
        shut(con, folder, allow_files=allow_files)
    except duckdb.Error as error:
        con.close()
        raise StorageError(
            f"cannot read the tables of {folder.root}: {error}; run `zoo check` to find the cause"
        ) from error
    return con


def define(con: duckdb.DuckDBPyConnection, *, only: Iterable[str] | None = None) -> None:
    """Define all views on a connection of `connect`, or those named in `only` and what is below."""
    names = None if only is None else frozenset(only)
    asked = "select getvariable('zoo_schemas'), getvariable('zoo_rollup')"
    (((oldest, newest), is_rolled_up),) = con.execute(asked).fetchall()
    instead = {rollup.SCORES: rollup.views_over_files()} if is_rolled_up else {}
    con.execute("set variable zoo_files = ?", ["/".join(seed(newest))])
    con.execute(script_for(names, is_uniform=newest == SCHEMA_VERSION, instead=instead))
    if oldest < newest == SCHEMA_VERSION:
        con.execute(mixed_over_uniform())
    con.execute("reset variable zoo_files")
    if names is None or DICTIONARY in names:
        put(con, DICTIONARY, dictionary())
