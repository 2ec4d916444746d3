"""Pacing of the Hub for all processes on this machine: it lives in a process of its own.

The Hub counts requests per token or address, not per process, so all workers and the driver share
one `HubPacing`. One that is lost costs pacing, never a model. Ray's workers share an actor:
`ray_pacing`.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from multiprocessing import get_context
from multiprocessing.managers import BaseManager
from typing import Any

from jobs.runners.lifetime import leave_with_driver
from zoo.hub.pacing import HubPacing, Pacing, Pause


class SharedPacing:
    """The pacing of this machine's workers; `pacing` goes to them. Close it when they are gone."""

    def __init__(self) -> None:
        # methods are added by register()
        manager: Any = _PacingManager(_address(), ctx=get_context("spawn"))
        manager.start(leave_with_driver)
        self._manager = manager
        self.pacing: Pacing = LossyPacing(manager.HubPacing())

    def close(self) -> None:
        """End its process."""
        self._manager.shutdown()


def _address() -> str | None:
    """Where its process listens: a name that is no file, as the path of a socket may have 107 bytes and a
    TMPDIR is longer at times. Who connects has to know the key that only this process and its children have."""
    if sys.platform != "linux":
        return None
    return f"\0zoo-pacing-{os.getpid()}-{secrets.token_hex(8)}"


class LossyPacing:
    """Asks a pacing in another process; without an answer nobody waits."""

    def __init__(self, pacing: Pacing) -> None:
        self._pacing = pacing

    def acquire(self, kind: str) -> float:
        """See `Pacing.acquire`."""
        try:
            return self._pacing.acquire(kind)
        except (EOFError, OSError):
            return 0.0

    def observe(self, kind: str, status: int, headers: Mapping[str, str]) -> None:
        """See `Pacing.observe`."""
        try:
            self._pacing.observe(kind, status, headers)
        except (EOFError, OSError):
            return

    def pauses(self) -> Mapping[str, Pause]:
        """See `Pacing.pauses`."""
        try:
            return self._pacing.pauses()
        except (EOFError, OSError):
            return {}


class _PacingManager(BaseManager):
    """Serves one pacing to other processes."""


_PacingManager.register("HubPacing", HubPacing, exposed=("acquire", "observe", "pauses"))
