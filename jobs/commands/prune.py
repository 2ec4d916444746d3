"""`zoo prune CATALOG`"""

from __future__ import annotations

from jobs.screen.shown import AS_USUAL, Format, Shown
from jobs.screen.typed import Place


def prune(
    catalog: Place,
    *,
    older_than: float = 30.0,
    keep: int = 1,
    model: str = "*",
    dry_run: bool = False,
    format: Format = "table",
    shown: Shown = AS_USUAL,
    quiet: bool = False,
) -> int:
    """Give up old units that no sweep lists any more: replaced revisions, analyses with other options.

    They are gone from every answer at once; `zoo compact` deletes their rows. What the last sweep of any
    name listed stays, however old it is.

    Parameters
    ----------
    catalog
        Folder or URL of the catalog.
    older_than
        Days since the unit was committed.
    keep
        Revisions of every model that stay in any case, those measured last.
    model
        Only models whose id matches this glob.
    dry_run
        Name them, and change nothing.
    format
        How to print.
    quiet
        Nothing but rows and errors.
    """
    from datetime import UTC, datetime

    from catalog.care.prune import prune as run_prune
    from jobs.screen.output import print_rows
    from jobs.screen.progress import Progress
    from zoo.errors import UseError

    if older_than < 0:
        raise UseError(f"--older-than: got {older_than:g}; wanted 0 or more days")
    if keep < 0:
        raise UseError(f"--keep: got {keep}; wanted 0 or more revisions")
    gone = run_prune(
        catalog,
        now=datetime.now(UTC),
        older_than_days=older_than,
        keep=keep,
        model=model,
        dry_run=dry_run,
    )
    columns = ("model_id", "revision", "analysis_key", "committed_at", "num_layers")
    rows = [{column: getattr(unit, column) for column in columns} for unit in gone]
    print_rows(rows, columns=columns, format=format, quiet=quiet, shown=shown)
    said = "would be given up" if dry_run else "given up; `zoo compact` deletes their rows"
    Progress(quiet=quiet).say(f"{len(gone)} units {said}")
    return 0
