"""Runner on a Ray cluster: one actor a slot. The only file that imports ray.

Actors are made with `max_restarts=0` and replaced here: only so does a death keep its cause (out of memory,
node lost, crash). Weights never enter the object store: an actor reads what it needs and returns rows.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobs.runners.outcome import Died, Outcome
from jobs.runners.runner import Done
from jobs.units.unit import HubAccess, Task
from zoo.errors import UseError

if TYPE_CHECKING:
    from zoo.hub.client import HubOptions

_NAMESPACE = "spectral-zoo"
_PACING_NAME = "hub-pacing-1"
"""Ends in the version of its interface: the actor outlives the sweep that made it."""
_PACING_S = 10.0
"""The pacing answers at once, or is being started anew on another node."""
_MAX_STILLBORN = 3
"""Workers in a row that could not be started, a slot, before the sweep gives up."""
_MAX_REVIVALS = 3
"""Times that a Ray which this process started is started anew after it died under the sweep."""
_LIFELESS_S = 10.0
"""Without one worker for so long, a Ray of our own is asked whether it is still there."""
_OBJECT_STORE_BYTES = 100 << 20
"""Rows are kilobytes; Ray's default would reserve a third of the machine."""


@dataclass(slots=True)
class _Slot:
    actor: Any
    birth: Any
    """Its first answer is still awaited; None: it has come. The cluster may have no room for it now."""
    task: Task | None = None
    submitted_s: float = 0.0
    ref: Any = None
    killed: bool = False


