"""Work for runners that has nothing to do with models: a task is a chore and a number."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import Literal

from jobs.runners.worker import Work
from zoo.errors import DeviceLostError

_PREPARED: list[int] = []


@dataclass(frozen=True)
class Chore:
    """What to do with `number`."""

    what: Literal["double", "prepared", "pid", "parse", "die", "sleep", "lose"]
    number: int = 0


def prepare() -> None:
    """Leave a mark in this process."""
    _PREPARED.append(os.getpid())


def do(chore: Chore) -> int:
    """A number of this chore."""
    if chore.what == "prepared":
        return len(_PREPARED)
    if chore.what == "parse":
        return int("x")
    if chore.what == "die":  # what the kernel does when memory runs out
        os.kill(os.getpid(), signal.SIGKILL)
    if chore.what == "lose":
        raise DeviceLostError("the accelerator answers no more")
    if chore.what == "sleep":
        time.sleep(chore.number)
    return os.getpid() if chore.what == "pid" else 2 * chore.number


CHORES = Work(prepare=prepare, run=do)
