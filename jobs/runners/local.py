"""Runner on this machine: a pool of spawned processes, one task each, no Ray.

`concurrent.futures` breaks its whole pool when one process dies, and cannot say which task did it; here each
worker has a pipe of its own, so a crash is known by task, and a dead worker is replaced.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

import psutil

from jobs.runners.lifetime import leave_with_driver
from jobs.runners.outcome import Died, Outcome
from jobs.runners.runner import Done
from jobs.units.unit import HubAccess, Task

if TYPE_CHECKING:
    from jobs.runners.pacing import SharedPacing
    from zoo.hub.client import HubOptions

_MEMORY_SHARE = 0.8
"""Of the machine's memory, for all running tasks together."""


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    pipe: Connection
    ready_s: float = math.inf
    """When it had loaded what measures; until then it may not have got to its task."""
    task: Task | None = None
    submitted_s: float = 0.0
    killed: bool = False


class LocalRunner:
    """A `Runner` of `workers` processes on this machine."""

    def __init__(
        self,
        *,
        workers: int,
        threads: int = 1,
        memory_bytes: int | None = None,
        hub: HubOptions | None = None,
    ) -> None:
        """`hub`: how patient workers are with a Hub; None when the sweep needs none."""
        self._context = multiprocessing.get_context("spawn")
        self._threads = threads
        self._pacing: SharedPacing | None = None
        self.hub: HubAccess | None = None
        if hub is not None:  # the Hub client is slow to import, and folders need none
            from jobs.runners.pacing import SharedPacing

            self._pacing = SharedPacing()
            self.hub = HubAccess(self._pacing.pacing, hub)
        self._workers: list[_Worker] = []
        self.num_slots = workers
        self.memory_bytes = memory_bytes or int(psutil.virtual_memory().total * _MEMORY_SHARE)

    def submit(self, task: Task) -> None:
        """See `Runner.submit`."""
        for dead in [w for w in self._workers if w.task is None and not w.process.is_alive()]:
            self._bury(dead)  # killed while idle: no task is to blame
        worker = next((w for w in self._workers if w.task is None), None)
        if worker is None:
            if len(self._workers) == self.num_slots:
                raise RuntimeError("all workers are busy; wait() first")
            worker = self._start()  # none starts before there is work for it
            self._workers.append(worker)
        worker.task, worker.submitted_s = task, time.monotonic()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            worker.pipe.send(task)  # a worker that dies now is reported by wait()

    def wait(self, timeout_s: float) -> list[Done]:
        """See `Runner.wait`."""
        busy = [w for w in self._workers if w.task is not None]
        if not busy:
            time.sleep(timeout_s)
            return []
        owner: dict[object, _Worker] = {w.pipe: w for w in busy}
        owner |= {w.process.sentinel: w for w in busy}  # a crash may leave the pipe open in a child
        ready = wait([w.pipe for w in busy] + [w.process.sentinel for w in busy], timeout_s)
        heard = {id(owner[thing]): owner[thing] for thing in ready}
        ended = [self._collect(worker) for worker in heard.values()]
        return [done for done in ended if done is not None]

    def began_s(self, task: Task) -> float:
        """See `Runner.began_s`."""
        worker = next(w for w in self._workers if w.task is task)
        return max(worker.ready_s, worker.submitted_s)

    def kill(self, task: Task) -> None:
        """See `Runner.kill`."""
        for worker in self._workers:
            if worker.task is task:
                worker.killed = True
                worker.process.kill()

    def close(self) -> None:
        """See `Runner.close`."""
        for worker in self._workers:
            worker.pipe.close()  # an idle worker leaves at end of file
            if worker.task is not None:
                worker.process.kill()
        for worker in self._workers:
            worker.process.join(timeout=5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.process.close()
        self._workers.clear()
        if self._pacing is not None:
            self._pacing.close()
            self._pacing = None

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_serve,
            args=(theirs, self._threads, self.hub),
            name="zoo-worker",
            daemon=True,
        )
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _collect(self, worker: _Worker) -> Done | None:
        """What a worker says of its task; None when it says that it has started."""
        task = worker.task
        assert task is not None
        try:
            outcome: Outcome | None = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            outcome = _obituary(worker)
            self._bury(worker)
        else:
            if outcome is None:
                worker.ready_s = time.monotonic()
                return None
            worker.task = None
        return Done(task, outcome)

    def _bury(self, worker: _Worker) -> None:
        worker.pipe.close()
        worker.process.join()
        worker.process.close()
        self._workers.remove(worker)


def _obituary(worker: _Worker) -> Died:
    code = worker.process.exitcode
    if worker.killed:
        return Died("timeout", "killed: the task took longer than its time limit ([run] timeout_s)")
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = "; the kernel does this when memory runs out" if name == "SIGKILL" else ""
        return Died("crash", f"the worker process was killed by {name}{hint}")
    return Died("crash", f"the worker process ended with exit code {code} in the middle of a task")


def _serve(pipe: Connection, threads: int, hub: HubAccess | None) -> None:
    """Body of a worker process: None once it has started, then tasks in, outcomes out, until the pipe
    closes."""
    # Terminals and systemd send these to the whole group; the driver drains, then kills.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    leave_with_driver()
    from jobs.sweep.work import prepare, run_task

    prepare(threads, hub)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the driver is done
        pipe.send(None)
        while True:
            task = pipe.recv()
            pipe.send(run_task(task))
