"""`zoo sql CATALOG "select ..."`"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jobs.screen.shown import AS_USUAL, Format, Shown
from jobs.screen.typed import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import duckdb

    from catalog.read.query import Answer


def sql(
    catalog: Place,
    query: str | None = None,
    *,
    file: Annotated[Path | None, Parameter(name=("--file", "-f"))] = None,
    views: bool = False,
    allow_files: bool = False,
    format: Format = "table",
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
    allow_files
        Let the query read and write other files (`read_csv`, `copy … to …`); never files of the catalog.
    format
        How to print.
    quiet
        Nothing but rows and errors.
    """
    from catalog.errors import QueryError
    from catalog.read.definitions import views_of
    from catalog.read.guide import stock_script
    from catalog.read.query import ask_rows
    from catalog.read.views import connect, define
    from zoo.errors import UseError

    if views:
        if query is not None or file is not None:
            raise UseError("--views: got it with a query; wanted one of them")
        print(stock_script(catalog))
        return 0
    if query is not None and file is not None:
        raise UseError("got a query and --file; wanted one of them")
    if file is not None:
        try:
            query = file.read_text(encoding="utf-8")
        except OSError as error:
            raise UseError(f"--file: cannot read {str(file)!r}: {error}") from error
    if query is None and not sys.stdin.isatty():
        query = sys.stdin.read()
    if query is not None and not query.strip(" \t\r\n;"):
        raise UseError(
            'got an empty query; wanted SQL, such as "select * from layers_latest limit 5"'
        )
    if query is None:
        with connect(catalog, allow_files=allow_files) as con:
            check = _checker(con, catalog, allow_files)
            return _prompt(con, check, format, shown, quiet)
    only = views_of(query)
    with connect(catalog, only=only, allow_files=allow_files) as con:
        _checker(con, catalog, allow_files)(query)
        try:
            answer = ask_rows(con, query)
        except QueryError:
            if only is None:
                raise
            define(con)  # the name of a view was put together, or the message may propose one
            answer = ask_rows(con, query)
    _print(answer, format, shown, quiet)
    return 0


def _checker(
    con: duckdb.DuckDBPyConnection, catalog: Place, allow_files: bool
) -> Callable[[str], None]:
    """Raises QueryError for a query that may not run."""
    from catalog.files.folder import Folder
    from catalog.read.safety import check_statements

    folder = Folder.parse(catalog)
    return lambda query: check_statements(con, query, folder, allow_files=allow_files)


def _ask(
    con: duckdb.DuckDBPyConnection,
    query: str,
    check: Callable[[str], None],
    format: Format,
    shown: Shown,
    quiet: bool,
) -> int:
    from catalog.errors import QueryError
    from catalog.read.query import ask_rows
    from jobs.screen.text import printable
    from zoo.errors import UseError

    try:
        check(query)
        _print(ask_rows(con, query), format, shown, quiet)
    except (QueryError, UseError) as error:
        print(printable(f"zoo: {error}", keep="\n"), file=sys.stderr)
        return 2
    return 0


def _print(answer: Answer, format: Format, shown: Shown, quiet: bool) -> None:
    from jobs.screen.output import print_table

    if answer.column_names not in ((), ("Success",), ("Count",)) or answer.rows:  # SET, CREATE
        print_table(answer, format=format, quiet=quiet, shown=shown, exact=True)


def _prompt(
    con: duckdb.DuckDBPyConnection,
    check: Callable[[str], None],
    format: Format,
    shown: Shown,
    quiet: bool,
) -> int:
    from catalog.read.words import completions
    from jobs.screen.prompt import LineEditor, history_file

    def complete(before: str, word: str) -> Sequence[str]:
        if word.startswith("."):
            return [command for command in _DOTS if command.startswith(word)]
        if before.startswith(".schema "):
            before = "from "
        return completions(con, " ".join([*lines, before]), word)

    if not quiet:
        print(
            "DuckDB over the catalog. .help says more, Tab completes, exit or Ctrl-D leaves.",
            file=sys.stderr,
        )
    lines: list[str] = []
    with LineEditor(complete, history_file()) as editor:
        while True:
            try:
                lines.append(editor.read("...> " if lines else "zoo> "))
            except EOFError:
                print(file=sys.stderr)
                return 0
            except KeyboardInterrupt:
                print(file=sys.stderr)
                lines = []
                continue
            text = "\n".join(lines).strip()
            if not text:
                lines = []
            elif text.lower() in _LEAVE:
                return 0
            elif text.startswith("."):
                editor.remember(text)
                _dot(con, text, format, shown, quiet)
                lines = []
            elif text.endswith(";") or (
                len(lines) == 1 and _is_complete(text) and not _more_comes()
            ):
                editor.remember(text)
                _ask(con, text, check, format, shown, quiet)
                lines = []


def _dot(
    con: duckdb.DuckDBPyConnection, text: str, format: Format, shown: Shown, quiet: bool
) -> None:
    """Answer a command that is no SQL."""
    from catalog.read.guide import schema_of, tables_of
    from jobs.screen.output import print_rows
    from jobs.screen.text import printable

    command, _, name = text.rstrip("; ").partition(" ")
    name = name.strip().strip('"')
    if command == ".help":
        print(_HELP)
        return
    if command not in (".tables", ".schema"):
        print(printable(f"zoo: no command {command!r}; .help lists them"), file=sys.stderr)
        return
    answer = tables_of(con) if command == ".tables" else schema_of(con, name)
    if not answer.rows:
        print(printable(f"zoo: no table or view {name!r}; .tables lists them"), file=sys.stderr)
        return
    columns = [c for c in answer.column_names if not (name and c == "table")]
    print_rows(answer.to_pylist(), columns=columns, format=format, quiet=quiet)


_DOTS = (".help", ".tables", ".schema", ".exit", ".quit")
"""Commands of the prompt that are no SQL."""
_HELP = """\
.tables         tables and views, and what a row of each is
.schema         every column of all of them
.schema NAME    columns of one, with types and meanings
exit, Ctrl-D    leave; Ctrl-C drops what was typed so far

Anything else is SQL of DuckDB; a statement of several lines ends with a
semicolon. Tab completes names and words; the arrow keys go through what was
typed before, here or in an earlier session. A name that is a reserved word of
SQL, or no plain word, is written in double quotes: "group".

Start with:
  from leaderboard_traps
  select role, median(alpha) from layers_latest group by all order by 2"""
_LEAVE = ("exit", "quit", ".exit", ".quit", "exit;", "quit;", "\\q")
"""What people type to leave a prompt."""


def _more_comes() -> bool:
    """True while lines of a pasted statement wait to be read."""
    import select

    return bool(select.select([sys.stdin], [], [], 0.05)[0])


def _is_complete(text: str) -> bool:
    """One line that DuckDB can parse needs no semicolon."""
    import duckdb

    try:
        return bool(duckdb.extract_statements(text))
    except duckdb.Error:
        return False
