"""Large arrays go back to the system as soon as they are freed.

glibc raises the size from which an array gets pages of its own as arrays are freed, up to 32 MiB; below it
they leave holes in the heap that the next, larger one does not fit, and a worker's peak grows by a third.
"""

from __future__ import annotations

import ctypes
import sys

_M_MMAP_THRESHOLD = -3
"""The option of `mallopt` that sets the threshold, as glibc's malloc.h numbers it."""
_THRESHOLD_BYTES = 4 << 20
"""Arrays from this size on get pages of their own. Fresh pages cost 0.25 ms a MiB: with 1 MiB an
analysis of small layers took a tenth longer."""


def return_large_arrays() -> bool:
    """Fix the threshold at 4 MiB in this process; False where the C library is not glibc."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES))
