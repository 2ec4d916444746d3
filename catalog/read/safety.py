"""What SQL of a user may do: read the catalog and nothing else, write nothing.

DuckDB reads and writes files by name from within any query (`read_text('/etc/passwd')`,
`copy … to …`). A connection that answers users' SQL is shut: of the file system the catalog's folder
alone can be reached, which DuckDB lets nobody change back, and statements that write files are refused before
they run, as a folder that DuckDB may read is one that it may write.
"""

from __future__ import annotations

import os
import re

import duckdb

from catalog.errors import QueryError
from catalog.files.folder import Folder

_KINDS = duckdb.StatementType
_HARMLESS = frozenset(
    {
        _KINDS.SELECT, _KINDS.EXPLAIN, _KINDS.CREATE, _KINDS.CREATE_FUNC, _KINDS.INSERT,
        _KINDS.UPDATE, _KINDS.DELETE, _KINDS.DROP, _KINDS.ALTER, _KINDS.SET, _KINDS.VARIABLE_SET,
        _KINDS.TRANSACTION, _KINDS.CALL, _KINDS.PRAGMA, _KINDS.RELATION, _KINDS.ANALYZE,
    }
)  # fmt: skip
"""Kinds of statements that reach no further than this connection's memory."""
_FILES = frozenset({_KINDS.COPY, _KINDS.EXPORT, _KINDS.ATTACH, _KINDS.DETACH})
"""Kinds that read or write files the user names."""
_EXPLAINED = re.compile(r"\s*explain\s+(?:analyze\s+)?(?:\([^)]*\)\s*)?", re.IGNORECASE)
"""The start of a statement that asks how another one is run."""
_TEXT = re.compile(r"'((?:[^']|'')*)'|\"((?:[^\"]|\"\")*)\"")
"""A text or a quoted name in SQL."""


def shut(con: duckdb.DuckDBPyConnection, folder: Folder, *, allow_files: bool) -> None:
    """From now on queries reach the catalog's files alone, for good; or any with `allow_files`."""
    con.execute("set python_enable_replacements = false")  # no table is a variable of this program
    if not allow_files:
        places = sorted({f"{folder.root}/", f"{folder.glob()}/"})
        con.execute("set allowed_directories = ?", [places])
        con.execute("set enable_external_access = false")


def check_statements(
    con: duckdb.DuckDBPyConnection, query: str, folder: Folder, *, allow_files: bool
) -> None:
    """Raises QueryError for a statement that would write a file, or reach one without `allow_files`.

    What cannot be parsed passes: DuckDB will say what is wrong with it.
    """
    try:
        statements = con.extract_statements(query)
    except duckdb.Error:
        return
    for statement in statements:
        text = statement.query.strip()
        if statement.type in _FILES and allow_files:
            _keep_off(text, folder)
        elif statement.type not in _HARMLESS:
            hint = "; `--allow-files` lets it" if statement.type in _FILES else ""
            raise QueryError(
                f"the query: {text.split(None, 1)[0].lower()!r} reaches beyond the catalog's tables, "
                f"which a query may only read{hint}. To keep rows in a file: --format csv > FILE"
            )
        elif statement.type == _KINDS.EXPLAIN:  # with ANALYZE it runs what it explains
            check_statements(
                con, _EXPLAINED.sub("", text, count=1), folder, allow_files=allow_files
            )


def _keep_off(text: str, folder: Folder) -> None:
    """Raises QueryError when a statement names a place inside the catalog."""
    root = _real(folder.root)
    for quoted in _TEXT.finditer(text):
        place = _real(quoted[1] or quoted[2] or "")
        if place == root or place.startswith(f"{root}/"):
            raise QueryError(
                f"the query: got {quoted[0]}, which lies inside the catalog {folder.root}; a file of "
                "someone else would break it: wanted another place"
            )


def _real(place: str) -> str:
    return place.rstrip("/") if "://" in place else os.path.realpath(place)