class RayRunner:
    """A `Runner` of Ray actors; starts a local Ray unless `address` names a cluster.

    Work goes only to actors that have answered: one that waits for room on the cluster (a node died) would
    keep its task waiting with it.
    """

    def __init__(
        self,
        *,
        address: str | None,
        workers: int | None,
        cpus: int = 1,
        gpus: float = 0.0,
        memory_bytes: int | None = None,
        hub: HubOptions | None = None,
    ) -> None:
        """`cpus`, `gpus`, `memory_bytes`: of one worker. `hub`: see `LocalRunner`."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        self._ray: Any = ray
        self._slots: list[_Slot] = []
        self._num_stillborn = 0
        self._owns = not ray.is_initialized()
        self._is_ours = self._owns and not address
        self._local = (workers, cpus)
        self._num_revivals = 0
        self._seen_alive_s = time.monotonic()
        if self._owns:
            self._connect(address, workers, cpus)
        wanted = {"CPU": cpus, "GPU": gpus, "memory": memory_bytes or 0}
        resources = self._ray.cluster_resources()
        fits = min(int(resources.get(name, 0) // n) for name, n in wanted.items() if n)
        if fits < 1:
            self.close()
            has, wants = _told(resources), _told(wanted)
            raise UseError(
                f"the cluster has {has}; one worker wants {wants}. "
                "Lower [run] cpus / gpus / memory, or add nodes"
            )
        count = min(workers or fits, fits)
        self.memory_bytes = (
            memory_bytes * count if memory_bytes else int(resources.get("memory", 0)) or 4 << 30
        )
        options: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpus}
        options |= {"max_restarts": 0, "max_task_retries": 0}
        if memory_bytes:
            options["memory"] = memory_bytes
        self._actor_class: Any = ray.remote(**options)(_Actor)
        self._threads = cpus
        self.hub = None if hub is None else HubAccess(_RemotePacing(_start_pacing(ray)), hub)
        self._slots = [self._start() for _ in range(count)]

    @property
    def num_slots(self) -> int:
        """See `Runner.num_slots`: the actors that have answered."""
        return sum(slot.birth is None for slot in self._slots)

    def submit(self, task: Task) -> None:
        """See `Runner.submit`."""
        slot = next((s for s in self._slots if s.birth is None and s.task is None), None)
        if slot is None:
            raise RuntimeError("all actors are busy; wait() first")
        slot.task, slot.submitted_s = task, time.monotonic()
        slot.ref = slot.actor.run.remote(task)

    def wait(self, timeout_s: float) -> list[Done]:
        """See `Runner.wait`. UseError when workers cannot be started at all."""
        if self._is_ours and not self.num_slots:
            self._revive()
        awaited = {slot.birth or slot.ref: slot for slot in self._slots if slot.birth or slot.task}
        if not awaited:
            time.sleep(timeout_s)
            return []
        ready, _ = self._ray.wait(list(awaited), num_returns=1, timeout=timeout_s)
        ended: list[Done] = []
        for slot in (awaited[ref] for ref in ready):
            if slot.birth is None:
                ended.append(self._collect(slot))
            else:
                self._welcome(slot)
        return ended

    def began_s(self, task: Task) -> float:
        """See `Runner.began_s`. Only actors that have started get tasks."""
        return next(slot.submitted_s for slot in self._slots if slot.task is task)

    def kill(self, task: Task) -> None:
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
        if self._owns and self._ray.is_initialized():
            self._ray.shutdown()

    def _connect(self, address: str | None, workers: int | None, cpus: int) -> None:
        quiet: dict[str, Any] = {
            "log_to_driver": False,
            "logging_level": "ERROR",
            "configure_logging": False,
        }
        if address:
            try:
                self._ray.init(address=address, **quiet)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise UseError(f"cannot reach a Ray cluster at {address!r}: {error}") from error
            return
        # Without address="local", ray.init joins whatever cluster the machine last ran.
        count = max((workers or 0) * cpus, os.cpu_count() or 1)
        self._ray.init(
            address="local",
            num_cpus=count,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            **quiet,
        )

    def _start(self) -> _Slot:
        actor = self._actor_class.remote(self._threads, self.hub)
        return _Slot(actor, actor.ready.remote())

    def _replace(self, slot: _Slot) -> None:
        self._ray.kill(slot.actor, no_restart=True)
        self._slots[self._slots.index(slot)] = self._start()

    def _welcome(self, slot: _Slot) -> None:
        """An actor has answered, or will not: no model is to blame for that."""
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
            self._seen_alive_s = time.monotonic()

    def _revive(self) -> None:
        """Start our own Ray anew when its node is gone: its actors would wait for it for ever.

        The raylet ends with any of its agents, and a killed one takes all workers with it. Their tasks
        have come back as `node` by then. A cluster at an address may get other nodes: it is waited for.
        """
        if time.monotonic() - self._seen_alive_s < _LIFELESS_S:
            return
        self._seen_alive_s = time.monotonic()
        if any(node["Alive"] for node in self._ray.nodes()):
            return
        self._num_revivals += 1
        if self._num_revivals > _MAX_REVIVALS:
            raise UseError(
                f"the Ray on this machine died {self._num_revivals} times; look at its logs and at the "
                "machine's memory, or use --runner local. The same command resumes"
            )
        self._ray.shutdown()
        self._connect(None, *self._local)
        if self.hub is not None and isinstance(self.hub.pacing, _RemotePacing):
            self.hub.pacing.move_to(_start_pacing(self._ray))
        self._slots = [self._start() for _ in self._slots]

    def _collect(self, slot: _Slot) -> Done:
        task = slot.task
        assert task is not None
        errors = self._ray.exceptions
        try:
            outcome: Outcome = self._ray.get(slot.ref)
            slot.task = slot.ref = None
            return Done(task, outcome)
        except errors.OutOfMemoryError as error:
            outcome = Died("memory", _first_lines(error))
        except errors.ActorDiedError as error:
            outcome = self._obituary(slot, error)
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

    def _obituary(self, slot: _Slot, error: Exception) -> Died:
        if slot.killed:
            return Died(
                "timeout", "killed: the task took longer than its time limit ([run] timeout_s)"
            )
        text = _first_lines(error)
        return Died("node" if died_with_its_node(str(error)) else "crash", text)


def died_with_its_node(message: str) -> bool:
    """True when Ray's message blames the node, not the worker. The one place that reads Ray's words."""
    return "node has died" in message or "node was terminated" in message


def _first_lines(error: Exception, *, most: int = 12) -> str:
    return "\n".join(str(error).splitlines()[:most])


def _told(resources: Mapping[str, float]) -> str:
    """Resources for people."""
    gib = resources.get("memory", 0) / 2**30
    return f"{resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs, {gib:.1f} GiB"


def _start_pacing(ray: Any) -> Any:
    """The cluster's one pacing to the Hub, shared by every sweep on it: a named actor that stays.

    It may lie on a node that dies; then it starts anew, and learns from the next reply what the Hub allows.
    """
    from zoo.hub.pacing import HubPacing

    options = {
        "name": _PACING_NAME,
        "namespace": _NAMESPACE,
        "lifetime": "detached",
        "get_if_exists": True,
        "num_cpus": 0,
        "max_restarts": -1,
    }
    return ray.remote(HubPacing).options(**options).remote()


class _RemotePacing:
    """A `Pacing` that asks the actor; without an answer nobody waits."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def move_to(self, actor: Any) -> None:
        """Ask `actor` from now on: the other one is gone with its Ray."""
        self._actor = actor

    def acquire(self, kind: str) -> float:
        """See `Pacing.acquire`."""
        import ray

        try:
            return float(ray.get(self._actor.acquire.remote(kind), timeout=_PACING_S))
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
            return 0.0

    def observe(self, kind: str, status: int, headers: Mapping[str, str]) -> None:
        """See `Pacing.observe`; not waited for."""
        self._actor.observe.remote(kind, status, dict(headers))


class _Actor:
    """A worker process on the cluster; it keeps torch loaded between tasks."""

    def __init__(self, threads: int, hub: HubAccess | None) -> None:
        from jobs.sweep.work import prepare

        prepare(threads, hub)

    def ready(self) -> bool:
        """True, once the constructor is through."""
        return True

    def run(self, task: Task) -> Outcome:
        """One task; the outcome is a value, never an exception of ours."""
        from jobs.sweep.work import run_task

        return run_task(task)
