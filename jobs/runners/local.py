"""Runner on this machine: a pool of processes, one task each, no Ray.

`concurrent.futures` breaks its whole pool when one process dies, and cannot say which task did it;
here each worker has a pipe of its own, so a crash is known by task, and a dead worker is replaced.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from jobs.runners.classes import WorkerClass
from jobs.runners.hub_access import HubAccess
from jobs.runners.lifetime import leave_with_driver
from jobs.runners.outcome import Died, Outcome, Raised
from jobs.runners.protocol import Done
from jobs.runners.worker import Work, attempt, start_worker
from zoo.machine.memory import machine_limit, process_limit

if TYPE_CHECKING:
    from jobs.runners.pacing import SharedPacing
    from zoo.hub.client import HubOptions

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")
_LONG_PATH = 60
"""Bytes of TMPDIR from which on a fork server's socket may have no room for its name there (107 in all)."""
StartMethod = Literal["spawn", "forkserver"]
"""How a worker process is started."""

_MEMORY_SHARE = 0.8
"""Share of the memory of the machine, or of its container, that all running tasks together may take."""


@dataclass(slots=True)
class _Worker(Generic[TaskT]):
    process: BaseProcess
    pipe: Connection
    card: str | None
    """The accelerator that it sees; None: all there are."""
    free_s: float = math.inf
    """When the worker was prepared or, later, when its last task ended; infinite until then."""
    tasks: deque[TaskT] = field(default_factory=deque)
    """The task that it works on, and those that it holds already for afterwards."""
    submitted_s: float = 0.0
    """When the last task was sent to it."""
    killed: bool = False


class LocalRunner(Generic[TaskT, ResultT]):
    """A `Runner` of `workers` processes on this machine."""

    def __init__(
        self,
        work: Work[TaskT, ResultT],
        *,
        workers: int,
        threads: int = 1,
        memory_bytes: int | None = None,
        hub: HubOptions | None = None,
        start_method: StartMethod = "spawn",
        ahead: int = 0,
        cards: Sequence[str] = (),
    ) -> None:
        """`threads`: of mathematics, in each worker. `hub`: how patient workers are with a Hub;
        None when the work needs none. `start_method`: a forkserver starts workers in no time where
        `jobs.runners.forkserver` has loaded what they need, which must not be torch. `ahead`: tasks
        a worker holds beside the one it works on, so that it need not wait for the next. `cards`: the
        accelerators, as CUDA_VISIBLE_DEVICES names them; each worker sees one of them, the next worker
        the one that fewest see."""
        self._context = (
            multiprocessing.get_context("forkserver")
            if start_method == "forkserver" and len(tempfile.gettempdir()) < _LONG_PATH
            else multiprocessing.get_context("spawn")
        )
        self._work = work
        self._threads = threads
        self._pacing: SharedPacing | None = None
        self.hub: HubAccess | None = None
        if hub is not None:  # the Hub client is slow to import, and folders need none
            from jobs.runners.pacing import SharedPacing

            self._pacing = SharedPacing()
            self.hub = HubAccess(self._pacing.pacing, hub)
        self._workers: list[_Worker[TaskT]] = []
        self._cards = tuple(cards)
        self._num_workers = workers
        self._per_worker = 1 + ahead
        self.num_slots = workers * self._per_worker
        most = min(int(machine_limit().nbytes * _MEMORY_SHARE), process_limit().nbytes * workers)
        self.classes = (WorkerClass("local", total_bytes=memory_bytes or most, cpus=threads),)

    @property
    def num_hoped(self) -> int:
        """See `Runner.num_hoped`."""
        return self.num_slots

    @property
    def free(self) -> dict[str, int]:
        """See `Runner.free`."""
        return {"local": self.num_slots - sum(len(worker.tasks) for worker in self._workers)}

    wants = None
    """See `Runner.wants`: a process can always be started."""

    def want(self, demand: Mapping[str, int]) -> None:
        """See `Runner.want`: here workers start with the tasks."""

    def submit(self, task: TaskT, class_name: str | None = None) -> None:
        """See `Runner.submit`."""
        for dead in [w for w in self._workers if not w.tasks and not w.process.is_alive()]:
            self._bury(dead)  # killed while idle: no task is to blame
        worker = min(self._workers, key=lambda w: len(w.tasks), default=None)
        if worker is None or (worker.tasks and len(self._workers) < self._num_workers):
            worker = self._start()  # none starts before there is work for it
        if len(worker.tasks) == self._per_worker:
            raise RuntimeError("all workers are busy; wait() first")
        _send(worker, task)

    def wait(self, timeout_s: float) -> list[Done[TaskT, ResultT]]:
        """See `Runner.wait`."""
        busy = [w for w in self._workers if w.tasks]
        if not busy:
            time.sleep(timeout_s)
            return []
        owner: dict[object, _Worker[TaskT]] = {w.pipe: w for w in busy}
        owner |= {w.process.sentinel: w for w in busy}  # a crash may leave the pipe open in a child
        ready = wait([w.pipe for w in busy] + [w.process.sentinel for w in busy], timeout_s)
        heard = {id(owner[thing]): owner[thing] for thing in ready}
        ended = [self._collect(worker) for worker in heard.values()]
        return [done for done in ended if done is not None]

    def began_s(self, task: TaskT) -> float:
        """See `Runner.began_s`."""
        worker = next(w for w in self._workers if any(t is task for t in w.tasks))
        return max(worker.free_s, worker.submitted_s) if worker.tasks[0] is task else math.inf

    def kill(self, task: TaskT) -> None:
        """See `Runner.kill`."""
        for worker in self._workers:
            if worker.tasks and worker.tasks[0] is task:
                worker.killed = True
                worker.process.kill()

    def close(self) -> None:
        """See `Runner.close`."""
        for worker in self._workers:
            worker.pipe.close()  # an idle worker leaves at end of file
            if worker.tasks:
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

    def _start(self) -> _Worker[TaskT]:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_serve,
            args=(theirs, self._work, self._threads, self.hub, card := self._free_card()),
            name="zoo-worker",
            daemon=True,
        )
        process.start()
        theirs.close()
        worker: _Worker[TaskT] = _Worker(process, ours, card)
        self._workers.append(worker)
        return worker

    def _free_card(self) -> str | None:
        """The accelerator that the fewest workers have."""
        taken = Counter(worker.card for worker in self._workers)
        return min(self._cards, key=lambda card: taken[card], default=None)

    def _collect(self, worker: _Worker[TaskT]) -> Done[TaskT, ResultT] | None:
        """What a worker says of its task; None when it says that it is prepared."""
        try:
            outcome: Outcome[ResultT] | None = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            outcome = _obituary(worker)
            self._bury(worker)
        else:
            worker.free_s = time.monotonic()
            if outcome is None:
                return None
        task = worker.tasks.popleft()
        is_gone = isinstance(outcome, Died)
        if isinstance(outcome, Raised) and outcome.ends_worker:
            worker.process.kill()
            self._bury(worker)
            is_gone = True
        if is_gone and worker.tasks:
            heir = self._start()
            for innocent in worker.tasks:
                _send(heir, innocent)
        return Done(task, outcome)

    def _bury(self, worker: _Worker[TaskT]) -> None:
        worker.pipe.close()
        worker.process.join()
        worker.process.close()
        self._workers.remove(worker)


