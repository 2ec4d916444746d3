"""How a worker on the cluster ended, from what Ray raises. The one place that reads Ray's words."""

from __future__ import annotations

from typing import Any

from jobs.runners.outcome import Died


def died_of(error: Exception, errors: Any, *, was_killed: bool) -> Died:
    """What `ray.get` raised for a task, in our terms. `errors`: `ray.exceptions`. `was_killed`: by us."""
    if isinstance(error, errors.OutOfMemoryError):
        return Died("memory", first_lines(error))
    if isinstance(error, errors.ActorDiedError):
        if was_killed:
            return Died(
                "timeout", "killed: the task took longer than its time limit ([run] timeout_s)"
            )
        is_of_node = died_with_its_node(str(error))
        return Died("node" if is_of_node else "crash", first_lines(error))
    if isinstance(error, errors.RayTaskError):  # run() itself never raises
        return Died("crash", first_lines(error))
    return Died("node", first_lines(error))


def died_with_its_node(message: str) -> bool:
    """True when Ray's message blames the node, not the worker."""
    return "node has died" in message or "node was terminated" in message


def first_lines(error: Exception, *, most: int = 12) -> str:
    """The beginning of a message; Ray's go on for pages."""
    return "\n".join(str(error).splitlines()[:most])
