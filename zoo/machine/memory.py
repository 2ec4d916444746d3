"""How much memory a process may take, and whether an error says that there was too little.

The machine, the container it runs in, and the shell that started it each set a limit; the smallest counts.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
"""Where the limits of containers are mounted."""
_OWN_GROUPS = Path("/proc/self/cgroup")
"""Which of them this process is in."""


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """The most that can be had, and who says so."""

    nbytes: int
    set_by: str
    """For messages: `this machine`, `the container (cgroup)` or `ulimit -v`."""


def machine_limit() -> MemoryLimit:
    """What all processes here may take together: the machine's memory, or less in a container."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [MemoryLimit(total, "this machine")]
    limits += [MemoryLimit(nbytes, "the container (cgroup)") for nbytes in _cgroup_limits()]
    return min(limits, key=lambda limit: limit.nbytes)


def process_limit() -> MemoryLimit:
    """What this process alone may take: `machine_limit`, or less by `ulimit -v`."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    machine = machine_limit()
    if soft == resource.RLIM_INFINITY or soft >= machine.nbytes:
        return machine
    return MemoryLimit(soft, "ulimit -v")


def is_shortage(error: BaseException) -> bool:
    """True when `error` says that memory could not be had.

    torch raises RuntimeError on CPU and a class of its own on CUDA; numpy's is a MemoryError.
    """
    name = type(error).__name__
    return (
        isinstance(error, MemoryError)
        or name == "OutOfMemoryError"
        or (name == "RuntimeError" and "allocate memory" in str(error))
    )


def _cgroup_limits() -> Iterator[int]:
    """Limits in bytes of this process's control groups and all above them; none outside Linux."""
    if not sys.platform.startswith("linux"):
        return
    try:
        lines = _OWN_GROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, name = _CGROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = _CGROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        place = root / path.lstrip("/")
        # in a container the group's own folder may be mounted as the root of all
        for folder in (place, *place.parents):
            try:
                text = (folder / name).read_text().strip()
            except OSError:
                text = ""
            if text.isdigit():
                yield int(text)
            if folder == root:
                break
