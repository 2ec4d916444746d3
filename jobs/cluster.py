"""Runner on a Ray cluster: one actor a slot. The only file that imports ray.

Actors are made with `max_restarts=0` and replaced here: only so does a death keep its cause (out of memory,
node lost, crash). Weights never enter the object store: an actor reads what it needs and returns rows.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.outcome import Died, Outcome
from jobs.runner import Done
from jobs.units import Task
from zoo.errors import UseError

_GATE_NAME = "zoo-hub-gate"
_OBJECT_STORE_BYTES = 100 << 20
"""Rows are kilobytes; Ray's default would reserve a third of the machine."""


@dataclass(slots=True)
class _Slot:
    actor: Any
    node: str | None = None
    task: Task | None = None
    ref: Any = None
    killed: bool = False


class RayRunner:
    """A `Runner` of Ray actors; starts a local Ray unless `address` names a cluster."""

    def __init__(
        self,
        *,
        address: str | None,
        workers: int | None,
        cpus: int = 1,
        gpus: float = 0.0,
        memory_bytes: int | None = None,
        with_gate: bool = False,
    ) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        self._ray: Any = ray
        self._owns = not ray.is_initialized()
        if self._owns:
            self._connect(address, workers, cpus)
        resources = self._ray.cluster_resources()
        fits = int(resources.get("CPU", 0) // cpus)
        if gpus:
            fits = min(fits, int(resources.get("GPU", 0) // gpus))
        self.num_slots = min(workers or fits, fits)
        if self.num_slots < 1:
            self.close()
            raise UseError(
                f"the cluster has {resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs; one "
                f"worker wants {cpus} CPUs and {gpus:g} GPUs. Lower [run] cpus / gpus, or add nodes"
            )
        self.memory_bytes = memory_bytes or int(resources.get("memory", 0)) or 4 << 30
        self._actor_class: Any = ray.remote(
            num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0
        )(_Actor)
        self._threads = cpus
        self._gate = _start_gate(ray) if with_gate else None
        self._slots = [self._start() for _ in range(self.num_slots)]

    def submit(self, task: Task) -> None:
        """See `Runner.submit`."""
        slot = next((s for s in self._slots if s.task is None), None)
        if slot is None:
            raise RuntimeError("all actors are busy; wait() first")
        slot.task = task
        slot.ref = slot.actor.run.remote(task)

    def wait(self, timeout_s: float) -> list[Done]:
        """See `Runner.wait`."""
        busy = {slot.ref: slot for slot in self._slots if slot.task is not None}
        if not busy:
            time.sleep(timeout_s)
            return []
        ready, _ = self._ray.wait(list(busy), num_returns=1, timeout=timeout_s)
        return [self._collect(busy[ref]) for ref in ready]

    def kill(self, task: Task) -> None:
        """See `Runner.kill`."""
        for slot in self._slots:
            if slot.task is task:
                slot.killed = True
                self._ray.kill(slot.actor, no_restart=True)

    def close(self) -> None:
        """See `Runner.close`. A Ray that was there before is left running."""
        for slot in getattr(self, "_slots", []):
            self._ray.kill(slot.actor, no_restart=True)
        self._slots = []
        if self._owns:
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
        return _Slot(self._actor_class.remote(self._threads, self._gate))

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
        except (
            errors.RayTaskError
        ) as error:  # run() itself never raises: the actor could not be made
            outcome = Died("crash", _first_lines(error))
        self._ray.kill(slot.actor, no_restart=True)
        self._slots[self._slots.index(slot)] = self._start()
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


def _start_gate(ray: Any) -> Any:
    """The cluster's one gate to the Hub: a named actor, so that every sweep on the cluster shares it."""
    from zoo.hub.gate import HubGate

    options = {"name": _GATE_NAME, "get_if_exists": True, "num_cpus": 0, "max_restarts": 0}
    return ray.remote(HubGate).options(**options).remote()


class _RemoteGate:
    """The `Gate` of a worker: asks the actor."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def acquire(self, kind: str) -> float:
        """See `Gate.acquire`."""
        import ray

        return float(ray.get(self._actor.acquire.remote(kind)))

    def observe(self, kind: str, status: int, headers: Mapping[str, str]) -> None:
        """See `Gate.observe`; not waited for."""
        self._actor.observe.remote(kind, status, dict(headers))


class _Actor:
    """A worker process on the cluster; it keeps torch loaded between tasks."""

    def __init__(self, threads: int, gate: Any) -> None:
        from zoo.threads import export_threads

        export_threads(threads)
        from jobs.work import prepare

        prepare(threads, None if gate is None else _RemoteGate(gate))

    def run(self, task: Task) -> Outcome:
        """One task; the outcome is a value, never an exception of ours."""
        from jobs.work import run_task

        return run_task(task)
