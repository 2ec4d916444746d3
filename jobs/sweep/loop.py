"""The sweep: what is listed and not yet in the catalog is measured, committed, and said so.

The driver is the only writer of the catalog. Everything it needs to go on after a crash is in the catalog's
files, so the same command again resumes. Knows runners, schedule and ledger by their interfaces.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import FrameType

from jobs.runners.hub_access import driving
from jobs.runners.protocol import Runner
from jobs.runners.schedule import Schedule, UnitDone, UnitFailed
from jobs.screen.progress import Progress
from jobs.sources.find import find_targets
from jobs.sources.target import failure_of
from jobs.spec.tables import Spec
from jobs.sweep.ledger import Ledger, Overwrite
from jobs.sweep.relisting import Relisting
from jobs.sweep.task_rows import TaskRows
from jobs.units.plan import TaskFeed
from jobs.units.unit import Task, Unit, unit_of
from zoo.errors import StaleListingError, ZooError

DRAIN_S = 60.0
"""Seconds that running tasks get to finish, after the first Ctrl-C or when a budget is spent."""
_UNITS_AHEAD = 4
"""Units whose tasks are queued, for each task that can run at a time. Workers never wait for the next
task, and the headers of a large unit are not read long before it starts."""

Ended = UnitDone[Unit, TaskRows] | UnitFailed[Unit]
"""How a unit came out."""


@dataclass(frozen=True, slots=True)
class SweepResult:
    """How a sweep ended."""

    sweep_id: str
    num_listed: int
    num_done: int
    num_skipped: int
    num_failed: int
    num_failed_before: int
    """Units that failed for good in an earlier sweep and were not tried again."""
    interrupted: bool
    seconds: float

    @property
    def exit_code(self) -> int:
        """0 done, 1 some models failed, 75 interrupted and resumable."""
        if self.interrupted:
            return 75
        return 1 if self.num_failed or self.num_failed_before else 0


class _Interrupt:
    """Handler of Ctrl-C and SIGTERM, which counts them."""

    def __init__(self) -> None:
        self.count = 0
        """After the first signal running tasks may finish; after the second the sweep stops at once."""

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


def units_of(spec: Spec, say: Callable[[str], None] | None = None) -> tuple[Unit, ...]:
    """All units a spec lists, pinned; `say` hears what was left out."""
    options, selection = spec.options, spec.selection
    return tuple(unit_of(target, options, selection) for target in find_targets(spec, say))


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
    """Bring the catalog behind `ledger` up to date with `units`. The runner starts only if there is work."""
    started = time.monotonic()
    todo, skipped, failed_before = ledger.choose(units, overwrite)
    if limit is not None:
        todo = todo[:limit]
    ledger.begin(units)
    progress.begin(len(units), len(todo), len(skipped), len(failed_before))
    interrupt = _Interrupt()
    tally = _Tally(ledger, progress, overwrite)
    with _signals(interrupt):
        unreadable = [u for u in todo if u.target.failure is not None]
        for unit in unreadable:
            tally.take(_unreadable(unit))
        todo = [u for u in todo if u.target.failure is None]
        if todo:
            # headers are read by this process, while its workers ask the same Hub
            with closing(start_runner()) as runner, driving(runner.hub):
                _drive(spec, todo, runner, tally, interrupt, progress, started)
    interrupted = tally.num_ended < len(todo) + len(unreadable)
    result = SweepResult(
        sweep_id=ledger.sweep_id,
        num_listed=len(units),
        num_done=tally.num_done,
        num_skipped=len(skipped) + tally.num_skipped,
        num_failed=tally.num_failed,
        num_failed_before=len(failed_before) + tally.num_failed_before,
        interrupted=interrupted,
        seconds=time.monotonic() - started,
    )
    ledger.end(
        result.num_listed,
        result.num_done,
        result.num_skipped,
        result.num_failed,
        interrupted=interrupted,
        exit_code=result.exit_code,
    )
    progress.end()
    return result


class _Tally:
    """Counts units and hands them to the ledger."""

    def __init__(self, ledger: Ledger, progress: Progress, overwrite: Overwrite) -> None:
        self._ledger = ledger
        self._progress = progress
        self._overwrite = overwrite
        self.num_done = 0
        self.num_failed = 0
        self.num_skipped = 0
        """Units that were listed again, as a revision that is in the catalog or the listing already."""
        self.num_failed_before = 0
        """Units that were listed again, as a revision that failed for good in an earlier sweep."""
        self.nbytes = 0

    @property
    def num_ended(self) -> int:
        """Units that need nothing more in this sweep."""
        return self.num_done + self.num_failed + self.num_skipped + self.num_failed_before

    def take(self, event: Ended) -> None:
        """Commit a finished unit, or write its failure row."""
        target = event.unit.target
        if isinstance(event, UnitFailed):
            self._ledger.fail(event)
            self.num_failed += 1
            self._progress.failed(target.model_id, target.step, event.cause, event.message)
        else:
            summary = self._ledger.commit(event)
            self.num_done += 1
            self.nbytes += summary.nbytes
            self._progress.done(target.model_id, target.step, summary)

    def take_again(self, before: Unit, after: Unit) -> bool:
        """A unit whose files changed was listed again: True when its new revision has to be measured."""
        if not self._ledger.list_instead(before, after):
            self.num_skipped += 1
            return False
        todo, skipped, failed_before = self._ledger.choose([after], self._overwrite)
        self.num_skipped += len(skipped)
        self.num_failed_before += len(failed_before)
        self._progress.listed_again(after.target.model_id, after.target.step, after.target.revision)
        if todo and after.target.failure is not None:
            self.take(_unreadable(after))
            return False
        return bool(todo)

    def take_all(self, events: list[Ended]) -> None:
        """`take` each of `events`, in order, and empty the list."""
        while events:
            self.take(events.pop(0))


def _drive(
    spec: Spec,
    todo: Sequence[Unit],
    runner: Runner[Task, TaskRows],
    tally: _Tally,
    interrupt: _Interrupt,
    progress: Progress,
    started: float,
) -> None:
    """Plan, start, commit and wait in turns, until all of `todo` has ended or it is time to stop."""
    run = spec.run
    schedule: Schedule[Unit, Task, TaskRows] = Schedule(
        memory_bytes=runner.memory_bytes, retries=run.retries
    )
    feed = TaskFeed(sorted(todo, key=lambda u: -u.target.nbytes), device=run.device)
    relisting = Relisting()
    stop_at = None
    ended: list[Ended] = []  # committed once the workers have their next tasks
    while True:
        if run.max_bytes is not None:  # what is spent must be known before more is started
            tally.take_all(ended)
        now = time.monotonic()
        over_budget = (run.max_seconds is not None and now - started > run.max_seconds) or (
            run.max_bytes is not None and tally.nbytes > run.max_bytes
        )
        if (interrupt.count or over_budget) and stop_at is None:
            stop_at = now + DRAIN_S
            progress.draining(schedule.num_running)
        if interrupt.count > 1 or (
            stop_at is not None and (now > stop_at or not schedule.num_running)
        ):
            tally.take_all(ended)
            return
        if stop_at is None:
            for before, after in relisting.take():
                if tally.take_again(before, after):
                    feed.add(after)
            room = _UNITS_AHEAD * max(runner.num_slots, 1) - schedule.num_waiting
            for unit, planned in feed.take(room):
                if isinstance(planned, ZooError):
                    tally.take(_failed(unit, planned))
                else:
                    schedule.add(unit, planned)
            while (
                schedule.num_running < runner.num_slots and (task := schedule.next(now)) is not None
            ):
                runner.submit(task)
        tally.take_all(ended)
        is_idle = not schedule.num_open_units and not schedule.num_running
        if is_idle and feed.is_exhausted and not relisting.num_open:
            return
        for done in runner.wait(0.5 if schedule.num_running else 0.05):
            event = schedule.ended(done.task, done.outcome, time.monotonic())
            if isinstance(event, UnitFailed) and event.cause == StaleListingError.cause:
                if relisting.put(event.unit):
                    continue
            ended += [] if event is None else [event]
        if run.timeout_s is not None:
            for task in schedule.running:
                if time.monotonic() - runner.began_s(task) > run.timeout_s:
                    runner.kill(task)
        progress.tick(schedule.num_running, schedule.num_waiting)


def _unreadable(unit: Unit) -> UnitFailed[Unit]:
    failure = unit.target.failure
    assert failure is not None
    return UnitFailed(unit, failure.cause, failure.error_type, failure.message, None, 1)


def _failed(unit: Unit, error: ZooError) -> UnitFailed[Unit]:
    failure = failure_of(error)
    return UnitFailed(unit, failure.cause, failure.error_type, failure.message, None, 1)
