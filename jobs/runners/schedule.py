"""Which task runs next: a queue with memory admission, second chances and units in several groups.

Pure bookkeeping over values; knows no runner, no catalog and no clock (the time is an argument).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from jobs.runners.outcome import Died, Finished, Raised
from jobs.runners.retry import Again, Attempts, GiveUp, decide
from jobs.units.unit import Task, Unit


@dataclass(frozen=True, slots=True)
class UnitDone:
    """All groups of a unit are in; their outcomes, in group order."""

    unit: Unit
    parts: tuple[Finished, ...]


@dataclass(frozen=True, slots=True)
class UnitFailed:
    """A unit that will not be finished in this sweep."""

    unit: Unit
    cause: str
    error_type: str
    message: str
    traceback: str | None
    attempts: int


@dataclass(slots=True)
class _Waiting:
    task: Task
    attempts: Attempts
    not_before: float


@dataclass(slots=True)
class _UnitState:
    missing: int
    parts: dict[int, Finished] = field(default_factory=dict)


class Schedule:
    """The tasks of a sweep that are waiting or running."""

    def __init__(self, *, memory_bytes: int, retries: int) -> None:
        self._memory_bytes = memory_bytes
        self._retries = retries
        self._waiting: list[_Waiting] = []
        self._running: dict[int, _Waiting] = {}
        self._units: dict[tuple[str, str, str], _UnitState] = {}
        self._dead: set[tuple[str, str, str]] = set()

    def add(self, tasks: tuple[Task, ...]) -> None:
        """Queue all tasks of one unit."""
        self._units[tasks[0].unit.key] = _UnitState(missing=len(tasks))
        self._waiting += [_Waiting(task, Attempts(), 0.0) for task in tasks]

    @property
    def num_waiting(self) -> int:
        """Tasks not started."""
        return len(self._waiting)

    @property
    def running(self) -> tuple[Task, ...]:
        """Tasks started and not ended."""
        return tuple(waiting.task for waiting in self._running.values())

    @property
    def num_running(self) -> int:
        """How many of them there are."""
        return len(self._running)

    @property
    def num_open_units(self) -> int:
        """Units with work left."""
        return len(self._units)

    def next(self, now: float) -> Task | None:
        """The task to start now, or None: nothing waits, nothing fits, or a task wants to be alone."""
        running = list(self._running.values())
        if any(w.attempts.alone for w in running):
            return None
        used = sum(w.task.peak_bytes for w in running)
        for waiting in self._waiting:
            if waiting.not_before > now:
                continue
            fits = (
                used + waiting.task.peak_bytes <= self._memory_bytes and not waiting.attempts.alone
            )
            if fits or not running:
                self._waiting.remove(waiting)
                self._running[id(waiting.task)] = waiting
                return waiting.task
        return None

    def ended(
        self, task: Task, outcome: Finished | Raised | Died, now: float
    ) -> UnitDone | UnitFailed | None:
        """Take in an outcome; what it means for the unit, or None while the unit goes on."""
        waiting = self._running.pop(id(task))
        key = task.unit.key
        if key in self._dead:
            return None
        if isinstance(outcome, Finished):
            state = self._units[key]
            state.parts[task.group] = outcome
            if len(state.parts) < state.missing:
                return None
            del self._units[key]
            return UnitDone(task.unit, tuple(state.parts[g] for g in sorted(state.parts)))
        verdict = decide(outcome, waiting.attempts, retries=self._retries)
        if isinstance(verdict, Again):
            self._waiting.append(_Waiting(task, verdict.attempts, now + verdict.delay_s))
            return None
        self._drop(key)
        return _failed(task.unit, outcome, verdict)

    def _drop(self, key: tuple[str, str, str]) -> None:
        self._dead.add(key)
        self._units.pop(key, None)
        self._waiting = [w for w in self._waiting if w.task.unit.key != key]


def _failed(unit: Unit, outcome: Raised | Died, verdict: GiveUp) -> UnitFailed:
    if isinstance(outcome, Raised):
        return UnitFailed(
            unit,
            verdict.cause,
            outcome.error_type,
            outcome.message,
            outcome.traceback,
            verdict.attempts,
        )
    return UnitFailed(
        unit, verdict.cause, f"worker {outcome.how}", outcome.message, None, verdict.attempts
    )
