"""`zoo status CATALOG`"""

from __future__ import annotations

from jobs.screen.shown import AS_USUAL, Format, Shown
from jobs.screen.typed import Place


def status(
    catalog: Place, *, format: Format = "table", shown: Shown = AS_USUAL, quiet: bool = False
) -> int:
    """What a catalog holds: listed, done, failed by cause, missing, cost. Read from the tables alone.

    Parameters
    ----------
    catalog
        Folder or URL of the catalog.
    format
        How to print.
    quiet
        Nothing but rows and errors.
    """
    from catalog.read.lacking import lacking
    from catalog.read.status import MANY_FILES, VIEWS, num_unmerged
    from catalog.read.status import status as read_status
    from catalog.read.views import connect
    from jobs.screen.output import print_rows
    from jobs.screen.progress import Progress
    from jobs.screen.quantities import Quantity

    with connect(catalog, only=VIEWS) as con:
        answer = read_status(con, lacking(catalog))
    names, rows = answer.column_names, answer.to_pylist()
    if format in ("table", "md"):
        rows = [{**row, "value": Quantity(row["value"], row["unit"])} for row in rows]
        names = tuple(name for name in names if name != "unit")
    print_rows(rows, columns=names, format=format, quiet=quiet, shown=shown)
    unmerged = num_unmerged(catalog)
    if unmerged >= MANY_FILES:
        Progress(quiet=quiet).say(
            f"{unmerged:,} files are not merged yet, which slows every question down: run `zoo compact`"
        )
    return 0
