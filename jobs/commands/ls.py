"""`zoo ls CATALOG`"""

from __future__ import annotations

from jobs.screen.output import Format

QUERY = """
select model_id, family, num_revisions, step, num_params, layers_analysed, layers_skipped,
    layers_failed, committed_at
from models_latest
where is_final
order by model_id
"""


def ls(catalog: str, *, format: Format = "table", quiet: bool = False) -> int:
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
        print_table(ask_rows(con, QUERY), format=format, quiet=quiet)
    return 0
