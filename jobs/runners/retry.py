"""Who is to blame, and what to do next: one pure function over typed outcomes.

Faults of the infrastructure and of the Hub never count against a model; memory exhaustion runs it
alone on all the memory there is; what kills a worker twice is poison. Knows nothing of runners or
clocks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from jobs.runners.outcome import Died, Raised

MAX_FREE_RETRIES = 10
"""Faults that are not the model's own: infrastructure and transient Hub errors."""
TERMINAL = frozenset({"data", "hub_permanent", "changed", "use"})
"""Trying the same again gives the same answer."""
FREE = frozenset({"infra", "hub_transient"})
"""Not the model's fault."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often a task has been tried, and how it must be tried next."""

    counted: int = 0
    """Tries that count against the model."""
    free: int = 0
    """Tries that do not."""
    alone: bool = False
    """Run it with no neighbour: it ran out of memory, or killed its worker."""

    @property
    def total(self) -> int:
        """All tries so far."""
        return self.counted + self.free


@dataclass(frozen=True, slots=True)
class Again:
    """Queue the task again."""

    attempts: Attempts
    delay_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Write a failure row."""

    cause: str
    attempts: int


def cause_of(outcome: Raised | Died) -> str:
    """The failure class of an outcome: the value of `failures.cause`."""
    if isinstance(outcome, Raised):
        return outcome.cause
    return {"crash": "poison", "memory": "resource", "node": "infra", "timeout": "poison"}[
        outcome.how
    ]


def decide(outcome: Raised | Died, attempts: Attempts, *, retries: int) -> Again | GiveUp:
    """What to do after `outcome`, the task having been tried `attempts` times before.

    `retries` is the number of second chances for faults that count against the model (spec: `[run]
    retries`).
    """
    cause = cause_of(outcome)
    if cause in FREE:
        after = replace(attempts, free=attempts.free + 1)
        if after.free > MAX_FREE_RETRIES:
            return GiveUp(cause, after.total)
        return Again(after, delay_s=min(60.0, 0.5 * 2.0**attempts.free))
    after = replace(attempts, counted=attempts.counted + 1)
    if cause in TERMINAL or after.counted > retries:
        return GiveUp(cause, after.total)
    return Again(replace(after, alone=cause in ("resource", "poison")), delay_s=0.0)
