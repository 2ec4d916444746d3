"""What a worker process does, whoever runs it: its start, then one task after the other, each to an
outcome.

Knows nothing of what the work is.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from jobs.runners.hub_access import HubAccess
from jobs.runners.outcome import Finished, Raised
from zoo.errors import ResourceError, ZooError
from zoo.io.file_names import shown
from zoo.machine.memory import is_shortage

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Work(Generic[TaskT, ResultT]):
    """What the workers of a runner are there for: two functions of a module, which reach them by
    name."""

    prepare: Callable[[], None]
    """Called once in each worker before its first task, with its threads set and its way to the Hub
    open. What takes long to load is loaded here, so that no task's time limit pays for it."""
    run: Callable[[TaskT], ResultT]
    """One task -> its result. What it raises becomes a `Raised`."""


def start_worker(work: Work[TaskT, ResultT], *, threads: int, hub: HubAccess | None) -> None:
    """Make this process ready for tasks, with `threads` mathematics threads."""
    from zoo.machine.threads import set_threads

    set_threads(threads)  # first: a library that is loaded later reads them when it is loaded
    if hub is not None:
        hub.use()
    work.prepare()


def attempt(work: Work[TaskT, ResultT], task: TaskT) -> Finished[ResultT] | Raised:
    """Run one task. What goes wrong comes back as a value with its cause."""
    try:
        return Finished(work.run(task))
    except ZooError as error:
        return _raised(error, error.cause)
    except (
        Exception
    ) as error:  # the boundary of a worker: a bug of ours becomes a value with its traceback
        return _raised(error, ResourceError.cause if is_shortage(error) else "bug")


def _raised(error: BaseException, cause: str) -> Raised:
    message, trace = shown(str(error)), shown(traceback.format_exc(limit=40))
    return Raised(cause, type(error).__name__, message, trace)
