"""What to say when there is no room for a file: which disk, how much is free, how much was wanted."""

from __future__ import annotations

import errno
import os
import resource


def size_text(nbytes: float) -> str:
    """`nbytes` for people: kB, MB or GB, of a thousand each."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if nbytes >= size:
            return f"{nbytes / size:.1f} {unit}"
    return f"{nbytes / 1e3:.1f} kB"


def no_room(number: int | None, path: str, nbytes: int | None) -> str:
    """The sentences after "cannot write `path`": why there is no room, and what to do.

    `number`: ENOSPC, EDQUOT or EFBIG. `nbytes`: what was to be written, where that is known.
    """
    wanted = "" if nbytes is None else f"; this write needs {size_text(nbytes)}"
    again = "run the same command again: it goes on, what is finished is kept"
    disk = _disk(path)
    if number == errno.EFBIG:
        limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        most = f" of {size_text(limit)}" if limit != resource.RLIM_INFINITY else ""
        return f"A file there may not be larger than the limit{most} (ulimit -f){wanted}. Raise it and {again}"
    if number == errno.EDQUOT:
        return f"The quota of this user on the disk {disk} is spent{wanted}. Free some space or raise it, and {again}"
    return f"The disk {disk} is full{_free(disk)}{wanted}. Free some space and {again}"


def _disk(path: str) -> str:
    """Where the file system that holds `path` is mounted."""
    place = os.path.realpath(path)
    while not os.path.ismount(place):
        place = os.path.dirname(place)
    return place


def _free(disk: str) -> str:
    try:
        stats = os.statvfs(disk)
    except OSError:
        return ""
    free, size = stats.f_bavail * stats.f_frsize, stats.f_blocks * stats.f_frsize
    return f" ({size_text(free)} of {size_text(size)} are free)"
