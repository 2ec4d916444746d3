"""`zoo show CATALOG MODEL`"""

from __future__ import annotations

from jobs.screen.output import Format


def show(catalog: str, model: str, *, format: Format = "table", quiet: bool = False) -> int:
    """One model's layers, newest analysis; on standard error, the files of it that were not read.

    Parameters
    ----------
    catalog
        Folder or URL of the catalog.
    model
        Model id, optionally `id@revision` (a prefix will do) or `id@stepN`.
    format
        How to print.
    quiet
        Nothing but rows and errors.
    """
    from catalog.read.model_page import VIEWS, layers_of, left_out_of
    from catalog.read.views import connect
    from jobs.screen.output import print_table
    from jobs.screen.progress import Progress
    from zoo.io.left_out import LeftOut, in_one_line

    with connect(catalog, only=VIEWS) as con:
        print_table(layers_of(con, model), format=format, quiet=quiet)
        left_out = [LeftOut(*row) for row in left_out_of(con, model)]
    if left_out:
        Progress(quiet=quiet).say(in_one_line(left_out))
    return 0
