"""`zoo refit CATALOG`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from jobs.screen.shown import AS_USUAL, Format, Shown
from jobs.screen.typed import Place

COLUMNS = ("column", "compared", "moved", "largest_change")


def refit(
    catalog: Place,
    *,
    spec: Path | None = None,
    dry_run: bool = False,
    workers: Annotated[int | None, Parameter(name=("--workers", "-j"))] = None,
    format: Format = "table",
    shown: Shown = AS_USUAL,
    quiet: bool = False,
) -> int:
    """Recompute tail, edge and ERG numbers from the stored spectra, without touching weights.

    Prints the columns in which numbers moved, and how many; csv and json have every column. A unit
    is written again only where a number moved.

    Parameters
    ----------
    catalog
        Folder or URL of the catalog.
    spec
        Use the `[traps] level` and `[tail]` options of this sweep spec; the result is new units.
    dry_run
        Write nothing.
    workers
        Number of processes, one mathematics thread each; default: one a core.
    format
        How to print.
    quiet
        No summary on standard error.
    """
    import os
    import sys
    import time

    from jobs.errors import SpecError
    from jobs.refit.run import refit_catalog
    from jobs.screen.output import print_rows
    from jobs.screen.progress import Progress
    from jobs.spec.load import load_spec

    if workers is not None and workers < 1:
        raise SpecError(f"--workers: got {workers}; wanted 1 or more")
    parsed, text = load_spec(spec) if spec is not None else (None, "")
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    started = time.monotonic()
    tally = refit_catalog(
        catalog, spec=parsed, spec_text=text, workers=workers or cores, dry_run=dry_run
    )
    rows = tally.rows()
    if format in ("table", "md"):
        rows = [row for row in rows if row["moved"]]
    if rows or format != "table":
        print_rows(rows, columns=COLUMNS, format=format, quiet=quiet, shown=shown)
    progress = Progress(quiet=quiet)
    for reason in sorted({left.reason for left in tally.left}):
        names = [left.model_id for left in tally.left if left.reason == reason]
        progress.say(f"{len(names)} units left as they are ({names[0]}, ...): {reason}")
    progress.say(
        f"{tally.num_layers} layers of {tally.num_units} units recomputed in "
        f"{time.monotonic() - started:.1f} s, {len(tally.rows())} columns compared; "
        f"{tally.num_moved} numbers moved in {tally.num_moved_layers} layers; {tally.num_written} units "
        f"{'would be ' if dry_run else ''}written"
    )
    return 1 if tally.left else 0
