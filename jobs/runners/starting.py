"""The runner that `[run]` of a spec asks for: processes of this machine, or Ray actors."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TypeVar

from jobs.runners.classes import WorkerClass
from jobs.runners.protocol import Runner
from jobs.runners.worker import Work
from jobs.spec.tables import ClassTable, RunTable

if TYPE_CHECKING:
    from zoo.hub.client import HubOptions

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")


def start_runner(
    work: Work[TaskT, ResultT],
    run: RunTable,
    *,
    asks_hub: bool,
    most_workers: int | None = None,
    on_cards: bool = False,
) -> Runner[TaskT, ResultT]:
    """Workers for `work`; those that ask a Hub are as patient with it as this process.

    `most_workers`: a pool of processes has no more, where there is no work for them. `on_cards`: the
    work is made for accelerators, so that where there are some a pool has one worker a card, or as many
    as `[run] gpus` allows to share one.
    """
    hub = _patience() if asks_hub else None
    if run.runner == "ray":
        from jobs.runners.ray import RayRunner

        return RayRunner(
            work,
            address=run.address,
            workers=run.workers,
            cpus=run.cpus,
            gpus=run.gpus,
            memory_bytes=run.memory,
            hub=hub,
            classes=[_worker_class(name, table) for name, table in run.classes.items()],
            wait_s=run.wait_s,
        )
    from jobs.runners.local import LocalRunner

    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    cards = _cards(run) if on_cards else ()
    fitting = len(cards) * max(1, int(1 / run.gpus)) if run.gpus else len(cards)
    workers = run.workers or fitting or max(1, cores // run.cpus)
    if most_workers is not None:
        workers = max(1, min(workers, most_workers))
    budget = run.memory * workers if run.memory else None
    return LocalRunner(
        work, workers=workers, threads=run.cpus, memory_bytes=budget, hub=hub, cards=cards
    )


def _cards(run: RunTable) -> tuple[str, ...]:
    """The accelerators of this machine, as CUDA_VISIBLE_DEVICES names them; none where they are not wanted."""
    if run.device == "cpu":
        return ()
    from zoo.machine.cuda import cuda_devices

    names, _ = cuda_devices()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    listed = [name.strip() for name in visible.split(",") if name.strip()]
    return tuple(listed[: len(names)] or map(str, range(len(names))))


def _worker_class(name: str, table: ClassTable) -> WorkerClass:
    return WorkerClass(
        name,
        most_bytes=float(table.memory),
        cpus=table.cpus,
        gpus=table.gpus,
        most_workers=table.workers,
        min_cost_s=table.min_cost_s if table.gpus else 0.0,
    )


def _patience() -> HubOptions:
    from zoo.hub.session import process_client

    return process_client().options
