"""What a sweep needs of a runner. The local pool and Ray both are one; a test can be a third.

A runner keeps `num_slots` workers, each busy with at most one task. It never retries and never judges:
it says what came back, and replaces workers that died.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from jobs.runners.outcome import Outcome
from jobs.units.unit import HubAccess, Task


@dataclass(frozen=True, slots=True)
class Done:
    """A task that is no longer running, and how it ended."""

    task: Task
    outcome: Outcome


class Runner(Protocol):
    """Workers that take tasks."""

    @property
    def num_slots(self) -> int:
        """Tasks that can run at the same time; changes as a cluster gains and loses nodes, and may be 0."""

    @property
    def memory_bytes(self) -> int:
        """Memory all running tasks may take together."""

    @property
    def hub(self) -> HubAccess | None:
        """How its workers reach the Hub; None when it was started without."""

    def submit(self, task: Task) -> None:
        """Start a task on an idle worker; RuntimeError when all are busy (the sweep's own mistake)."""

    def wait(self, timeout_s: float) -> list[Done]:
        """Tasks that ended, as soon as there is one; an empty list after `timeout_s`."""

    def began_s(self, task: Task) -> float:
        """`time.monotonic()` when a running task began; infinite while its worker still starts."""

    def kill(self, task: Task) -> None:
        """Kill the worker that runs `task`; it is reported by `wait` as died of a timeout."""

    def close(self) -> None:
        """Stop all workers; what they were doing is lost. Calling twice is harmless."""
