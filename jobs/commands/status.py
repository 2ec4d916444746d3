"""`zoo status CATALOG`"""

from __future__ import annotations

from jobs.screen.output import Format


def status(catalog: str, *, format: Format = "table", quiet: bool = False) -> int:
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
    from catalog.read.status import VIEWS
    from catalog.read.status import status as read_status
    from catalog.read.views import connect
    from jobs.screen.output import print_table

    with connect(catalog, only=VIEWS) as con:
        print_table(read_status(con), format=format, quiet=quiet)
    return 0
