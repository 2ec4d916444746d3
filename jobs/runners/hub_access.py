"""What a process needs to be polite to a Hub. The Hub client, slow to import, is loaded by those
who use it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.hub.client import HubOptions
    from zoo.hub.pacing import Pacing


@dataclass(frozen=True, slots=True)
class HubAccess:
    """The way of a runner's processes to a Hub; picklable, and without a token."""

    pacing: Pacing
    """Shared by all processes of the runner and by the driver."""
    options: HubOptions
    """The driver's: its workers are as patient as it is."""

    def use(self) -> None:
        """From now on this process reaches the Hub by it."""
        from zoo.hub.session import configure

        configure(pacing=self.pacing, options=self.options)


@contextmanager
def driving(access: HubAccess | None) -> Iterator[None]:
    """While workers share a pacing, what the driver itself asks of a Hub is paced with them.

    Afterwards the driver has a pacing of its own again. None: there is no Hub to ask.
    """
    if access is None:
        yield
        return
    from zoo.hub.session import configure

    access.use()
    try:
        yield
    finally:
        configure(options=access.options)
