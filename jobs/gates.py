"""One gate to the Hub for all workers of a pool on this machine.

The Hub counts requests per token or address, not per process, so the workers share a `HubGate` that lives in
a process of its own. (On Ray it is a named actor: see `jobs.cluster`.)
"""

from __future__ import annotations

from multiprocessing.managers import BaseManager
from typing import TYPE_CHECKING, Any

from zoo.hub.gate import HubGate

if TYPE_CHECKING:
    from zoo.hub.gate import Gate


class _GateManager(BaseManager):
    """Serves one gate to other processes."""


_GateManager.register("HubGate", HubGate, exposed=("acquire", "observe"))


class SharedGate:
    """A gate for this machine; `proxy` goes to the workers. Close it when they are gone."""

    def __init__(self) -> None:
        manager: Any = _GateManager()  # methods are added by register()
        manager.start()
        self._manager = manager
        self.proxy: Gate = manager.HubGate()

    def close(self) -> None:
        """End the gate's process."""
        self._manager.shutdown()
