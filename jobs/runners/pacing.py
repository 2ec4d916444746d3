"""How the processes of a pool reach the Hub: one pacing for all, and the patience of the driver.

The Hub counts requests per token or address, not per process, so all workers and the driver share a
`HubPacing`. On one machine it lives in a process of its own, on Ray it is a named actor (`jobs.runners.ray`). A pacing
that is lost costs pacing, never a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.managers import BaseManager
from typing import TYPE_CHECKING, Any

from jobs.runners.lifetime import leave_with_driver
from jobs.units.unit import HubAccess
from zoo.hub.pacing import HubPacing

if TYPE_CHECKING:
    from zoo.hub.pacing import Pacing


@contextmanager
def driving(access: HubAccess) -> Iterator[None]:
    """The driver asks the same pacing as its workers, until the runner is closed."""
    from zoo.hub.session import configure

    configure(pacing=access.pacing, options=access.options)
    try:
        yield
    finally:
        configure(options=access.options)


class SharedPacing:
    """A pacing for this machine; `pacing` goes to the workers. Close it when they are gone."""

    def __init__(self) -> None:
        manager: Any = _PacingManager(ctx=get_context("spawn"))  # methods are added by register()
        manager.start(leave_with_driver)
        self._manager = manager
        self.pacing: Pacing = LossyPacing(manager.HubPacing())

    def close(self) -> None:
        """End the pacing's process."""
        self._manager.shutdown()


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


class _PacingManager(BaseManager):
    """Serves one pacing to other processes."""


_PacingManager.register("HubPacing", HubPacing, exposed=("acquire", "observe"))
