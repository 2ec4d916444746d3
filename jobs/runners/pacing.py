"""How the processes of a pool reach the Hub: one gate for all, and the patience of the driver.

The Hub counts requests per token or address, not per process, so all workers and the driver share a
`HubGate`. On one machine it lives in a process of its own, on Ray it is a named actor (`jobs.runners.ray`). A gate
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
from zoo.hub.pacing import HubGate

if TYPE_CHECKING:
    from zoo.hub.pacing import Gate


@contextmanager
def driving(access: HubAccess) -> Iterator[None]:
    """The driver asks the same gate as its workers, until the runner is closed."""
    from zoo.hub.session import configure

    configure(gate=access.gate, options=access.options)
    try:
        yield
    finally:
        configure(options=access.options)


class SharedGate:
    """A gate for this machine; `gate` goes to the workers. Close it when they are gone."""

    def __init__(self) -> None:
        manager: Any = _GateManager(ctx=get_context("spawn"))  # methods are added by register()
        manager.start(leave_with_driver)
        self._manager = manager
        self.gate: Gate = LossyGate(manager.HubGate())

    def close(self) -> None:
        """End the gate's process."""
        self._manager.shutdown()


class LossyGate:
    """Asks a gate in another process; without an answer nobody waits."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def acquire(self, kind: str) -> float:
        """See `Gate.acquire`."""
        try:
            return self._gate.acquire(kind)
        except (EOFError, OSError):
            return 0.0

    def observe(self, kind: str, status: int, headers: Mapping[str, str]) -> None:
        """See `Gate.observe`."""
        try:
            self._gate.observe(kind, status, headers)
        except (EOFError, OSError):
            return


class _GateManager(BaseManager):
    """Serves one gate to other processes."""


_GateManager.register("HubGate", HubGate, exposed=("acquire", "observe"))
