"""What can come back from a worker: typed values, so that the retry policy never reads a message.

Outcome = Finished | Raised | Died
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Finished(Generic[ResultT]):
    """A task that ran to its end."""

    result: ResultT
    """What the work returned."""


@dataclass(frozen=True, slots=True)
class Raised:
    """A task that raised; the worker lives on, unless the fault lies with it."""

    cause: str
    """data | hub_permanent | hub_transient | resource | infra | use | bug"""
    error_type: str
    message: str
    traceback: str

    @property
    def ends_worker(self) -> bool:
        """True when the worker itself is broken, and every later task would fail in it as well: its
        accelerator is gone."""
        return self.cause == "infra"


@dataclass(frozen=True, slots=True)
class Died:
    """A worker that went away with the task."""

    how: Literal["crash", "memory", "node", "timeout"]
    message: str


Outcome = Finished[ResultT] | Raised | Died
"""What came of a task."""
