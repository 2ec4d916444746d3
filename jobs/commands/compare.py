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
    from catalog.read import views
    from catalog.read.model_page import compare as compare_models
    from jobs.screen.output import print_arrow

    with views.connect(catalog) as con:
        print_arrow(compare_models(con, a, b), format=format, quiet=quiet)
    return 0
