"""One mathematics thread a worker, set explicitly.

With default threads and a busy neighbour an eigenvalue solve was seen to take a hundred times longer, so
every process that computes calls `set_threads` before its first matrix.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""Variables of the environment from which libraries take their number of threads when loaded."""


def export_threads(count: int) -> None:
    """Set the environment so that libraries loaded later, and child processes, use `count` threads."""
    for variable in _VARIABLES:
        os.environ[variable] = str(count)


def set_threads(count: int) -> None:
    """Set torch, OpenBLAS, MKL and OpenMP to `count` threads in this process.

    A library that is loaded later reads the environment. Torch, which takes seconds to load, is not
    loaded for this.
    """
    from threadpoolctl import threadpool_limits

    export_threads(count)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(count)
    threadpool_limits(limits=count)


@contextmanager
def one_thread_each() -> Iterator[Callable[[], None]]:
    """Within, each of several threads that compute has one mathematics thread: libraries are limited, and what is
    given is to be called at the start of each thread, for torch. Afterwards all is as before."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    with threadpool_limits(limits=1):
        try:
            yield lambda: torch.set_num_threads(1)
        finally:
            torch.set_num_threads(before)
