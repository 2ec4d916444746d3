"""Locations that misbehave in a worker: what a real sweep meets, on purpose."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from zoo.errors import DeviceLostError, TransientError
from zoo.io.local import LocalLocation
from zoo.io.store import Store


@dataclass(frozen=True)
class Trouble:
    """Does `what` each time a worker opens it, `times` times in all; then it is the folder `then`.

    The driver, which looks for equal weights, learns nothing of it.
    """

    what: str
    counter: str
    then: str
    times: int = 1_000_000
    driver: int = field(default_factory=os.getpid)
    """Process that made it."""

    def count(self) -> int:
        """How often it has been opened before, counted in a file: workers come and go."""
        with open(self.counter, "a") as file:
            file.write("x")
        return Path(self.counter).stat().st_size

    def open(self) -> Store:
        """See `Location.open`; or what `what` says."""
        if os.getpid() == self.driver:
            raise TransientError("503 from the Hub")
        if self.count() <= self.times:
            if self.what == "crash":
                os._exit(7)
            if self.what == "hang":
                time.sleep(600)
            if self.what == "transient":
                raise TransientError("503 from the Hub")
            if self.what == "lost card":
                raise DeviceLostError("the accelerator answers no more")
            if self.what == "memory":
                raise MemoryError
            raise ValueError("a bug of ours")
        return LocalLocation.of(self.then, model_id="local/troubled").open()
