"""Which task runs next, and in which class of workers: queues with memory admission, second chances and
units in several groups.

A unit of work is done when all its tasks are; one task that is given up fails the unit. Pure
bookkeeping over values; knows no runner, no catalog, no clock (the time is an argument), and not
what the work is.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

from jobs.runners.classes import WorkerClass, most_memory, place
from jobs.runners.outcome import Died, Finished, Outcome, Raised
from jobs.runners.retry import Again, Attempts, GiveUp, cause_of, decide
from zoo.errors import ResourceError


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

    @property
    def cost_s(self) -> float:
        """Seconds of one core that it is expected to take."""


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


@dataclass(slots=True, eq=False)
class _Queued(Generic[UnitT, TaskT]):
    """A task that waits or runs, and its history."""

    unit: UnitT
    task: TaskT
    attempts: Attempts
    worker_class: WorkerClass
    """Where it is to run, or runs."""


@dataclass(slots=True)
class _OpenUnit(Generic[ResultT]):
    """A unit with tasks that are not finished."""

    unit: object
    """The unit itself: one of the same key may be added after this one was dropped."""
    num_tasks: int
    results: dict[int, ResultT] = field(default_factory=dict)
    """Results of the tasks that are finished, by the number of the task."""


@dataclass(slots=True)
class _Queue(Generic[UnitT, TaskT]):
    """The tasks of one class of workers."""

    ready: deque[_Queued[UnitT, TaskT]] = field(default_factory=deque)
    num_running: int = 0
    used_bytes: int = 0
    """Of the tasks that run."""


class Schedule(Generic[UnitT, TaskT, ResultT]):
    """The tasks that are waiting or running."""

    def __init__(self, classes: Callable[[], Sequence[WorkerClass]], *, retries: int) -> None:
        """`classes`: those that there are by now, in ascending order of memory; they change as a cluster
        gets nodes. `retries`: see `decide`."""
        self._classes = classes
        self._retries = retries
        self._queues: dict[str, _Queue[UnitT, TaskT]] = {}
        self._later: list[tuple[float, int, _Queued[UnitT, TaskT]]] = []
        """Second chances with a pause before them: when, by the caller's clock."""
        self._numbers = itertools.count()
        self._running: dict[int, _Queued[UnitT, TaskT]] = {}
        self._alone: str | None = None
        """The class in which a task runs that must have no neighbour there."""
        self._units: dict[Hashable, _OpenUnit[ResultT]] = {}

    def add(self, unit: UnitT, tasks: tuple[TaskT, ...]) -> UnitFailed[UnitT] | None:
        """Queue a unit: all its tasks. Refused when one needs more memory than any worker could have."""
        placed: list[_Queued[UnitT, TaskT]] = []
        for task in tasks:
            worker_class = place(self._classes(), task.peak_bytes, task.cost_s)
            if worker_class is None:
                return _too_large(unit, task, self._classes())
            placed.append(_Queued(unit, task, Attempts(), worker_class))
        self._units[unit.key] = _OpenUnit(unit, len(tasks))
        for queued in placed:
            self._queue(queued).ready.append(queued)
        return None

    @property
    def num_waiting(self) -> int:
        """Number of tasks that have not been started, or are to be started again."""
        return sum(len(queue.ready) for queue in self._queues.values()) + len(self._later)

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

    @property
    def demand(self) -> dict[str, int]:
        """Tasks that wait or run, by class of workers."""
        wanted = {name: len(q.ready) + q.num_running for name, q in self._queues.items()}
        for _, _, queued in self._later:
            name = queued.worker_class.name
            wanted[name] = wanted.get(name, 0) + 1
        return wanted

    def next(self, now: float, free: Mapping[str, int]) -> tuple[TaskT, str] | None:
        """The task to start now and the class of workers for it, or None: nothing waits, nothing fits, or a
        task wants to be alone. `free`: idle workers by class.

        In a class whose workers share their memory, a task that needs more than all of it runs alone.
        """
        while self._later and self._later[0][0] <= now:
            queued = heapq.heappop(self._later)[2]
            self._queue(queued).ready.append(queued)
        for name, queue in self._queues.items():
            if free.get(name, 0) > 0 and name != self._alone:
                chosen = self._pick(queue)
                if chosen is not None:
                    self._start(chosen, queue)
                    return chosen.task, name
        return None

    def _pick(self, queue: _Queue[UnitT, TaskT]) -> _Queued[UnitT, TaskT] | None:
        """Take the first task out of a queue that may start beside those that run."""
        for index, queued in enumerate(queue.ready):
            total_bytes = queued.worker_class.total_bytes
            fits = queue.used_bytes + queued.task.peak_bytes <= total_bytes
            if not queue.num_running or (fits and not queued.attempts.alone):
                del queue.ready[index]
                return queued
        return None

    def _start(self, queued: _Queued[UnitT, TaskT], queue: _Queue[UnitT, TaskT]) -> None:
        self._running[id(queued.task)] = queued
        queue.num_running += 1
        queue.used_bytes += queued.task.peak_bytes
        if queued.attempts.alone:
            self._alone = queued.worker_class.name

    def _queue(self, queued: _Queued[UnitT, TaskT]) -> _Queue[UnitT, TaskT]:
        return self._queues.setdefault(queued.worker_class.name, _Queue())

    def ended(
        self, task: TaskT, outcome: Outcome[ResultT], now: float
    ) -> UnitDone[UnitT, ResultT] | UnitFailed[UnitT] | None:
        """Take in an outcome; what it means for the unit, or None while the unit goes on."""
        queued = self._running.pop(id(task))
        queue = self._queue(queued)
        queue.num_running -= 1
        queue.used_bytes -= task.peak_bytes
        if queued.attempts.alone:
            self._alone = None
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
            again = self._again(queued, outcome, verdict)
            heapq.heappush(self._later, (now + verdict.delay_s, next(self._numbers), again))
            return None
        self._drop(unit)
        return _failed(unit, outcome, verdict, hint=_memory_hint(queued, outcome))

    def _again(
        self, queued: _Queued[UnitT, TaskT], outcome: Raised | Died, verdict: Again
    ) -> _Queued[UnitT, TaskT]:
        """A second chance: in a larger class after a lack of memory; with no neighbour where workers share
        their memory."""
        old = queued.worker_class
        above = old.name if cause_of(outcome) == "resource" else None
        task = queued.task
        new = place(self._classes(), task.peak_bytes, task.cost_s, above=above) or old
        alone = verdict.attempts.alone and new.total_bytes < math.inf
        return _Queued(queued.unit, task, replace(verdict.attempts, alone=alone), new)

    def _drop(self, unit: UnitT) -> None:
        """Forget the tasks of a unit that wait; those that run will end in vain."""
        self._units.pop(unit.key, None)
        for queue in self._queues.values():
            queue.ready = deque(queued for queued in queue.ready if queued.unit.key != unit.key)
        self._later = [entry for entry in self._later if entry[2].unit.key != unit.key]
        heapq.heapify(self._later)


