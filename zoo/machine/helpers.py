"""Helper processes that compute beside this one: what Python itself does for a layer keeps one core busy, and an
accelerator waits for it.

A helper is this Python, started anew, that reads tasks from its pipe and writes results to the other: no module of the
caller is imported a second time, as multiprocessing would, and a helper ends with the pipe, however the caller ended.
Tasks are functions of modules with picklable arguments. A helper that dies loses nothing: its task is done here.
"""

from __future__ import annotations

import atexit
import os
import pickle
import queue
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import lru_cache
from typing import IO, Any, TypeVar

MOST_HELPERS = 16
"""More were not found to help one accelerator."""
_COMMAND = "from zoo.machine.helpers import serve; serve()"
_LENGTH = struct.Struct("<Q")
"""What precedes a message: its bytes."""

T = TypeVar("T")
"""What a task gives back."""


class Helpers:
    """Some helper processes; with none, tasks are done at once by the caller."""

    def __init__(self, count: int) -> None:
        self._tasks: queue.SimpleQueue[tuple[Future[Any], bytes, Callable[[], Any]] | None]
        self._tasks = queue.SimpleQueue()
        self.count = count
        """Helper processes."""
        self._threads = [threading.Thread(target=self._feed, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[..., T], *arguments: object) -> Future[T]:
        """`function(*arguments)` in some helper; its exceptions are raised by the future's `result`."""
        future: Future[T] = Future()
        if not self.count:
            _fulfil(future, lambda: function(*arguments))
            return future
        message = pickle.dumps((function, arguments), protocol=pickle.HIGHEST_PROTOCOL)
        self._tasks.put((future, message, lambda: function(*arguments)))
        return future

    def spread(
        self, function: Callable[..., list[T]], items: Sequence[object], *rest: object
    ) -> list[Future[list[T]]]:
        """`function(some of the items, *rest)` in all helpers, each with its share, in order."""
        step = max(1, -(-len(items) // max(1, self.count)))
        shares = (items[start : start + step] for start in range(0, len(items), step))
        return [self.submit(function, share, *rest) for share in shares]

    def close(self) -> None:
        """End every helper after what it has begun."""
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def _feed(self) -> None:
        """Give tasks to one helper process, which is started with the first."""
        process: subprocess.Popen[bytes] | None = None
        while (task := self._tasks.get()) is not None:
            future, message, here = task
            try:
                process = process or _start()
                assert process.stdin is not None and process.stdout is not None
                _write(process.stdin, message)
                is_done, outcome = pickle.loads(_read(process.stdout))
            except (OSError, EOFError):  # no process to be had, or it died: the task is done here
                if process is not None:
                    _end(process)
                process = None
                _fulfil(future, here)
                continue
            if is_done:
                future.set_result(outcome)
            else:
                future.set_exception(outcome)
        if process is not None:
            _end(process)


@lru_cache(maxsize=1)
def shared_helpers() -> Helpers:
    """The helpers of this process: one a core that it may use, but for its own."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    helpers = Helpers(max(0, min(MOST_HELPERS, (usable or 1) - 1)))
    atexit.register(helpers.close)
    return helpers


def serve() -> None:
    """What a helper does: tasks from standard input, results to standard output, until there are no more."""
    from zoo.machine.threads import set_threads

    set_threads(1)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # whatever is printed must not enter the results
    while True:
        try:
            message = _read(source)
        except EOFError:
            return
        try:
            function, arguments = pickle.loads(message)
            outcome = (True, function(*arguments))
        except Exception as error:  # the caller raises it
            outcome = (False, error)
        _write(sink, pickle.dumps(outcome, protocol=pickle.HIGHEST_PROTOCOL))


def _fulfil(future: Future[T], work: Callable[[], T]) -> None:
    try:
        future.set_result(work())
    except Exception as error:  # raised by whoever asks for the result
        future.set_exception(error)


def _start() -> subprocess.Popen[bytes]:
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, "-c", _COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""},
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close the pipes of a helper, which ends it, if it has not ended."""
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # what it had not read yet
            if pipe is not None:
                pipe.close()
    process.wait()


def _write(pipe: IO[bytes], message: bytes) -> None:
    pipe.write(_LENGTH.pack(len(message)))
    pipe.write(message)
    pipe.flush()


def _read(pipe: IO[bytes]) -> bytes:
    (size,) = _LENGTH.unpack(_exactly(pipe, _LENGTH.size))
    return _exactly(pipe, size)


def _exactly(pipe: IO[bytes], size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError("the pipe ended")
    return data
