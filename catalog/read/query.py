"""Asking DuckDB; errors become QueryError, saying what can be asked.

`ask` gives Arrow tables, for many numbers; `ask_rows` gives Python values, for people, and does not
load Arrow unless a value needs it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb

from catalog.errors import QueryError, StorageError
from catalog.files.duck import is_of_files, while_others_write
from catalog.read.words import hint
from catalog.schema.table import Type

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
"""What a question gives."""
_NAMES_A_FILE = re.compile(r"[\"'][^\"']*/[^\"']*[\"']|\S+://\S+")
"""A path or an address in an error of DuckDB."""

Values = Sequence[object] | Mapping[str, object]
"""Values of a query's parameters, by position or by name."""

_SIMPLE = re.compile(
    r"(BOOLEAN|U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|VARCHAR|DECIMAL\(\d+,\d+\)|"
    r'"NULL")(\[\])*'
)
"""Types whose values DuckDB hands to Python as Arrow does."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question gave, as Python values."""

    column_names: tuple[str, ...]
    """Names of the columns, each once: of two that are called `a`, the second is `a_1`."""
    rows: tuple[tuple[Any, ...], ...]
    """One value a column."""

    def to_pylist(self) -> list[dict[str, Any]]:
        """The rows by column name."""
        return [dict(zip(self.column_names, row, strict=True)) for row in self.rows]


def ask(
    con: duckdb.DuckDBPyConnection,
    query: str,
    values: Values = (),
    *,
    blame: str = "the query",
) -> pa.Table:
    """The result of one query on a catalog's connection, as an Arrow table.

    `values` fill its parameters. All views show the catalog as it was at one moment, whoever
    commits or compacts meanwhile. QueryError, naming `blame`, when DuckDB does not understand it.
    """

    def fetch(params: object) -> pa.Table:
        result = con.sql(query, params=params)
        if result is None:
            import pyarrow as pa

            return pa.table({})
        return result.to_arrow_table()

    return _asked(con, query, values, fetch, blame=blame)


def ask_rows(
    con: duckdb.DuckDBPyConnection,
    query: str,
    values: Values = (),
    *,
    blame: str = "the query",
) -> Answer:
    """The result of one query as Python values; like `ask` in all else."""

    def fetch(params: object) -> Answer:
        con.execute(query, params)  # binds once; a relation binds when made and when read
        return _rows(con)

    return _asked(con, query, values, fetch, blame=blame)


def stream(
    con: duckdb.DuckDBPyConnection, query: str, *, batch_rows: int = 50_000
) -> Iterator[pa.RecordBatch]:
    """The result of one query piece by piece, for tables that do not fit memory; of one moment.

    Unlike `ask` it is not asked again when a file changes under it: what was given cannot be taken back.
    StorageError then.
    """
    try:
        with _one_moment(con):
            yield from con.sql(query).to_arrow_reader(batch_rows)
    except duckdb.Error as error:
        raise StorageError(
            f"the catalog changed, or a file of it cannot be read: {str(error).partition(chr(10))[0]}; try again, "
            f"and run `zoo check` if it persists"
        ) from error


def _asked(
    con: duckdb.DuckDBPyConnection,
    query: str,
    values: Values,
    fetch: Callable[[object], T],
    *,
    blame: str,
) -> T:
    params = dict(values) if isinstance(values, Mapping) else list(values)

    def read() -> T:
        with _one_moment(con):
            return fetch(params or None)

    try:
        return while_others_write(read)
    except duckdb.Error as error:
        if is_of_files(error) and _names_the_catalog(con, error):
            first_line = str(error).partition("\n")[0]
            raise StorageError(
                f"a file of the catalog cannot be read: {first_line}; run `zoo check` to find the file and "
                f"all others like it, move them away and sweep again"
            ) from error
        if "requires the extension" in str(error):
            raise QueryError(
                f"{blame}: {str(error).partition(chr(10))[0]}, and extensions of DuckDB are never fetched or "
                f"loaded here; fetch the file first, and name it with --allow-files"
            ) from error
        raise QueryError(f"{blame}: {error}{hint(con, query)}") from error


def _names_the_catalog(con: duckdb.DuckDBPyConnection, error: duckdb.Error) -> bool:
    """True when the error is about a file of the catalog, or names none; a query may name others."""
    ((glob,),) = con.execute("select getvariable('zoo')").fetchall()
    root = re.sub(r"\[([*?\[])\]", r"\1", glob)  # as `Folder.glob` quotes it
    return root in str(error) or not _NAMES_A_FILE.search(str(error))


def _rows(con: duckdb.DuckDBPyConnection) -> Answer:
    """What the last query gave; nothing when it was empty or a comment."""
    if not con.description:
        return Answer((), ())
    names = _distinct([column[0] for column in con.description])
    if all(_SIMPLE.fullmatch(str(column[1])) for column in con.description):
        return Answer(names, tuple(con.fetchall()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the rows are copied
        table: pa.Table = con.to_arrow_table()
    return Answer(names, tuple(zip(*map(_python_values, table.columns), strict=True)))


def _python_values(column: pa.ChunkedArray) -> list[Any]:
    """Values of an Arrow column; Arrow itself loads pandas for a time with a zone."""
    if str(column.type) != Type.TIME:
        return list(column.to_pylist())
    times = column.cast("timestamp[us]").to_pylist()
    return [time and time.replace(tzinfo=UTC) for time in times]


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """`names` with a number added to those that were there before."""
    taken: list[str] = []
    for name in names:
        number = 0
        free = name
        while free in taken:
            number += 1
            free = f"{name}_{number}"
        taken.append(free)
    return tuple(taken)


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
