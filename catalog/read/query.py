"""Asking DuckDB and getting Arrow tables; errors become QueryError, saying what can be asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from catalog.errors import QueryError, StorageError
from catalog.files.duck import is_of_files, while_others_write


def ask(
    con: duckdb.DuckDBPyConnection,
    query: str,
    values: Sequence[object] | Mapping[str, object] = (),
    *,
    blame: str = "the query",
) -> pa.Table:
    """The result of one query on a catalog's connection, as an Arrow table.

    `values` fill its parameters. All views show the catalog as it was at one moment, whoever
    commits or compacts meanwhile. QueryError, naming `blame`, when DuckDB does not understand it.
    """
    params = dict(values) if isinstance(values, Mapping) else list(values)

    def read() -> pa.Table:
        with _one_moment(con):
            found = con.sql(query, params=params or None)
            return pa.table({}) if found is None else found.to_arrow_table()

    try:
        return while_others_write(read)
    except duckdb.Error as error:
        if is_of_files(error):
            raise StorageError(f"{blame}: {error}; run `zoo check` to find the file") from error
        raise QueryError(f"{blame}: {error}") from error


@contextmanager
def _one_moment(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Let shown_models stand still (sql/20_visible.sql)."""
    con.execute("begin")
    try:
        con.execute("delete from internal.snapshot_models")
        con.execute("insert into internal.snapshot_models from internal.live_models")
        con.execute("commit")
    except duckdb.Error:
        con.execute("rollback")
        raise
    con.execute("set variable zoo_snapshot = true")
    try:
        yield
    finally:
        con.execute("reset variable zoo_snapshot")


def columns(con: duckdb.DuckDBPyConnection, view: str) -> tuple[str, ...]:
    """Column names of a view or table; no file is opened."""
    query = "select column_name from duckdb_columns() where table_name = ? order by column_index"
    return tuple(name for (name,) in con.execute(query, [view]).fetchall())


def condition(con: duckdb.DuckDBPyConnection, where: str) -> str:
    """`where`, checked to be one SQL expression and nothing after it, in parentheses."""
    try:
        con.extract_statements(f"select 1 where {where}")  # its own parentheses balance
        statements = con.extract_statements(f"select 1 where ({where}\n)")
    except duckdb.Error as error:
        raise QueryError(
            f"--where {where!r:.200}: {error}; wanted an SQL condition such as "
            f"\"num_params < 1e9 and family = 'llama'\""
        ) from error
    if len(statements) != 1:
        raise QueryError(f"--where {where!r:.200}: wanted one condition, got several statements")
    return f"({where}\n)"
