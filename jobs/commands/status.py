"""`zoo status CATALOG`"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.screen.shown import AS_USUAL, Format, Shown
from jobs.screen.typed import Place

if TYPE_CHECKING:
    from catalog.read.query import Answer


def status(
    catalog: Place,
    *,
    watch: float | None = None,
    format: Format = "table",
    shown: Shown = AS_USUAL,
    quiet: bool = False,
) -> int:
    """What a catalog holds: listed, done, failed by cause, missing, cost. Read from the tables alone.

    Parameters
    ----------
    catalog
        Folder or URL of the catalog.
    watch
        Again every so many seconds, with rate and time left, until nothing that is listed waits to be done. From
        any machine that reads the catalog: the sweep is not asked. Ctrl-C ends it.
    format
        How to print.
    quiet
        Nothing but rows and errors.
    """
    import sys
    import time

    from jobs.screen.watch import Watched
    from zoo.errors import UseError

    if watch is not None and watch <= 0:
        raise UseError(f"--watch: got {watch:g}; wanted more than 0 seconds")
    watched = Watched()
    while True:
        answer = _answer(catalog)
        if watch is not None and sys.stdout.isatty():
            print("\x1b[H\x1b[2J", end="")  # from the top of an empty screen
        _print(answer, format=format, shown=shown, quiet=quiet)
        if watch is None:
            _say_unmerged(catalog, quiet=quiet)
            return 0
        watched.look(answer.to_pylist(), time.monotonic())
        sys.stdout.flush()
        if not quiet:
            print(watched.words(), file=sys.stderr, flush=True)
        if watched.num_waiting == 0:
            return 0
        time.sleep(watch)


def _answer(catalog: str) -> Answer:
    from catalog.read.lacking import lacking
    from catalog.read.status import VIEWS
    from catalog.read.status import status as read_status
    from catalog.read.views import connect

    with connect(catalog, only=VIEWS) as con:
        return read_status(con, lacking(catalog))


def _print(answer: Answer, *, format: Format, shown: Shown, quiet: bool) -> None:
    from jobs.screen.output import print_rows
    from jobs.screen.quantities import Quantity

    names, rows = answer.column_names, answer.to_pylist()
    if format in ("table", "md"):
        rows = [{**row, "value": Quantity(row["value"], row["unit"])} for row in rows]
        names = tuple(name for name in names if name != "unit")
    print_rows(rows, columns=names, format=format, quiet=quiet, shown=shown)


def _say_unmerged(catalog: str, *, quiet: bool) -> None:
    """A word on many small files, where there are."""
    from catalog.read.status import MANY_FILES, num_unmerged
    from jobs.screen.progress import Progress

    unmerged = num_unmerged(catalog)
    if unmerged >= MANY_FILES:
        Progress(quiet=quiet).say(
            f"{unmerged:,} files are not merged yet, which slows every question down: run `zoo compact`"
        )