def _send(worker: _Worker[TaskT], task: TaskT) -> None:
    worker.tasks.append(task)
    worker.submitted_s = time.monotonic()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        worker.pipe.send(task)  # a worker that dies now is reported by wait()


def _obituary(worker: _Worker[TaskT]) -> Died:
    code = worker.process.exitcode
    if worker.killed:
        return Died("timeout", "killed: the task took longer than its time limit ([run] timeout_s)")
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = "; the kernel does this when memory runs out" if name == "SIGKILL" else ""
        return Died("crash", f"the worker process was killed by {name}{hint}")
    return Died("crash", f"the worker process ended with exit code {code} in the middle of a task")


def _serve(
    pipe: Connection,
    work: Work[TaskT, ResultT],
    threads: int,
    hub: HubAccess | None,
    card: str | None,
) -> None:
    """Body of a worker process: None once it is prepared, then tasks in, outcomes out, until the
    pipe closes."""
    # Terminals and systemd send these to the whole group; the driver drains, then kills.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    leave_with_driver()
    if card is not None:  # before anything speaks to the driver
        os.environ["CUDA_VISIBLE_DEVICES"] = card
    start_worker(work, threads=threads, hub=hub)
    tasks: SimpleQueue[tuple[TaskT] | None] = SimpleQueue()
    threading.Thread(target=_receive, args=(pipe, tasks), name="zoo-tasks", daemon=True).start()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the driver is done
        pipe.send(None)
        while (task := tasks.get()) is not None:
            pipe.send(attempt(work, task[0]))


def _receive(pipe: Connection, tasks: SimpleQueue[tuple[TaskT] | None]) -> None:
    """Put what is sent to this process into `tasks`, so that the driver never waits with a task
    that a busy worker holds for later; None at the end."""
    try:
        with contextlib.suppress(EOFError, ConnectionResetError):
            while True:
                tasks.put((pipe.recv(),))
    finally:
        tasks.put(None)
