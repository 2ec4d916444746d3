"""`zoo sql CATALOG "select ..."`"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jobs.screen.shown import AS_USUAL, Format, Shown

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb

    from catalog.read.query import Answer


def sql(
    catalog: str,
    query: str | None = None,
    *,
    file: Annotated[Path | None, Parameter(name=("--file", "-f"))] = None,
    allow_files: bool = False,
    format: Format = "table",
    shown: Shown = AS_USUAL,
    quiet: bool = False,
) -> int:
    """Ask DuckDB, with all tables and views of the catalog registered.

    Without a query: a prompt on a terminal, else the statements on standard input. `show tables` lists the views.

    Parameters
    ----------
    catalog
        Folder or URL of the catalog.
    query
        One or more SQL statements; the rows of the last one are printed.
    file
        File of SQL statements.
    allow_files
        Let the query read and write other files (`read_csv`, `copy … to …`); never files of the catalog.
    format
        How to print.
    quiet
        Nothing but rows and errors.
    """
    from catalog.errors import QueryError
    from catalog.read import views
    from catalog.read.definitions import views_of
    from catalog.read.query import ask_rows
    from zoo.errors import UseError

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
        with views.connect(catalog, allow_files=allow_files) as con:
            check = _checker(con, catalog, allow_files)
            return _prompt(con, check, format, shown, quiet)
    only = views_of(query)
    with views.connect(catalog, only=only, allow_files=allow_files) as con:
        _checker(con, catalog, allow_files)(query)
        try:
            answer = ask_rows(con, query)
        except QueryError:
            if only is None:
                raise
            views.define(con)  # the name of a view was put together, or the message may propose one
            answer = ask_rows(con, query)
    _print(answer, format, shown, quiet)
    return 0


def _checker(
    con: duckdb.DuckDBPyConnection, catalog: str, allow_files: bool
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
    import contextlib

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  line editing and history
    if not quiet:
        print(
            "DuckDB over the catalog; `show tables` lists the views, exit or Ctrl-D leaves.",
            file=sys.stderr,
        )
    lines: list[str] = []
    while True:
        try:
            lines.append(_line("...> " if lines else "zoo> "))
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
        elif text.endswith(";") or (len(lines) == 1 and _is_complete(text) and not _more_comes()):
            _ask(con, text, check, format, shown, quiet)
            lines = []


def _line(prompt: str) -> str:
    """One line typed; the prompt is no data, so it stays out of a redirected standard output."""
    if sys.stdout.isatty():
        return input(prompt)
    print(prompt, end="", file=sys.stderr, flush=True)
    return input()


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
