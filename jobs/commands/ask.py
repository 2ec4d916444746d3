"""`zoo ask CATALOG NAME`"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jobs.screen.answers import AnswerFormat
from jobs.screen.shown import AS_USUAL, Format, Shown
from jobs.screen.typed import Place, QuestionName

if TYPE_CHECKING:
    import duckdb

    from catalog.read.query import Answer
    from catalog.read.questions import Question, Value


def ask(
    catalog: Place,
    name: QuestionName | None = None,
    *settings: str,
    sql: bool = False,
    format: AnswerFormat = "table",
    out: Annotated[Path | None, Parameter(name=("--out", "-o"))] = None,
    plot: Path | None = None,
    axes: str | None = None,
    shown: Shown = AS_USUAL,
    quiet: bool = False,
) -> int:
    """Ask a named question, such as `zoo ask results outliers family=llama top=10`.

    Without a name: the questions there are. What a question is asked with is bound, never pasted into SQL.

    Parameters
    ----------
    catalog
        Folder or URL of the catalog.
    name
        A question, or a file of your own that ends in .sql.
    settings
        Parameters of the question, each as NAME=VALUE; `null` is none.
    sql
        Print the question's SQL, with what it says of itself, and ask nothing.
    format
        How to print; parquet writes a file.
    out
        File for `--format parquet` (default: the name of the question).
    plot
        Folder for a picture: one numeric column by another.
    axes
        Its columns, vertical and horizontal, such as `alpha,layer_index`. Default: the first two with several
        values.
    quiet
        Nothing but rows and errors.
    """
    from catalog.read.query import ask as ask_table
    from catalog.read.query import ask_rows
    from catalog.read.questions import bound, find_question, values_of
    from catalog.read.views import connect
    from jobs.screen.answers import check_places, give_answer
    from jobs.screen.progress import Progress
    from jobs.screen.text import printable

    if name is None:
        return list_questions("table" if format == "parquet" else format, shown, quiet)
    check_places(format, out, plot, axes)
    question = find_question(name)
    if sql:
        print(printable(question.sql.rstrip(), keep="\n"))
        return 0
    values = values_of(question, parse_settings(settings))
    with connect(catalog, only=question.views) as con:
        check_question(con, catalog, question)
        Progress(quiet=quiet).say(question.title)
        with bound(con, question, values):
            give_answer(
                lambda: ask_rows(con, question.sql, blame=question.name),
                lambda: ask_table(con, question.sql, blame=question.name),
                name=question.name, format=format, shown=shown, quiet=quiet, out=out, plot=plot,
                axes=axes,
            )  # fmt: skip
    return 0


def ask_at_prompt(con: duckdb.DuckDBPyConnection, catalog: str, words: Sequence[str]) -> Answer:
    """The answer to `.ask NAME KEY=VALUE ...` on a connection with all views."""
    from catalog.read.query import ask_rows
    from catalog.read.questions import bound, find_question, values_of

    question = find_question(words[0])
    check_question(con, catalog, question)
    values: dict[str, Value] = values_of(question, parse_settings(words[1:]))
    with bound(con, question, values):
        return ask_rows(con, question.sql, blame=question.name)


def check_question(con: duckdb.DuckDBPyConnection, catalog: str, question: Question) -> None:
    """QueryError for a question that does more than to read the catalog: a file may be anybody's."""
    from catalog.files.folder import Folder
    from catalog.read.safety import check_statements

    check_statements(con, question.sql, Folder.parse(catalog), allow_files=False)


def parse_settings(settings: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE, each once; UseError for anything else."""
    from zoo.errors import UseError

    given: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise UseError(
                f"got {setting!r:.200}; wanted a parameter as NAME=VALUE, such as top=10"
            )
        if name in given:
            raise UseError(f"{name}: got it twice; wanted one value")
        given[name] = value
    return given


def list_questions(format: Format, shown: Shown, quiet: bool) -> int:
    """Print every question: its name, what it answers, what it can be asked with."""
    from catalog.read.questions import questions
    from jobs.screen.output import print_rows

    rows = [
        {
            "name": question.name,
            "question": question.title,
            "parameters": " ".join(parameter.usage for parameter in question.parameters),
        }
        for question in questions().values()
    ]
    print_rows(
        rows, columns=("name", "question", "parameters"), first=("name", "question"), format=format,
        shown=shown, quiet=quiet,
    )  # fmt: skip
    return 0
