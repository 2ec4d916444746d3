"""`zoo compact CATALOG`"""

from __future__ import annotations

from jobs.screen.shown import AS_USUAL, Format, Shown


def compact(
    catalog: str, *, format: Format = "table", shown: Shown = AS_USUAL, quiet: bool = False
) -> int:
    """Merge the small files of a catalog. Readers and sweeps may go on meanwhile.

    Parameters
    ----------
    catalog
        Folder or URL of the catalog.
    format
        How to print.
    quiet
        Nothing but rows and errors.
    """
    from catalog.care.compact import compact as run_compact
    from jobs.screen.output import print_table

    print_table(run_compact(catalog), format=format, quiet=quiet, shown=shown)
    return 0