def _memory_hint(queued: _Queued[UnitT, TaskT], outcome: Raised | Died) -> str:
    """What to add to the end of a worker whose task was known to take more than there is."""
    if isinstance(outcome, Raised) or outcome.how not in ("crash", "memory"):
        return ""
    has_bytes = most_memory([queued.worker_class])
    if queued.task.peak_bytes <= has_bytes:
        return ""
    return (
        f". Its largest matrix may take up to {queued.task.peak_bytes / 1e9:.2f} GB, and there are "
        f"{has_bytes / 1e9:.2f} GB for all workers ([run] memory, or what the machine, its "
        f"container and ulimit -v leave): sweep it on a larger machine, or leave the matrix out "
        f"([layers] exclude; `zoo plan` names it)"
    )


def _too_large(unit: UnitT, task: Task, classes: Sequence[WorkerClass]) -> UnitFailed[UnitT]:
    """A unit that no worker could ever hold."""
    largest = max(classes, key=lambda one: one.most_bytes)
    message = (
        f"its largest matrix may take up to {task.peak_bytes / 1e9:.2f} GB; the largest worker "
        f"({largest.name!r}) may have {largest.most_bytes / 1e9:.2f} GB. Wanted: a node with more memory "
        f"(then the same command again), or the matrix left out ([layers] exclude; `zoo plan` names it)"
    )
    return UnitFailed(unit, ResourceError.cause, "too large for every node", message, None, 0)


def _failed(
    unit: UnitT, outcome: Raised | Died, verdict: GiveUp, *, hint: str
) -> UnitFailed[UnitT]:
    if isinstance(outcome, Raised):
        error_type, traceback = outcome.error_type, outcome.traceback
    else:
        error_type, traceback = f"worker {outcome.how}", None
    message = outcome.message + hint
    return UnitFailed(unit, verdict.cause, error_type, message, traceback, verdict.attempts)
