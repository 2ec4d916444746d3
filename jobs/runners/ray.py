"""Runner on a Ray cluster: one actor a slot. Ray is imported here and in the `ray_*` files alone.

Actors are made with `max_restarts=0` and replaced here: only so does a death keep its cause (out of
memory, node lost, crash). Weights never enter the object store: an actor reads what it needs and
returns rows.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from jobs.runners.hub_access import HubAccess
from jobs.runners.outcome import Died, Outcome
from jobs.runners.protocol import Done
from jobs.runners.ray_cluster import RayCluster
from jobs.runners.ray_pacing import RayPacing
from jobs.runners.worker import Work, attempt, start_worker
from zoo.errors import UseError

if TYPE_CHECKING:
    from zoo.hub.client import HubOptions

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")

_MAX_STILLBORN = 3
"""Workers in a row that could not be started, a slot, before the runner gives up."""
_MEMORY_UNKNOWN_BYTES = 4 << 30
"""Budget where the cluster does not say how much memory it has."""


@dataclass(slots=True)
class _Slot(Generic[TaskT]):
    """Room for one actor, and what is known of the one in it."""

    actor: Any
    birth: Any
    """Its first answer is still awaited; None: it has come. The cluster may have no room for it
    now."""
    task: TaskT | None = None
    submitted_s: float = 0.0
    ref: Any = None
    """The outcome of `task` to be."""
    killed: bool = False


class RayRunner(Generic[TaskT, ResultT]):
    """A `Runner` of Ray actors of a class of its own; starts a local Ray unless `address` names a
    cluster.

    Work goes only to actors that have answered: one that waits for room on the cluster (a node
    died) would keep its task waiting with it.
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
    ) -> None:
        """`workers`: None: as many as fit. `cpus`, `gpus`, `memory_bytes`: of one worker, which has
        `cpus` mathematics threads. `hub`: see `LocalRunner`."""
        self._cluster = RayCluster(address, workers=workers, cpus=cpus)
        import ray

        self._ray: Any = ray
        self._slots: list[_Slot[TaskT]] = []
        self._num_stillborn = 0
        try:
            fitting = self._cluster.fitting({"CPU": cpus, "GPU": gpus, "memory": memory_bytes or 0})
        except UseError:
            self.close()
            raise
        count = min(workers or fitting, fitting)
        self.memory_bytes = (
            memory_bytes * count
            if memory_bytes
            else int(self._cluster.resources().get("memory", 0)) or _MEMORY_UNKNOWN_BYTES
        )
        options: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpus}
        options |= {"max_restarts": 0, "max_task_retries": 0}
        if memory_bytes:
            options["memory"] = memory_bytes
        self._actor_class: Any = ray.remote(**options)(_Actor)
        self._work = work
        self._threads = cpus
        self._pacing = None if hub is None else RayPacing()
        self.hub = None if self._pacing is None or hub is None else HubAccess(self._pacing, hub)
        self._slots = [self._start() for _ in range(count)]

    @property
    def num_slots(self) -> int:
        """See `Runner.num_slots`: the actors that have answered."""
        return sum(slot.birth is None for slot in self._slots)

    def submit(self, task: TaskT) -> None:
        """See `Runner.submit`."""
        slot = next((s for s in self._slots if s.birth is None and s.task is None), None)
        if slot is None:
            raise RuntimeError("all actors are busy; wait() first")
        slot.task, slot.submitted_s = task, time.monotonic()
        slot.ref = slot.actor.run.remote(task)

    def wait(self, timeout_s: float) -> list[Done[TaskT, ResultT]]:
        """See `Runner.wait`. UseError when workers cannot be started at all."""
        if not self.num_slots and self._cluster.revive():
            if self._pacing is not None:
                self._pacing.restart()
            self._slots = [self._start() for _ in self._slots]
        awaited = {slot.birth or slot.ref: slot for slot in self._slots if slot.birth or slot.task}
        if not awaited:
            time.sleep(timeout_s)
            return []
        ready, _ = self._ray.wait(list(awaited), num_returns=1, timeout=timeout_s)
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
                slot.killed = True
                self._ray.kill(slot.actor, no_restart=True)

    def close(self) -> None:
        """See `Runner.close`. A Ray that was there before is left running."""
        for slot in self._slots:
            self._ray.kill(slot.actor, no_restart=True)
        self._slots = []
        self._cluster.close()

    def _start(self) -> _Slot[TaskT]:
        actor = self._actor_class.remote(self._work, self._threads, self.hub)
        return _Slot(actor, actor.ready.remote())

    def _replace(self, slot: _Slot[TaskT]) -> None:
        self._ray.kill(slot.actor, no_restart=True)
        self._slots[self._slots.index(slot)] = self._start()

    def _welcome(self, slot: _Slot[TaskT]) -> None:
        """An actor has answered, or will not: no task is to blame for that."""
        try:
            self._ray.get(slot.birth)
        except self._ray.exceptions.RayError as error:
            self._num_stillborn += 1
            if self._num_stillborn > _MAX_STILLBORN * len(self._slots):
                raise UseError(
                    f"workers cannot be started on the cluster: {_first_lines(error)}\n"
                    "Wanted this program, in this version, on every node"
                ) from error
            self._replace(slot)
        else:
            slot.birth = None
            self._num_stillborn = 0
            self._cluster.saw_worker()

    def _collect(self, slot: _Slot[TaskT]) -> Done[TaskT, ResultT]:
        """How the task in a slot ended; a dead actor is replaced."""
        task = slot.task
        assert task is not None
        errors = self._ray.exceptions
        try:
            outcome: Outcome[ResultT] = self._ray.get(slot.ref)
            slot.task = slot.ref = None
            return Done(task, outcome)
        except errors.OutOfMemoryError as error:
            outcome = Died("memory", _first_lines(error))
        except errors.ActorDiedError as error:
            outcome = _obituary(slot, error)
        except (
            errors.ActorUnavailableError,
            errors.ObjectLostError,
            errors.NodeDiedError,
        ) as error:
            outcome = Died("node", _first_lines(error))
        except errors.RayTaskError as error:  # run() itself never raises
            outcome = Died("crash", _first_lines(error))
        self._replace(slot)
        return Done(task, outcome)


def _obituary(slot: _Slot[TaskT], error: Exception) -> Died:
    if slot.killed:
        return Died("timeout", "killed: the task took longer than its time limit ([run] timeout_s)")
    text = _first_lines(error)
    return Died("node" if died_with_its_node(str(error)) else "crash", text)


def died_with_its_node(message: str) -> bool:
    """True when Ray's message blames the node, not the worker. The one place that reads Ray's
    words."""
    return "node has died" in message or "node was terminated" in message


def _first_lines(error: Exception, *, most: int = 12) -> str:
    return "\n".join(str(error).splitlines()[:most])


class _Actor(Generic[TaskT, ResultT]):
    """A worker process on the cluster; what the work loads stays loaded between tasks."""

    def __init__(self, work: Work[TaskT, ResultT], threads: int, hub: HubAccess | None) -> None:
        start_worker(work, threads=threads, hub=hub)
        self._work = work

    def ready(self) -> bool:
        """True, once the constructor is through."""
        return True

    def run(self, task: TaskT) -> Outcome[ResultT]:
        """One task; the outcome is a value, never an exception of ours."""
        return attempt(self._work, task)
