"""Files that are not read: which, how large, and why. Nothing is left out in silence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that could hold weights, and that is not read."""

    file: str
    """Name within its store."""
    nbytes: int
    """Its size."""
    reason: str
    """Why it is not read."""


def in_one_line(left_out: Sequence[LeftOut], *, most: int = 50) -> str:
    """`N files not read: a (why); b, c (why); ...` for one line; empty when all were read.

    Files with the same reason stand together. At most `most` files are named.
    """
    if not left_out:
        return ""
    by_reason: dict[str, list[str]] = {}
    for left in left_out[:most]:
        by_reason.setdefault(left.reason, []).append(left.file)
    named = "; ".join(f"{', '.join(files)} ({reason})" for reason, files in by_reason.items())
    more = f"; and {len(left_out) - most} more" if len(left_out) > most else ""
    files = "file" if len(left_out) == 1 else "files"
    return f"{len(left_out)} {files} not read: {named}{more}"
