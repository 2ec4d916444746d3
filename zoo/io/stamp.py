"""What the file system says of a file: equal stamps mean equal bytes, once the file has settled."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

SETTLING_S = 2.0
"""A file that is changed twice within one tick of the file system's clock keeps its stamp; the
coarsest clocks in use tick every 2 s."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Changes with every write, also when a program sets the time of the last write back."""

    size: int
    """Bytes."""
    mtime_ns: int
    """Time of the last write, as programs like to set it."""
    ctime_ns: int
    """Time of the last change of bytes or attributes, which no program can set."""
    inode: int
    """Another one when the file was replaced."""

    @classmethod
    def of(cls, seen: os.stat_result) -> Stamp:
        """The stamp in the answer of `os.stat` or `os.fstat`."""
        return cls(seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino)

    @property
    def is_settled(self) -> bool:
        """True when the last change is long enough ago for the next one to give another stamp."""
        return time.time_ns() - self.ctime_ns > SETTLING_S * 1e9
