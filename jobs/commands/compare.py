"""`zoo compare CATALOG A B`"""

from __future__ import annotations

from jobs.output import Format


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
    from catalog import store
    from catalog.model_page import compare as compare_models
    from jobs.output import print_arrow

    with store.connect(catalog) as con:
        print_arrow(compare_models(con, a, b), format=format, quiet=quiet)
    return 0
