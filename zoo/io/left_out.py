"""What is not read: which files, how large, and why. Nothing is left out in silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

AGAIN: Final = "another "
"""What the reason of a tensor starts with that holds again what a measured one holds."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that could hold weights, or the model card, and that is not read."""

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


def is_set_aside(reason: str | None) -> bool:
    """True for the reason of a tensor that holds again what another one holds."""
    return (reason or "").startswith(AGAIN)


def set_aside_in_one_line(counts: Mapping[str, int]) -> str:
    """`N tensors not measured: why: M; ...` for one line; empty when there are none.

    `counts` gives the number of tensors by reason; reasons that `is_set_aside` denies are not told.
    """
    told = {reason: count for reason, count in counts.items() if is_set_aside(reason)}
    num = sum(told.values())
    tensors = "tensor" if num == 1 else "tensors"
    reasons = "; ".join(f"{reason}: {count}" for reason, count in told.items())
    return f"{num} {tensors} not measured: {reasons}" if told else ""
