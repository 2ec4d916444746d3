"""What a runner is: workers that take tasks of any kind. The local pool and Ray both are one; a
test can be a third.

Its workers are of one or several classes (`jobs.runners.classes`). It never retries and never judges: it
says what came back, and replaces workers that died. Tasks are told apart by identity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from jobs.runners.classes import WorkerClass
from jobs.runners.hub_access import HubAccess
from jobs.runners.outcome import Outcome

TaskT = TypeVar("TaskT")
"""What a worker is given: picklable."""
ResultT = TypeVar("ResultT")
"""What it gives back: picklable."""


@dataclass(frozen=True, slots=True)
class Done(Generic[TaskT, ResultT]):
    """A task that is no longer running, and how it ended."""

    task: TaskT
    outcome: Outcome[ResultT]


class Runner(Protocol[TaskT, ResultT]):
    """Workers that take tasks, and do with them what the runner's `Work` says."""

    @property
    def classes(self) -> Sequence[WorkerClass]:
        """Its classes of workers, in ascending order of memory; they change as a cluster gets nodes."""

    @property
    def num_slots(self) -> int:
        """Tasks that can be submitted and not ended; changes as a cluster gains and loses nodes,
        and may be 0."""

    @property
    def num_hoped(self) -> int:
        """Tasks that there may soon be slots for: at least `num_slots`."""

    @property
    def free(self) -> Mapping[str, int]:
        """Tasks that can be submitted now, by class."""

    @property
    def wants(self) -> str | None:
        """What it waits for while it has no worker, as a sentence; None: nothing is lacking."""

    def want(self, demand: Mapping[str, int]) -> None:
        """Hear how many tasks wait or run in each class: workers are started and stopped accordingly."""

    @property
    def hub(self) -> HubAccess | None:
        """How its workers reach the Hub; None when it was started without."""

    def submit(self, task: TaskT, class_name: str | None = None) -> None:
        """Give a task to a worker of a class (None: the smallest); RuntimeError when all are busy (the
        caller's own mistake)."""

    def wait(self, timeout_s: float) -> list[Done[TaskT, ResultT]]:
        """Tasks that ended, as soon as there is one; an empty list after `timeout_s`."""

    def began_s(self, task: TaskT) -> float:
        """`time.monotonic()` when a running task began; infinite while its worker has not got to
        it."""

    def kill(self, task: TaskT) -> None:
        """Kill the worker that runs `task`; it is reported by `wait` as died of a timeout."""

    def close(self) -> None:
        """Stop all workers; what they were doing is lost. Calling twice is harmless."""
