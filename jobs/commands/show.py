"""`zoo show CATALOG MODEL`"""

from __future__ import annotations

from jobs.output import Format


def show(catalog: str, model: str, *, format: Format = "table") -> int:
    """One model's layers, newest analysis.

    Parameters
    ----------
    catalog
        Folder or URL of the catalog.
    model
        Model id, optionally `id@revision` (a prefix will do) or `id@stepN`.
    format
        How to print; json and csv have every column.
    """
    from catalog import store
    from catalog.model_page import model_layers
    from jobs.output import print_arrow

    with store.connect(catalog) as con:
        print_arrow(model_layers(con, model, wide=format in ("json", "csv")), format=format)
    return 0
