"""`zoo ls CATALOG`"""

from __future__ import annotations

from jobs.screen.shown import AS_USUAL, Format, Shown
from jobs.screen.typed import Place

QUERY = """
select model_id, family, num_revisions, step, num_params, layers_analysed, layers_skipped,
    layers_failed, committed_at
from models_latest
where is_final
order by model_id
"""

FIRST = (
    "model_id",
    "family",
    "num_params",
    "layers_analysed",
    "layers_failed",
    "num_revisions",
    "step",
)
"""What a terminal has room for first."""


def ls(
    catalog: Place, *, format: Format = "table", shown: Shown = AS_USUAL, quiet: bool = False
) -> int:
    """The models of a catalog, one row each: its newest revision, and how many there are.

    Parameters
    ----------
    catalog
        Folder or URL of the catalog.
    format
        How to print.
    quiet
        Nothing but rows and errors.
    """
    from catalog.read.query import ask_rows
    from catalog.read.views import connect
    from jobs.screen.output import print_table

    with connect(catalog, only=("models_latest",)) as con:
        print_table(ask_rows(con, QUERY), format=format, quiet=quiet, shown=shown, first=FIRST)
    return 0
