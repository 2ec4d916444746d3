"""One mathematics thread a worker, set explicitly.

With default threads and a busy neighbour an eigenvalue solve was seen to take a hundred times longer, so
every process that computes calls `set_threads` before its first matrix.
"""

from __future__ import annotations

import os
import sys

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
