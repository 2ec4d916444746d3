"""`zoo sql CATALOG "select ..."`"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jobs.screen.answers import AnswerFormat
from jobs.screen.shown import AS_USUAL, Shown
from jobs.screen.typed import Place

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb


def sql(
    catalog: Place,
    query: str | None = None,
    *,
    file: Annotated[Path | None, Parameter(name=("--file", "-f"))] = None,
    views: bool = False,
    list_: Annotated[bool, Parameter(name="--list")] = False,
    allow_files: bool = False,
    format: AnswerFormat = "table",
    out: Annotated[Path | None, Parameter(name=("--out", "-o"))] = None,
    plot: Path | None = None,
    axes: str | None = None,
    shown: Shown = AS_USUAL,
    quiet: bool = False,
) -> int:
    """Ask DuckDB, with all tables and views of the catalog registered.

    Without a query: a prompt on a terminal (.help, .tables, .schema, history, completion by Tab), else the
    statements on standard input. `show tables` lists the views.

    Parameters
    ----------
    catalog
        Folder or URL of the catalog.
    query
        One or more SQL statements; the rows of the last one are printed.
    file
        File of SQL statements.
    views
        Print SQL that defines the views for a DuckDB of your own, and ask nothing: `duckdb -init FILE`.
    list_
        The named questions that `zoo ask` answers.
    allow_files
        Let the query read and write other files (`read_csv`, `copy … to …`); never files of the catalog.
    format
        How to print; parquet writes a file.
    out
        File for `--format parquet` (default: query.parquet).
    plot
        Folder for a picture: one numeric column of the rows by another.
    axes
        Its columns, vertical and horizontal, such as `alpha,layer_index`. Default: the first two with several
        values.
    quiet
        Nothing but rows and errors.
    """
    from catalog.errors import QueryError
    from catalog.read.definitions import views_of
    from catalog.read.guide import stock_script
    from catalog.read.query import ask, ask_rows
    from catalog.read.views import connect, define
    from jobs.commands.ask import list_questions
    from jobs.commands.sql_prompt import prompt
    from jobs.screen.answers import check_places, give_answer
    from zoo.errors import UseError

    for option, is_given in (("--views", views), ("--list", list_)):
        if is_given and (query is not None or file is not None):
            raise UseError(f"{option}: got it with a query; wanted one of them")
    if views:
        print(stock_script(catalog))
        return 0
    if list_:
        return list_questions("table" if format == "parquet" else format, shown, quiet)
    check_places(format, out, plot, axes)
    if query is not None and file is not None:
        raise UseError("got a query and --file; wanted one of them")
    if file is not None:
        try:
            query = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UseError(f"--file: cannot read {str(file)!r}: {error}") from error
    if query is None and not sys.stdin.isatty():
        query = sys.stdin.read()
    if query is not None and not query.strip(" \t\r\n;"):
        raise UseError(
            'got an empty query; wanted SQL, such as "select * from layers_latest limit 5"'
        )
    if query is None:
        if format == "parquet" or plot is not None:
            raise UseError("--format parquet and --plot want a query; the prompt prints rows")
        with connect(catalog, allow_files=allow_files) as con:
            check = _checker(con, catalog, allow_files)
            return prompt(con, catalog, check, format, shown, quiet)
    only = views_of(query)
    with connect(catalog, only=only, allow_files=allow_files) as con:
        _checker(con, catalog, allow_files)(query)

        def give() -> None:
            give_answer(
                lambda: ask_rows(con, query), lambda: ask(con, query),
                name="query", format=format, shown=shown, quiet=quiet, out=out, plot=plot, axes=axes,
            )  # fmt: skip

        try:
            give()
        except QueryError:
            if only is None:
                raise
            define(con)  # the name of a view was put together, or the message may propose one
            give()
    return 0


def _checker(
    con: duckdb.DuckDBPyConnection, catalog: Place, allow_files: bool
) -> Callable[[str], None]:
    """Raises QueryError for a query that may not run."""
    from catalog.files.folder import Folder
    from catalog.read.safety import check_statements

    folder = Folder.parse(catalog)
    return lambda query: check_statements(con, query, folder, allow_files=allow_files)
