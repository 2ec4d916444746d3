"""Requests to the Hub that wait or are tried again, told to whoever listens in this process.

Imports no Hub client, so that a command can say who listens before it knows whether it needs a Hub.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

_LOG = logging.getLogger("zoo.hub")


@dataclass(frozen=True, slots=True)
class Retry:
    """A request has failed for a reason that passes by itself, and will be sent again."""

    attempt: int
    """Number of the try to come; the first retry is try 2."""
    wait_s: float
    """Seconds until then, >= 0."""
    error: Exception
    """Why the try before it failed."""

    def __str__(self) -> str:
        return f"try {self.attempt} in {self.wait_s:.1f} s: {self.error}"


@dataclass(frozen=True, slots=True)
class HubWait:
    """The Hub has asked for a pause, and it is kept."""

    wait_s: float
    """Seconds from now."""

    def __str__(self) -> str:
        return f"the Hub asks to wait {self.wait_s:.0f} s"


Listener = Callable[[Retry | HubWait], None]


def _log(event: Retry | HubWait) -> None:
    _LOG.info("%s", event)


class _Told:
    """Who is told. One instance, changed by `tell_retries_to` alone."""

    def __init__(self) -> None:
        self.listener: Listener = _log


_TOLD = _Told()


def tell_retries_to(listener: Listener | None) -> None:
    """From now on `listener` hears of every retry of this process, and of every pause that the Hub asks
    for, from the thread that waits.

    It takes the place of the listener before it; None: the log of `zoo.hub`, at INFO.
    """
    _TOLD.listener = listener or _log


def tell(event: Retry | HubWait) -> None:
    """Tell the listener."""
    _TOLD.listener(event)
