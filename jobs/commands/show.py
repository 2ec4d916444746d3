"""`zoo show CATALOG MODEL`"""

from __future__ import annotations

from jobs.output import Format


def show(catalog: str, model: str, *, format: Format = "table", quiet: bool = False) -> int:
    """One model's layers, newest analysis.

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
    from catalog import store
    from catalog.model_page import layers_of
    from jobs.output import print_arrow

    with store.connect(catalog) as con:
        print_arrow(layers_of(con, model), format=format, quiet=quiet)
    return 0
