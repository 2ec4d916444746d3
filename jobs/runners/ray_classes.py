"""The classes of workers on a cluster: what the spec asks for, and larger ones up to a whole node.

Values alone; the cluster is given as what its nodes have, by Ray's names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from jobs.runners.classes import WorkerClass, with_larger
from jobs.runners.ray_pool import Resources, fits


def classes_on(
    nodes: Mapping[str, Resources],
    base: WorkerClass,
    named: Sequence[WorkerClass],
    *,
    is_last_resort: bool,
) -> tuple[WorkerClass, ...]:
    """All classes, in ascending order of memory.

    `base`: the class of `[run]`; where it has no memory of its own, it gets its share of a node, the least
    over all nodes that hold one. `named`: those of `[run.classes]`. `is_last_resort`: what is larger than
    every node is tried on the largest all the same.
    """
    wanted = wanted_of(base)
    holding = [has for has in nodes.values() if fits(has, {**wanted, "memory": 0.0})]
    if not holding:  # scaled to zero: nobody knows yet what a node has
        return tuple(sorted((base, *named), key=lambda one: one.most_bytes))
    if math.isinf(base.most_bytes):
        base = replace(
            base, most_bytes=min(_share(has, wanted, base.most_workers) for has in holding)
        )
    largest = max(has.get("memory", 0.0) for has in holding)
    if not largest:
        return tuple(sorted((base, *named), key=lambda one: one.most_bytes))
    largest_named = max((one.most_bytes for one in named), default=0.0)
    derived = with_larger(base, max(largest, largest_named), is_last_resort=is_last_resort)
    return tuple(sorted((*derived, *named), key=lambda one: (one.most_bytes, one.gpus)))


def wanted_of(worker: WorkerClass) -> dict[str, float]:
    """What one worker asks the cluster for."""
    wanted = {"CPU": float(worker.cpus), "GPU": worker.gpus}
    if math.isfinite(worker.most_bytes):
        wanted["memory"] = float(int(worker.most_bytes))
    return {name: amount for name, amount in wanted.items() if amount}


def _share(has: Resources, wanted: Resources, most_workers: int | None) -> float:
    """Memory of a node for each worker that fits it by cores and GPUs."""
    num = min(int(has[name] // amount) for name, amount in wanted.items() if name != "memory")
    num = max(1, num if most_workers is None else min(num, most_workers))
    return has.get("memory", math.inf) / num
