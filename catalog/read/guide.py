"""What can be asked, in words: tables and views, their columns, the words that complete a query.

Also the views as one file of SQL for a DuckDB of somebody's own.
"""

from __future__ import annotations

import os
import re
from functools import cache

import duckdb

from catalog.files.folder import Folder
from catalog.files.layout import read_marker
from catalog.read.definitions import DICTIONARY, FILES, script
from catalog.read.query import Answer
from catalog.schema import TABLES

_VIEW = re.compile(r"((?:^--.*\n)*)^create or replace view (\w+) as", re.MULTILINE)
"""A view for users (internal ones have a dot in their name), with the comment above it."""
_NAMES = """
    select table_name, column_name, data_type from duckdb_columns()
    where schema_name = 'main' and database_name in ('memory', 'temp') and not internal
    order by table_name, column_index
"""


def tables_of(con: duckdb.DuckDBPyConnection) -> Answer:
    """One row a table or view: its name, how many columns it has, and what a row of it is."""
    counts: dict[str, int] = {}
    for table, _, _ in con.execute(_NAMES).fetchall():
        counts[table] = counts.get(table, 0) + 1
    rows = tuple((name, count, _meaning(name)) for name, count in counts.items())
    return Answer(("name", "columns", "what"), rows)


def schema_of(con: duckdb.DuckDBPyConnection, name: str) -> Answer:
    """One row a column of the table or view `name` (of all, where it is empty): type and meaning."""
    meanings = {c.name: c.meaning for table in TABLES.values() for c in table.columns}
    meanings |= {c.name: c.meaning for c in (TABLES[name].columns if name in TABLES else ())}
    rows = tuple(
        (table, column, kind.lower(), meanings.get(column))
        for table, column, kind in con.execute(_NAMES).fetchall()
        if name in ("", table)
    )
    return Answer(("table", "column", "type", "meaning"), rows)


def _meaning(name: str) -> str | None:
    """First sentence on a table or view."""
    said = TABLES[name].meaning if name in TABLES else _comments().get(name, "")
    return re.split(r"[.:;](?:\s|$)", said, maxsplit=1)[0] or None


@cache
def _comments() -> dict[str, str]:
    """What the SQL files say above each view; above the first of a file, what the file says."""
    comments = {DICTIONARY: "What every column of the tables means."}
    for file in sorted(FILES.glob("*.sql")):
        text = file.read_text(encoding="utf-8")
        head = re.match(r"(?:--.*\n)*", text)
        for number, view in enumerate(_VIEW.finditer(text)):
            said = view[1] or (head[0] if head and number == 0 else "")
            lines = [line.removeprefix("--").strip() for line in said.splitlines()]
            comments[view[2]] = " ".join(lines).strip()
    return comments


def stock_script(root: str) -> str:
    """SQL that makes a stock DuckDB read the catalog `root`: its views, and where its files are.

    Written for the command line: `duckdb -init FILE`. NotACatalogError where there is no catalog.
    """
    folder = Folder.parse(root)
    read_marker(folder)
    place = os.path.abspath(folder.root) if folder.is_local else folder.glob()
    quoted = place.replace("'", "''")
    return f"set variable zoo = '{quoted}';\n{script()}"
