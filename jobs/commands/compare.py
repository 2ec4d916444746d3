"""`zoo compare CATALOG A B`"""

from __future__ import annotations

from jobs.screen.output import Format


def compare(catalog: str, a: str, b: str, *, format: Format = "table", quiet: bool = False) -> int:
    """Two models side by side, layer by layer: base against fine-tune, step against step.

    Parameters
    ----------
    catalog
        Folder or URL of the catalog.
    a
        Model id, optionally `id@revision` or `id@stepN`.
    b
        The other model.
    format
        How to print.
    quiet
        Nothing but rows and errors.
    """
    from catalog.read.model_page import VIEWS
    from catalog.read.model_page import compare as compare_models
    from catalog.read.views import connect
    from jobs.screen.output import print_table

    with connect(catalog, only=VIEWS) as con:
        print_table(compare_models(con, a, b), format=format, quiet=quiet)
    return 0
