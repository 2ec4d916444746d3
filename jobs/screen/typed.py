"""What a shell completes when Tab is pressed behind `zoo`: folders and files, boards, models of a catalog.

A completer runs while somebody types. It must be quick and must not fail: what cannot be told is left to the shell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from cyclopts.completion._engine import CompletionContext

    Place = str
else:
    from pathlib import Path

    Place = str | Path
"""A folder, a file or a URL: text for the program; shells complete it as they complete files, for which
cyclopts wants to see a Path among its types."""

_MOST = 500
"""Nobody picks from more names than this."""


def _boards(context: CompletionContext) -> list[str]:
    from catalog.read.boards import BOARDS

    return [board for board in BOARDS if board.startswith(context.incomplete)]


def _models(context: CompletionContext) -> list[str]:
    """Ids of the models in the catalog that was typed before."""
    import duckdb

    from catalog.errors import CatalogError
    from catalog.read.query import ask_rows
    from catalog.read.views import connect

    try:
        with connect(context["catalog"].raw or "", only=("models",)) as con:
            names = ask_rows(
                con,
                "select distinct model_id from models where starts_with(model_id, $start) "
                "or starts_with(parse_filename(model_id), $start) order by all limit $most",
                {"start": context.incomplete, "most": _MOST},
            ).rows
    except (CatalogError, duckdb.Error, OSError):  # no catalog there: nothing to propose
        return []
    whole = [str(name) for (name,) in names]
    short = [name.rpartition("/")[2] for name in whole]
    return [name for name in (*whole, *short) if name.startswith(context.incomplete)]


def _questions(context: CompletionContext) -> list[str]:
    from catalog.read.questions import questions

    return [name for name in questions() if name.startswith(context.incomplete)]


BoardName = Annotated[Place, Parameter(completer=_boards)]
"""The name of a leaderboard; a catalog will do, as `rank` takes both in either order."""
ModelName = Annotated[str, Parameter(completer=_models)]
"""A model of the catalog named before it."""
QuestionName = Annotated[str, Parameter(completer=_questions)]
"""A named question, or a file of SQL."""
