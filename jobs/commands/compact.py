"""`zoo compact CATALOG`"""

from __future__ import annotations

from jobs.screen.shown import AS_USUAL, Format, Shown
from jobs.screen.typed import Place


def compact(
    catalog: Place,
    *,
    grace: float = 5.0,
    alone: bool = False,
    format: Format = "table",
    shown: Shown = AS_USUAL,
    quiet: bool = False,
) -> int:
    """Merge the small files of a catalog. Readers may go on meanwhile, and sweeps unless it is in a bucket.

    Parameters
    ----------
    catalog
        Folder or URL of the catalog.
    grace
        Seconds to wait, twice, before files that were merged are deleted: readers that have just listed them may
        still open them. 0 where nobody reads the catalog now.
    alone
        No sweep runs on this catalog. Only asked for in buckets where that cannot be told (docs/running.md).
    format
        How to print.
    quiet
        Nothing but rows and errors.
    """
    from catalog.care.compact import compact as run_compact
    from jobs.screen.output import print_table
    from jobs.screen.progress import Progress
    from zoo.errors import UseError

    if grace < 0:
        raise UseError(f"--grace: got {grace:g}; wanted 0 or more seconds")
    progress = Progress(quiet=quiet)
    print_table(
        run_compact(catalog, grace_s=grace, alone=alone, say=progress.say),
        format=format,
        quiet=quiet,
        shown=shown,
    )
    return 0
