"""What a sweep does in turns while it runs: plan units, start their tasks, commit what ended, wait
for more.

Everything happens in one thread, so that there is one writer; only the headers of large units are
read in the background.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from jobs.runners.outcome import Finished
from jobs.runners.protocol import Runner
from jobs.runners.schedule import Schedule, UnitFailed
from jobs.screen.progress import Progress, name_of
from jobs.sources.target import failure_of
from jobs.spec.tables import RunTable
from jobs.sweep.equal_weights import EqualWeights
from jobs.sweep.relisting import Relisting
from jobs.sweep.tally import Ended, Tally, failed_unit
from jobs.sweep.task_rows import TaskRows
from jobs.units.plan import TaskFeed
from jobs.units.unit import Task, Unit
from zoo.errors import StaleListingError, ZooError

DRAIN_S = 60.0
"""Seconds that running tasks get to finish, after the first Ctrl-C or when a budget is spent."""
_HEAR_EVERY_S = 0.5
"""Seconds between two questions whether the Hub has asked for a pause."""
_UNITS_AHEAD = 4
"""Units whose tasks are queued, for each task that can run at a time. Workers never wait for the
next task, and the headers of a large unit are not read long before it starts."""


class Turns:
    """The units of a sweep on their way through a runner."""

    def __init__(
        self,
        decided: Sequence[Unit],
        rest: EqualWeights,
        run: RunTable,
        *,
        runner: Runner[Task, TaskRows],
        tally: Tally,
        progress: Progress,
        interrupts: Callable[[], int],
        started_s: float,
    ) -> None:
        """`decided`: units that have to be measured; `rest`: those that it is not known of yet.
        `run`: limits of time, bytes and retries. `interrupts`: how often the user has asked the
        sweep to stop. `started_s`: when it began, by `time.monotonic()`."""
        self._run = run
        self._runner = runner
        self._tally = tally
        self._progress = progress
        self._interrupts = interrupts
        self._started_s = started_s
        self._schedule: Schedule[Unit, Task, TaskRows] = Schedule(
            lambda: runner.classes, retries=run.retries
        )
        self._rest = rest
        share = run.gpus if 0.0 < run.gpus < 1.0 else 1.0
        self._feed = TaskFeed(decided, device=run.device, gpu_share=share)
        self._relisting = Relisting()
        self._ended: list[Ended] = []
        """Units that have ended and are not committed yet: workers get their next tasks first."""
        self._heard_s = -_HEAR_EVERY_S
        """When the pacing was last asked what the Hub asks for, by `time.monotonic()`."""
        self._read: dict[tuple[str, str, str], int] = {}
        """Bytes of the tasks that have ended, by the key of their unit, which has not."""
        self._stop_at_s: float | None = None
        """When running tasks are given up; None: nothing has asked the sweep to stop."""

    def take_all(self) -> None:
        """Take turns until every unit has ended or it is time to stop."""
        while not self._is_stopped():
            if self._stop_at_s is None:
                self._plan()
                self._start()
            self._commit()
            if self._is_through():
                return
            self._collect()
            self._kill_late()
            self._progress.tick(
                list(dict.fromkeys(_shown(task) for task in self._schedule.running)),
                sum(self._read.values()),
            )
            self._hear_hub()
        self._commit()

    def _hear_hub(self) -> None:
        """Say what the Hub asks of the workers: who waits for it would wait in silence."""
        now_s = time.monotonic()
        if self._runner.hub is not None and now_s - self._heard_s >= _HEAR_EVERY_S:
            self._heard_s = now_s
            self._progress.hub_pauses(self._runner.hub.pacing.pauses())

    def _is_stopped(self) -> bool:
        """True when nothing more is to be waited for: at the second Ctrl-C, or after the first one
        or a spent budget, once the running tasks have ended or their time is over."""
        if self._run.max_bytes is not None:
            self._commit()  # what is spent must be known before more is started
        now_s = time.monotonic()
        if self._stop_at_s is None and (self._interrupts() or self._is_over_budget(now_s)):
            self._stop_at_s = now_s + DRAIN_S
            self._progress.draining(self._schedule.num_running)
        if self._interrupts() > 1:
            return True
        if self._stop_at_s is None:
            return False
        return now_s > self._stop_at_s or not self._schedule.num_running

    def _is_over_budget(self, now_s: float) -> bool:
        run = self._run
        is_late = run.max_seconds is not None and now_s - self._started_s > run.max_seconds
        return is_late or (run.max_bytes is not None and self._tally.nbytes > run.max_bytes)

    def _plan(self) -> None:
        """Queue the tasks of the next units, as far as they are known by now."""
        for before, after in self._relisting.take():
            todo = self._tally.take_again(before, after)
            if todo is not None:
                self._rest.add(todo)
        room = _UNITS_AHEAD * max(self._runner.num_hoped, 1) - self._schedule.num_waiting
        for unit in self._tally.settle(self._rest, room - self._feed.num_waiting):
            self._feed.add(unit)
        for unit, planned in self._feed.take(room):
            if isinstance(planned, ZooError):
                self._end(failed_unit(unit, failure_of(planned)))
            elif (refused := self._schedule.add(unit, planned)) is not None:
                self._end(refused)

    def _start(self) -> None:
        """Give idle workers their next tasks."""
        free = dict(self._runner.free)
        while (started := self._schedule.next(time.monotonic(), free)) is not None:
            task, class_name = started
            free[class_name] -= 1
            self._runner.submit(task, class_name)
        self._runner.want(self._schedule.demand)
        self._progress.lacks_workers(self._runner.wants)

    def _commit(self) -> None:
        while self._ended:
            self._end(self._ended.pop(0))

    def _end(self, event: Ended) -> None:
        self._tally.take(event)
        self._rest.ended(event.unit)

    def _is_through(self) -> bool:
        is_idle = not self._schedule.num_open_units and not self._schedule.num_running
        is_planned = self._feed.is_exhausted and self._rest.is_exhausted
        return is_idle and is_planned and not self._relisting.num_open

    def _collect(self) -> None:
        """Wait a moment for tasks to end; a short one while nothing runs and headers are being
        read."""
        for done in self._runner.wait(0.5 if self._schedule.num_running else 0.05):
            event = self._schedule.ended(done.task, done.outcome, time.monotonic())
            key = done.task.unit.key
            if event is not None:
                self._read.pop(key, None)
            elif isinstance(done.outcome, Finished):
                self._read[key] = self._read.get(key, 0) + done.task.nbytes
            if event is not None and not self._is_listed_again(event):
                self._ended.append(event)

    def _is_listed_again(self, event: Ended) -> bool:
        """True for a unit whose files changed since it was listed, if that can be tried."""
        is_stale = isinstance(event, UnitFailed) and event.cause == StaleListingError.cause
        if not is_stale or not self._relisting.put(event.unit):
            return False
        self._rest.ended(event.unit)
        return True

    def _kill_late(self) -> None:
        """Kill the workers of tasks that have run longer than their time limit."""
        if self._run.timeout_s is None:
            return
        for task in self._schedule.running:
            if time.monotonic() - self._runner.began_s(task) > self._run.timeout_s:
                self._runner.kill(task)


def _shown(task: Task) -> str:
    """The model that a task belongs to, as progress shows it."""
    target = task.unit.target
    return name_of(target.model_id, target.step)
