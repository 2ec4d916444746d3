"""Runner on a Ray cluster: one actor a slot. Ray is imported here and in the `ray_*` files alone.

Actors are made with `max_restarts=0` and replaced here: only so does a death keep its cause (out of
memory, node lost, crash). Weights never enter the object store: an actor reads what it needs and
returns rows.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from jobs.runners.classes import WorkerClass
from jobs.runners.hub_access import HubAccess
from jobs.runners.outcome import Outcome, Raised
from jobs.runners.protocol import Done
from jobs.runners.ray_classes import classes_on, wanted_of
from jobs.runners.ray_cluster import RayCluster, in_words
from jobs.runners.ray_deaths import died_of, first_lines
from jobs.runners.ray_pacing import RayPacing
from jobs.runners.ray_pool import Member, Wanted, reconcile
from jobs.runners.worker import Work, attempt, start_worker
from zoo.errors import UseError

if TYPE_CHECKING:
    from zoo.hub.client import HubOptions

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")

BASE = "default"
"""The class of workers that `[run]` itself describes."""
_MAX_STILLBORN = 3
"""Workers in a row that could not be started, a slot, before the runner gives up."""
_LOOK_EVERY_S = 1.0
"""Between two looks at which workers there should be."""


@dataclass(slots=True)
class _Slot(Generic[TaskT]):
    """One actor, and what is known of it."""

    class_name: str
    actor: Any
    birth: Any
    """Its first answer, the node it is on, is still awaited; None: it has come. The cluster may have no room
    for it now."""
    pinned: str | None
    """The node that it was asked for."""
    node: str | None = None
    task: TaskT | None = None
    submitted_s: float = 0.0
    ref: Any = None
    """The outcome of `task` to be."""
    was_killed: bool = False
    is_leaving: bool = False
    idle_since_s: float = field(default_factory=time.monotonic)

    @property
    def is_idle(self) -> bool:
        """A task can be given to it."""
        return self.birth is None and self.task is None and not self.is_leaving


class RayRunner(Generic[TaskT, ResultT]):
    """A `Runner` of Ray actors; starts a local Ray unless `address` names a cluster.

    How many actors there are, and of which class, follows the nodes of the cluster and the work that waits
    (`jobs.runners.ray_pool`). Work goes only to actors that have answered: one that waits for room on the
    cluster (a node died) would keep its task waiting with it.
    """

    def __init__(
        self,
        work: Work[TaskT, ResultT],
        *,
        address: str | None,
        workers: int | None,
        cpus: int = 1,
        gpus: float = 0.0,
        memory_bytes: int | None = None,
        hub: HubOptions | None = None,
        classes: Sequence[WorkerClass] = (),
        wait_s: float = 600.0,
    ) -> None:
        """`workers`: at most so many; None: as many as fit. `cpus`, `gpus`, `memory_bytes`: of one worker of
        the first class, which has `cpus` mathematics threads. `classes`: others. `hub`: see `LocalRunner`.
        `wait_s`: how long to wait for nodes while there is no worker at all."""
        self._cluster = RayCluster(address, workers=workers, cpus=cpus)
        import ray

        self._ray: Any = ray
        self._slots: list[_Slot[TaskT]] = []
        self._num_stillborn = 0
        self._wait_s = wait_s
        self._most_workers = workers
        most_bytes = float(memory_bytes) if memory_bytes else math.inf
        self._base = WorkerClass(BASE, most_bytes, cpus=cpus, gpus=gpus)
        self._named = tuple(classes)
        self._classes: tuple[WorkerClass, ...] = ()
        self._classes_of: Mapping[str, Mapping[str, float]] | None = None
        """The nodes that `_classes` follow from."""
        try:
            if not self._cluster.is_elastic:
                self._cluster.check_fits(wanted_of(self._base))
        except UseError:
            self.close()
            raise
        self._work = work
        self._pacing = None if hub is None else RayPacing()
        self.hub = None if self._pacing is None or hub is None else HubAccess(self._pacing, hub)
        self._demand: dict[str, int] = {BASE: workers or 1 << 20}
        self._looked_s = self._had_worker_s = time.monotonic()
        self._look(is_elastic=False)

    @property
    def classes(self) -> tuple[WorkerClass, ...]:
        """See `Runner.classes`."""
        nodes = self._cluster.nodes()
        if nodes is not self._classes_of:
            self._classes_of = nodes
            self._classes = classes_on(
                nodes, self._base, self._named, is_last_resort=not self._cluster.is_elastic
            )
        return self._classes

    @property
    def num_slots(self) -> int:
        """See `Runner.num_slots`: the actors that have answered."""
        return sum(slot.birth is None and not slot.is_leaving for slot in self._slots)

    @property
    def num_hoped(self) -> int:
        """See `Runner.num_hoped`."""
        return max(len(self._slots), (self._most_workers or 0) if self._cluster.is_elastic else 0)

    @property
    def free(self) -> dict[str, int]:
        """See `Runner.free`."""
        return dict(Counter(slot.class_name for slot in self._slots if slot.is_idle))

    @property
    def wants(self) -> str | None:
        """See `Runner.wants`."""
        if self.num_slots or not self._cluster.is_elastic:
            return None
        wanted = wanted_of(self._base)
        if self._cluster.has_room(wanted):
            return None
        return (
            f"no worker yet: the cluster has {in_words(self._cluster.resources())}; one worker wants "
            f"{in_words(wanted)}. Waiting for nodes ([run] wait_s = {self._wait_s:g})"
        )

    def want(self, demand: Mapping[str, int]) -> None:
        """See `Runner.want`."""
        self._demand = dict(demand)

    def submit(self, task: TaskT, class_name: str | None = None) -> None:
        """See `Runner.submit`."""
        name = class_name or BASE
        slot = next((s for s in self._slots if s.is_idle and s.class_name == name), None)
        if slot is None:
            raise RuntimeError(f"no actor of class {name!r} is idle; wait() first")
        slot.task, slot.submitted_s = task, time.monotonic()
        slot.ref = slot.actor.run.remote(task)

    def wait(self, timeout_s: float) -> list[Done[TaskT, ResultT]]:
        """See `Runner.wait`. UseError when workers cannot be started at all."""
        if not self.num_slots and self._cluster.revive():
            if self._pacing is not None:
                self._pacing.restart()
            self._slots = []
        self._look_in_time()
        awaited = {slot.birth or slot.ref: slot for slot in self._slots if slot.birth or slot.task}
        if not awaited:
            time.sleep(timeout_s)
            return []
        ready, _ = self._ray.wait(list(awaited), num_returns=1, timeout=timeout_s, fetch_local=True)
        ended: list[Done[TaskT, ResultT]] = []
        for slot in (awaited[ref] for ref in ready):
            if slot.birth is None:
                ended.append(self._collect(slot))
            else:
                self._welcome(slot)
        return ended

    def began_s(self, task: TaskT) -> float:
        """See `Runner.began_s`. Only actors that have started get tasks."""
        return next(slot.submitted_s for slot in self._slots if slot.task is task)

    def kill(self, task: TaskT) -> None:
        """See `Runner.kill`."""
        for slot in self._slots:
            if slot.task is task:
                slot.was_killed = True
                self._ray.kill(slot.actor, no_restart=True)

    def close(self) -> None:
        """See `Runner.close`. A Ray that was there before is left running."""
        for slot in self._slots:
            self._ray.kill(slot.actor, no_restart=True)
        self._slots = []
        self._cluster.close()

    def _look_in_time(self) -> None:
        """Start and stop workers, once in a while; UseError where there has been none for too long."""
        now_s = time.monotonic()
        if now_s - self._looked_s >= _LOOK_EVERY_S or not self._slots:
            self._looked_s = now_s
            self._look(is_elastic=self._cluster.is_elastic)
        if self.num_slots or not self._cluster.is_elastic:
            self._had_worker_s = now_s
        elif now_s - self._had_worker_s > self._wait_s:
            raise UseError(
                f"there has been no worker for {self._wait_s:g} s. {self.wants or 'Workers did not start'}. "
                "Add nodes, lower [run] cpus / gpus / memory, or raise [run] wait_s; the same command resumes"
            )

    def _look(self, *, is_elastic: bool) -> None:
        """Bring the actors nearer to what is wanted."""
        nodes = self._cluster.nodes()
        classes = {one.name: one for one in self.classes}
        for slot in self._slots:  # of a class that went with the largest node
            classes.setdefault(slot.class_name, self._base)
        wanted = {
            name: Wanted(wanted_of(one), self._demand.get(name, 0), one.most_workers)
            for name, one in classes.items()
        }
        changes = reconcile(
            wanted,
            [_member(slot) for slot in self._slots],
            nodes,
            is_elastic=is_elastic,
            most_workers=self._most_workers,
        )
        for index in changes.leave:
            self._slots[index].is_leaving = True
        for slot in [self._slots[index] for index in changes.stop]:
            self._remove(slot)
        for name, node in changes.start:
            self._slots.append(self._start(classes[name], wanted[name].resources, node))

    def _start(
        self, worker: WorkerClass, resources: Mapping[str, float], node: str | None
    ) -> _Slot[TaskT]:
        options: dict[str, Any] = {"num_cpus": worker.cpus, "num_gpus": worker.gpus}
        options |= {"max_restarts": 0, "max_task_retries": 0}
        if "memory" in resources:
            options["memory"] = int(resources["memory"])
        if node is not None:
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            # soft: the node may be gone by the time it is asked for
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node, soft=True)
        actor_class: Any = self._ray.remote(**options)(_Actor)
        actor = actor_class.remote(self._work, worker.cpus, self.hub)
        return _Slot(worker.name, actor, actor.ready.remote(), node)

    def _remove(self, slot: _Slot[TaskT]) -> None:
        self._ray.kill(slot.actor, no_restart=True)
        self._slots.remove(slot)

    def _welcome(self, slot: _Slot[TaskT]) -> None:
        """An actor has answered, or will not: no task is to blame for that."""
        try:
            slot.node = self._ray.get(slot.birth)
        except self._ray.exceptions.RayError as error:
            self._num_stillborn += 1
            if self._num_stillborn > _MAX_STILLBORN * len(self._slots):
                raise UseError(
                    f"workers cannot be started on the cluster: {first_lines(error)}\n"
                    "Wanted this program, in this version, on every node"
                ) from error
            self._remove(slot)
        else:
            slot.birth = None
            slot.idle_since_s = time.monotonic()
            self._num_stillborn = 0
            self._cluster.saw_worker()

    def _collect(self, slot: _Slot[TaskT]) -> Done[TaskT, ResultT]:
        """How the task in a slot ended; a dead actor is removed, and replaced at the next look."""
        task = slot.task
        assert task is not None
        try:
            outcome: Outcome[ResultT] = self._ray.get(slot.ref)
        except self._ray.exceptions.RayError as error:
            self._remove(slot)
            return Done(task, died_of(error, self._ray.exceptions, was_killed=slot.was_killed))
        slot.task = slot.ref = None
        slot.idle_since_s = time.monotonic()
        is_broken = isinstance(outcome, Raised) and outcome.ends_worker
        if slot.is_leaving or is_broken:
            self._remove(slot)
        return Done(task, outcome)


def _member(slot: _Slot[Any]) -> Member:
    return Member(
        slot.class_name,
        slot.node,
        slot.pinned,
        is_busy=slot.task is not None,
        is_leaving=slot.is_leaving,
        idle_s=0.0 if slot.task is not None else time.monotonic() - slot.idle_since_s,
    )


class _Actor(Generic[TaskT, ResultT]):
    """A worker process on the cluster; what the work loads stays loaded between tasks."""

    def __init__(self, work: Work[TaskT, ResultT], threads: int, hub: HubAccess | None) -> None:
        start_worker(work, threads=threads, hub=hub)
        self._work = work

    def ready(self) -> str:
        """The node it is on, once the constructor is through."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def run(self, task: TaskT) -> Outcome[ResultT]:
        """One task; the outcome is a value, never an exception of ours."""
        return attempt(self._work, task)
