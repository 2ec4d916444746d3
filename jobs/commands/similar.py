"""`zoo similar CATALOG MODEL`"""

from __future__ import annotations

from jobs.screen.shown import AS_USUAL, Format, Shown
from jobs.screen.typed import ModelName, Place

FIRST = ("model_id", "distance", "shared", "step", "family", "num_params", "base_model")
"""What a terminal has room for first."""


def similar(
    catalog: Place,
    model: ModelName,
    *,
    top: int = 10,
    min_shared: float = 0.5,
    format: Format = "table",
    shown: Shown = AS_USUAL,
    quiet: bool = False,
) -> int:
    """The models nearest to one by their spectra: its base, its fine-tunes, its twins, whatever they are called.

    The distance is 0 for equal weights, small between a fine-tune and its base, and near 1 where a typical number
    differs by a factor e; `zoo ask CATALOG similar --sql` has its definition.

    Parameters
    ----------
    catalog
        Folder or URL of the catalog.
    model
        Model id, optionally `id@revision` or `id@stepN`.
    top
        Rows.
    min_shared
        Least share of places (role and relative depth) that both models must have.
    format
        How to print.
    quiet
        Nothing but rows and errors.
    """
    from catalog.read.query import ask_rows
    from catalog.read.questions import Value, bound, find_question
    from catalog.read.views import connect
    from jobs.screen.output import print_table
    from zoo.errors import UseError

    if top < 1:
        raise UseError(f"--top: got {top}, wanted at least 1")
    question = find_question("similar")
    values: dict[str, Value] = {"model": model, "top": top, "min_shared": min_shared}
    with connect(catalog, only=question.views) as con, bound(con, question, values):
        answer = ask_rows(con, question.sql, blame="similar")
    print_table(answer, format=format, shown=shown, quiet=quiet, first=FIRST)
    return 0
