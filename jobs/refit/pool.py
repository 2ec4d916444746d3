"""The worker processes of a refit: started at once, gone with the driver, and a typed error when one dies."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver

from jobs.errors import WorkerDiedError
from jobs.runners.lifetime import leave_with_driver
from zoo.machine.threads import set_threads


def prepare(workers: int) -> None:
    """One mathematics thread; and start the imports of the worker processes, a second's work."""
    set_threads(1)
    if workers > 1:
        forkserver.set_forkserver_preload(["jobs.refit.slice"])
        forkserver.ensure_running()


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of `workers` processes; on leaving, what has not begun is dropped.

    Raises WorkerDiedError in place of what the pool says when a process of it is killed.
    """
    context = multiprocessing.get_context("forkserver")  # imports once, then forks
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise WorkerDiedError(
            "a worker process was killed (the kernel does this when memory runs out); the units "
            "written so far are whole: run the same command again, with fewer --workers if memory "
            "is short"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    # SIGTERM keeps its meaning: the pool ends the others with it when one dies
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver answers Ctrl-C
    leave_with_driver()
    set_threads(1)
