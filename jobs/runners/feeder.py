"""A runner fed by a thread of its own: its workers get their next task while the caller reads or
writes.

For work in which nothing is tried again: the first worker that dies, or raises, ends all of it.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from jobs.errors import WorkerDiedError, WorkRaisedError
from jobs.runners.outcome import Died, Outcome, Raised
from jobs.runners.protocol import Runner

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")

_Order = tuple[TaskT, Future[ResultT]]
"""A task, and the result that somebody waits for."""

_ALL_BUSY_S = 0.5
"""Seconds that an answer is waited for at most while no worker could take a task."""
_SOME_IDLE_S = 0.01
"""Seconds that an answer is waited for at most while one could: so long may a new task lie."""


class Feeder(Generic[TaskT, ResultT]):
    """Hands tasks to a runner, which nobody else may use meanwhile. Close it before the runner."""

    def __init__(self, runner: Runner[TaskT, ResultT]) -> None:
        self._runner = runner
        self._orders: SimpleQueue[_Order[TaskT, ResultT] | None] = SimpleQueue()
        self._waiting: deque[_Order[TaskT, ResultT]] = deque()
        self._running: dict[int, Future[ResultT]] = {}
        self._thread = threading.Thread(target=self._serve, name="zoo-feeder", daemon=True)
        self._thread.start()

    def submit(self, task: TaskT) -> Future[ResultT]:
        """The result of `task`, once it is there.

        When a worker dies or raises, that and every later result is a WorkerDiedError or a
        WorkRaisedError; what the runner itself raises comes out of them as well.
        """
        result: Future[ResultT] = Future()
        self._orders.put((task, result))
        return result

    def close(self) -> None:
        """Hand out nothing more, and wait a moment for the thread; what is not there yet is
        lost."""
        self._orders.put(None)
        self._thread.join()

    def _serve(self) -> None:
        """Body of the thread."""
        try:
            while self._take_orders():
                self._start_tasks()
                self._settle_results()
        except Exception as error:  # not swallowed: whoever asks for a result is told
            self._fail(error)
        for future in self._unsettled():
            future.cancel()

    def _take_orders(self) -> bool:
        """Take what was submitted, waiting for it if there is nothing else to do; False: closed."""
        may_wait = not self._waiting and not self._running
        while True:
            try:
                order = self._orders.get(block=may_wait)
            except Empty:
                return True
            if order is None:
                return False
            self._waiting.append(order)
            may_wait = False

    def _start_tasks(self) -> None:
        while self._waiting and len(self._running) < self._runner.num_slots:
            task, result = self._waiting.popleft()
            self._running[id(task)] = result
            self._runner.submit(task)

    def _settle_results(self) -> None:
        has_idle = len(self._running) < self._runner.num_slots
        for done in self._runner.wait(_SOME_IDLE_S if has_idle else _ALL_BUSY_S):
            self._running[id(done.task)].set_result(_result_of(done.outcome))
            del self._running[id(done.task)]

    def _fail(self, error: Exception) -> None:
        """Every result that is not there, or asked for from now on until `close`, is `error`."""
        for future in self._unsettled():
            future.set_exception(error)
        self._waiting.clear()
        self._running.clear()
        while (order := self._orders.get()) is not None:
            order[1].set_exception(error)

    def _unsettled(self) -> list[Future[ResultT]]:
        return [*self._running.values(), *(result for _, result in self._waiting)]


def _result_of(outcome: Outcome[ResultT]) -> ResultT:
    if isinstance(outcome, Died):
        raise WorkerDiedError(outcome.message)
    if isinstance(outcome, Raised):
        raise WorkRaisedError(
            f"a worker raised {outcome.error_type}: {outcome.message}\n{outcome.traceback}"
        )
    return outcome.result
