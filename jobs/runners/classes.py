"""Classes of workers: what one worker of each may use, and which class a task goes to.

A task goes to the smallest class that holds its memory. Values alone: no Ray, no clock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class WorkerClass:
    """Workers that are alike."""

    name: str
    most_bytes: float = math.inf
    """Memory of one worker: what one of its tasks may need."""
    takes_larger: bool = False
    """A task that needs more is tried all the same."""
    total_bytes: float = math.inf
    """Memory that its running tasks may need together; infinite: each worker has its own set aside."""
    cpus: int = 1
    """Cores, and mathematics threads, of one worker."""
    gpus: float = 0.0
    """Share of a GPU, or number of GPUs, of one worker."""
    most_workers: int | None = None
    """Workers of the class at a time; None: as many as fit."""
    min_cost_s: float = 0.0
    """Of workers with a GPU: seconds on one core from which on a task is worth it."""

    def holds(self, nbytes: float) -> bool:
        """True when a task that needs so much memory may go to it."""
        return self.takes_larger or nbytes <= self.most_bytes


def place(
    classes: Sequence[WorkerClass], nbytes: float, cost_s: float, *, above: str | None = None
) -> WorkerClass | None:
    """The class for a task that needs `nbytes` of memory and `cost_s` seconds of a core.

    `classes`: in ascending order of memory. `above`: it ran out of memory in a worker of this class, so it
    goes to a larger one, or again to this one where none is larger. A GPU class is taken where the task is
    worth it, a class without one otherwise; either if there is no choice. None: no class holds it.
    """
    names = [one.name for one in classes]
    first = min(names.index(above) + 1, len(classes) - 1) if above in names else 0
    holding = [one for one in classes[first:] if one.holds(nbytes)]
    worth_it = [one for one in holding if one.gpus and cost_s >= one.min_cost_s]
    plain = [one for one in holding if not one.gpus]
    return next(iter([*worth_it, *plain, *holding]), None)


def with_larger(base: WorkerClass, node_bytes: float, *, is_last_resort: bool) -> list[WorkerClass]:
    """`base` and the classes above it: twice its memory, four times, and so on to a whole node of
    `node_bytes`.

    `is_last_resort`: whatever is larger still is tried on a whole node, too.
    """
    sizes: list[tuple[str, float]] = []
    factor = 2
    while factor * base.most_bytes < node_bytes:
        sizes.append((f"x{factor}", factor * base.most_bytes))
        factor *= 2
    if base.most_bytes < node_bytes:
        sizes.append(("node", node_bytes))
    classes = [
        base,
        *(replace(base, name=f"{base.name}-{n}", most_bytes=size) for n, size in sizes),
    ]
    classes[-1] = replace(classes[-1], takes_larger=is_last_resort)
    return classes


def most_memory(classes: Sequence[WorkerClass]) -> float:
    """Memory that the largest task may need without being tried in vain, perhaps."""
    return max(min(one.most_bytes, one.total_bytes) for one in classes)
