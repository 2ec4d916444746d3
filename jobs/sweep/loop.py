"""The sweep: what is listed and not yet in the catalog is measured, committed, and said so.

The process that runs it, its driver, is the only writer of the catalog. Everything it needs to go
on after a crash is in the catalog's files, so the same command again resumes.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

from catalog.errors import DiskFullError
from catalog.files.room import size_text
from jobs.runners.hub_access import driving
from jobs.runners.protocol import Runner
from jobs.screen.progress import Progress
from jobs.spec.tables import Spec
from jobs.sweep.equal_weights import EqualWeights, Find
from jobs.sweep.ledger import Ledger, Overwrite
from jobs.sweep.tally import FailedUnit, Tally, failed_unit
from jobs.sweep.task_rows import TaskRows
from jobs.sweep.turns import Turns
from jobs.units.unit import Task, Unit

_LOOKED_AT = 64
"""Units that are looked at, whether they can take over rows, before a runner starts."""
_PAUSE_S = 0.02
"""Seconds between two looks at what has become known."""


@dataclass(frozen=True, slots=True)
class SweepResult:
    """How a sweep ended."""

    sweep_id: str
    num_listed: int
    num_done: int
    num_skipped: int
    num_failed: int
    num_taken_over: int
    """Units done that took the rows of a finished one of equal weights."""
    num_failed_before: int
    """Units that failed for good in an earlier sweep and were not tried again."""
    interrupted: bool
    seconds: float
    model_ids: frozenset[str] = frozenset()
    """Every model that was listed."""
    nbytes: int = 0
    """Bytes that were read for the units done."""
    failures: tuple[FailedUnit, ...] = ()
    """The units that this sweep gave up."""

    @property
    def exit_code(self) -> int:
        """0 done, 1 some models failed, 75 interrupted and resumable."""
        if self.interrupted:
            return 75
        return 1 if self.num_failed or self.num_failed_before else 0


class _Interrupt:
    """Counts the signals that ask the sweep to stop: Ctrl-C and SIGTERM."""

    def __init__(self) -> None:
        self.count = 0
        """After the first signal running tasks may finish; after the second the sweep stops at
        once."""

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.count += 1


@contextmanager
def _signals(handler: _Interrupt) -> Iterator[None]:
    before = {s: signal.signal(s, handler) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def _until_full(progress: Progress, ledger: Ledger, tally: Tally, num_todo: int) -> Iterator[None]:
    """Ends its block when the disk of the catalog is full: nothing more can be committed, and all that
    was is kept."""
    try:
        yield
    except DiskFullError as error:
        progress.error(str(error))
        num_left = num_todo - tally.num_ended
        per_unit = ledger.bytes_per_unit()
        if per_unit is not None:
            progress.error(
                f"{num_left} units are left; if they are like those in the catalog, they need about "
                f"{size_text(num_left * per_unit)}"
            )


def _finder(ledger: Ledger, overwrite: Overwrite) -> Find | None:
    """Where rows may be taken over from."""
    if overwrite == "always":
        return None
    return ledger.of_equal_weights_today if overwrite == "stale" else ledger.of_equal_weights


def _settle_first(
    units: EqualWeights, tally: Tally, progress: Progress, *, is_stopped: Callable[[], bool]
) -> list[Unit]:
    """Take over rows until there is something to measure, which it returns: where nothing is, no runner
    has to start."""
    while not units.is_exhausted and not is_stopped():
        before = tally.num_ended
        to_measure = tally.settle(units, _LOOKED_AT)
        if to_measure:
            return to_measure
        if tally.num_ended == before:
            time.sleep(_PAUSE_S)
        progress.tick((), 0)
    return []


def run_sweep(
    spec: Spec,
    *,
    ledger: Ledger,
    units: Sequence[Unit],
    start_runner: Callable[[], Runner[Task, TaskRows]],
    overwrite: Overwrite,
    limit: int | None,
    progress: Progress,
) -> SweepResult:
    """Bring the catalog behind `ledger` up to date with `units`. The runner starts only if there is
    work."""
    started = time.monotonic()
    choice = ledger.choose(units, overwrite)
    todo = choice.todo if limit is None else choice.todo[:limit]
    ledger.begin(choice)
    progress.lacking([str(lack) for lack in choice.lacks])
    progress.begin(
        len(units),
        len(todo),
        len(choice.done),
        len(choice.failed_before),
        nbytes=sum(unit.target.nbytes for unit in todo),
    )
    interrupt = _Interrupt()
    tally = Tally(ledger, progress, overwrite)
    with _signals(interrupt), _until_full(progress, ledger, tally, len(todo)):
        for unit in todo:
            if unit.target.failure is not None:
                tally.take(failed_unit(unit, unit.target.failure))
        readable = [unit for unit in todo if unit.target.failure is None]
        largest_first = sorted(readable, key=lambda unit: -unit.target.nbytes)
        rest = EqualWeights(largest_first, _finder(ledger, overwrite))
        latest_s = started + (spec.run.max_seconds or math.inf)
        to_measure = _settle_first(
            rest,
            tally,
            progress,
            is_stopped=lambda: interrupt.count > 0 or time.monotonic() > latest_s,
        )
        if to_measure:
            # headers are read by this process, while its workers ask the same Hub
            with closing(start_runner()) as runner, driving(runner.hub):
                Turns(
                    to_measure,
                    rest,
                    spec.run,
                    runner=runner,
                    tally=tally,
                    progress=progress,
                    interrupts=lambda: interrupt.count,
                    started_s=started,
                ).take_all()
    interrupted = tally.num_ended < len(todo)
    result = SweepResult(
        sweep_id=ledger.sweep_id,
        num_listed=len(units),
        num_done=tally.num_done,
        num_skipped=len(choice.done) + tally.num_skipped,
        num_failed=tally.num_failed,
        num_taken_over=tally.num_taken_over,
        num_failed_before=len(choice.failed_before) + tally.num_failed_before,
        interrupted=interrupted,
        seconds=time.monotonic() - started,
        model_ids=frozenset(unit.target.model_id for unit in units),
        nbytes=tally.nbytes,
        failures=tuple(tally.failures),
    )
    with suppress(DiskFullError):  # the disk was said to be full, or all that matters is committed
        ledger.end(
            result.num_listed,
            result.num_done,
            result.num_skipped,
            result.num_failed,
            interrupted=interrupted,
            exit_code=result.exit_code,
        )
    return result
