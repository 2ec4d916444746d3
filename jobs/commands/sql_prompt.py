"""The prompt of `zoo sql`: statements of SQL, and commands that begin with a dot."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from jobs.screen.shown import Format, Shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import duckdb

    from catalog.read.query import Answer


def prompt(
    con: duckdb.DuckDBPyConnection,
    catalog: str,
    check: Callable[[str], None],
    format: Format,
    shown: Shown,
    quiet: bool,
) -> int:
    """Read and answer until the user leaves; the exit code. `check` refuses what may not run."""
    from catalog.read.words import completions
    from jobs.screen.prompt import LineEditor, history_file

    def complete(before: str, word: str) -> Sequence[str]:
        if word.startswith("."):
            return [command for command in _DOTS if command.startswith(word)]
        if before.startswith(".schema "):
            before = "from "
        if before.startswith(".ask "):
            return _of_question(before, word)
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
                _dot(con, catalog, text, format, shown, quiet)
                lines = []
            elif text.endswith(";") or (
                len(lines) == 1 and _is_complete(text) and not _more_comes()
            ):
                editor.remember(text)
                _ask(con, text, check, format, shown, quiet)
                lines = []


def _dot(
    con: duckdb.DuckDBPyConnection,
    catalog: str,
    text: str,
    format: Format,
    shown: Shown,
    quiet: bool,
) -> None:
    """Answer a command that is no SQL."""
    from catalog.read.guide import schema_of, tables_of
    from jobs.commands.ask import list_questions
    from jobs.screen.output import print_rows
    from jobs.screen.text import printable

    command, _, name = text.rstrip("; ").partition(" ")
    name = name.strip()
    if command == ".help":
        print(_HELP)
        return
    if command == ".questions":
        list_questions(format, shown, quiet)
        return
    if command == ".ask":
        _ask_question(con, catalog, name, format, shown, quiet)
        return
    if command not in (".tables", ".schema"):
        print(printable(f"zoo: no command {command!r}; .help lists them"), file=sys.stderr)
        return
    answer = tables_of(con) if command == ".tables" else schema_of(con, name.strip('"'))
    if not answer.rows:
        print(printable(f"zoo: no table or view {name!r}; .tables lists them"), file=sys.stderr)
        return
    columns = [c for c in answer.column_names if not (name and c == "table")]
    print_rows(answer.to_pylist(), columns=columns, format=format, quiet=quiet)


def _ask_question(
    con: duckdb.DuckDBPyConnection,
    catalog: str,
    words: str,
    format: Format,
    shown: Shown,
    quiet: bool,
) -> None:
    """Answer `.ask NAME KEY=VALUE ...`; what goes wrong is said, and the prompt goes on."""
    import shlex

    from catalog.errors import CatalogError
    from jobs.commands.ask import ask_at_prompt, list_questions
    from jobs.screen.text import printable
    from zoo.errors import UseError

    try:
        parts = shlex.split(words)
        if not parts:
            list_questions(format, shown, quiet)
            return
        _print(ask_at_prompt(con, catalog, parts), format, shown, quiet)
    except (CatalogError, UseError, ValueError) as error:  # ValueError: a quote that is not closed
        print(printable(f"zoo: {error}", keep="\n"), file=sys.stderr)


def _of_question(before: str, word: str) -> list[str]:
    """Completions behind `.ask `: names, then parameters of the one that was named."""
    from catalog.read.questions import questions

    known = questions()
    named = before.split()[1:2]
    if not named:
        return [name for name in known if name.startswith(word)]
    question = known.get(named[0])
    usages = [f"{p.name}=" for p in question.parameters] if question else []
    return [usage for usage in usages if usage.startswith(word)]


_DOTS = (".help", ".tables", ".schema", ".questions", ".ask", ".exit", ".quit")
"""Commands of the prompt that are no SQL."""
_HELP = """\
.tables         tables and views, and what a row of each is
.schema         every column of all of them
.schema NAME    columns of one, with types and meanings
.questions      named questions, and what each can be asked with
.ask NAME top=5 the answer to one of them
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
