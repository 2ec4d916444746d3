"""Which task runs next: a queue with memory admission, second chances and units in several groups.

A unit of work is done when all its tasks are; one task that is given up fails the unit. Pure
bookkeeping over values; knows no runner, no catalog, no clock (the time is an argument), and not
what the work is.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from jobs.runners.outcome import Died, Finished, Outcome, Raised
from jobs.runners.retry import Again, Attempts, GiveUp, decide


class Unit(Protocol):
    """What is done or failed as a whole."""

    @property
    def key(self) -> Hashable:
        """What tells it from other units."""


class Task(Protocol):
    """What one worker does in one call: a unit, or a group of it."""

    @property
    def group(self) -> int:
        """The number of the task within its unit; the results of a unit come in this order."""

    @property
    def peak_bytes(self) -> int:
        """Memory it is expected to need."""


UnitT = TypeVar("UnitT", bound=Unit)
TaskT = TypeVar("TaskT", bound=Task)
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class UnitDone(Generic[UnitT, ResultT]):
    """All tasks of a unit are finished."""

    unit: UnitT
    results: tuple[ResultT, ...]
    """Of its tasks, in the order of their groups."""


@dataclass(frozen=True, slots=True)
class UnitFailed(Generic[UnitT]):
    """A unit that is given up."""

    unit: UnitT
    cause: str
    """Who is to blame: see `jobs.runners.retry`."""
    error_type: str
    message: str
    traceback: str | None
    attempts: int
    """How often its last task was tried."""


@dataclass(slots=True)
class _Queued(Generic[UnitT, TaskT]):
    """A task that waits or runs, and its history."""

    unit: UnitT
    task: TaskT
    attempts: Attempts
    not_before: float
    """When it may start, by the caller's clock: a second chance has a pause before it."""


@dataclass(slots=True)
class _OpenUnit(Generic[ResultT]):
    """A unit with tasks that are not finished."""

    unit: object
    """The unit itself: one of the same key may be added after this one was dropped."""
    num_tasks: int
    results: dict[int, ResultT] = field(default_factory=dict)
    """Results of the tasks that are finished, by the number of the task."""


class Schedule(Generic[UnitT, TaskT, ResultT]):
    """The tasks that are waiting or running."""

    def __init__(self, *, memory_bytes: int, retries: int) -> None:
        """`memory_bytes`: of all running tasks together. `retries`: see `decide`."""
        self._memory_bytes = memory_bytes
        self._retries = retries
        self._waiting: list[_Queued[UnitT, TaskT]] = []
        self._running: dict[int, _Queued[UnitT, TaskT]] = {}
        self._units: dict[Hashable, _OpenUnit[ResultT]] = {}

    def add(self, unit: UnitT, tasks: tuple[TaskT, ...]) -> None:
        """Queue a unit: all its tasks."""
        self._units[unit.key] = _OpenUnit(unit, len(tasks))
        self._waiting += [_Queued(unit, task, Attempts(), 0.0) for task in tasks]

    @property
    def num_waiting(self) -> int:
        """Number of tasks that have not been started, or are to be started again."""
        return len(self._waiting)

    @property
    def running(self) -> tuple[TaskT, ...]:
        """Tasks started and not ended."""
        return tuple(queued.task for queued in self._running.values())

    @property
    def num_running(self) -> int:
        """Number of tasks started and not ended."""
        return len(self._running)

    @property
    def num_open_units(self) -> int:
        """Number of units with work left."""
        return len(self._units)

    def next(self, now: float) -> TaskT | None:
        """The task to start now, or None: nothing waits, nothing fits, or a task wants to be alone.

        A task that needs more than all the memory there is runs alone.
        """
        running = list(self._running.values())
        if any(queued.attempts.alone for queued in running):
            return None
        used = sum(queued.task.peak_bytes for queued in running)
        for queued in self._waiting:
            if queued.not_before > now:
                continue
            fits = used + queued.task.peak_bytes <= self._memory_bytes
            if not running or (fits and not queued.attempts.alone):
                self._waiting.remove(queued)
                self._running[id(queued.task)] = queued
                return queued.task
        return None

    def ended(
        self, task: TaskT, outcome: Outcome[ResultT], now: float
    ) -> UnitDone[UnitT, ResultT] | UnitFailed[UnitT] | None:
        """Take in an outcome; what it means for the unit, or None while the unit goes on."""
        queued = self._running.pop(id(task))
        unit = queued.unit
        state = self._units.get(unit.key)
        if state is None or state.unit is not unit:
            return None  # it was dropped while this task ran
        if isinstance(outcome, Finished):
            state.results[task.group] = outcome.result
            if len(state.results) < state.num_tasks:
                return None
            del self._units[unit.key]
            return UnitDone(unit, tuple(state.results[group] for group in sorted(state.results)))
        verdict = decide(outcome, queued.attempts, retries=self._retries)
        if isinstance(verdict, Again):
            again = _Queued(unit, task, verdict.attempts, now + verdict.delay_s)
            self._waiting.append(again)
            return None
        self._drop(unit)
        return _failed(unit, outcome, verdict, hint=self._memory_hint(task, outcome))

    def _memory_hint(self, task: TaskT, outcome: Raised | Died) -> str:
        """What to add to the end of a worker whose task was known to take more than there is."""
        if isinstance(outcome, Raised) or outcome.how not in ("crash", "memory"):
            return ""
        if task.peak_bytes <= self._memory_bytes:
            return ""
        return (
            f". Its largest matrix may take up to {task.peak_bytes / 1e9:.2f} GB, and there are "
            f"{self._memory_bytes / 1e9:.2f} GB for all workers ([run] memory, or what the machine, its "
            f"container and ulimit -v leave): sweep it on a larger machine, or leave the matrix out "
            f"([layers] exclude; `zoo plan` names it)"
        )

    def _drop(self, unit: UnitT) -> None:
        """Forget the tasks of a unit that wait; those that run will end in vain."""
        self._units.pop(unit.key, None)
        self._waiting = [queued for queued in self._waiting if queued.unit.key != unit.key]


def _failed(
    unit: UnitT, outcome: Raised | Died, verdict: GiveUp, *, hint: str
) -> UnitFailed[UnitT]:
    if isinstance(outcome, Raised):
        error_type, traceback = outcome.error_type, outcome.traceback
    else:
        error_type, traceback = f"worker {outcome.how}", None
    message = outcome.message + hint
    return UnitFailed(unit, verdict.cause, error_type, message, traceback, verdict.attempts)
