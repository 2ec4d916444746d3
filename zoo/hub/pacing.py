"""Pacing of Hub requests from the `RateLimit` headers the Hub sends with every reply.

The Hub counts requests in fixed windows, one budget for its API and one for file resolvers, shared
by all machines that use the same token or address. A `Pacing` is asked before each request how long
to wait, and told afterwards what the reply said. The same class serves one process (guarded by a
lock) or a whole cluster (inside an actor). Knows nothing of HTTP clients, retries or Ray.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal, Protocol

from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

RequestKind = Literal["api", "resolvers"]

FREE_SHARE = 0.5
"""This share of a window may be spent at once; the rest is spread over what is left of it."""
DEFAULT_WINDOW_S = 300.0
_SAME_PAUSE_S = 0.5
"""A pause that ends at most so many seconds after one that is known is the same one."""


class Pacing(Protocol):
    """What a client asks before and tells after each request."""

    def acquire(self, kind: str) -> float:
        """Book one request; the seconds to wait before sending it, >= 0."""

    def observe(self, kind: str, status: int, headers: Mapping[str, str]) -> None:
        """What the Hub said with a reply: status and headers (names in any case)."""

    def pauses(self) -> Mapping[str, Pause]:
        """The last pause that was asked for, by kind; empty where nobody can tell."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A wait that the Hub asked for."""

    number: int
    """How many pauses of this kind of requests there have been, this one included."""
    wait_s: float
    """Seconds, from when it was asked for."""


@dataclass(slots=True)
class _Budget:
    """One class of requests, as far as it is known. Times are of the clock of its `HubPacing`."""

    left: float
    """Requests left in this window; negative: booked into the following ones."""
    quota: float
    """Requests in one window, > 0."""
    window_s: float
    resets_at: float
    next_slot: float = 0.0
    """When the next paced request may go."""
    told_until: float = 0.0
    """The end of the window that somebody was told to wait for."""


class HubPacing:
    """A `Pacing` for everything that holds a reference to it. Safe to share between threads."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._budgets: dict[str, _Budget] = {}
        self._closed_until: dict[str, float] = {}
        self._pauses: dict[str, Pause] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def acquire(self, kind: str) -> float:
        """See `Pacing.acquire`. No wait for a kind the Hub has said nothing about yet."""
        with self._lock:
            now = self._clock()
            closed = max(0.0, self._closed_until.get(kind, now) - now)
            budget = self._budgets.get(kind)
            if budget is None:
                return closed
            booked = _book(budget, now)
            if budget.left < 0.0 and budget.told_until < budget.resets_at:
                budget.told_until = budget.resets_at
                self._note_pause(kind, budget.resets_at - now)
            return max(closed, booked)

    def pauses(self) -> Mapping[str, Pause]:
        """See `Pacing.pauses`."""
        with self._lock:
            return dict(self._pauses)

    def _note_pause(self, kind: str, wait_s: float) -> None:
        before = self._pauses.get(kind)
        self._pauses[kind] = Pause(1 if before is None else before.number + 1, wait_s)

    def observe(self, kind: str, status: int, headers: Mapping[str, str]) -> None:
        """See `Pacing.observe`."""
        info = parse_ratelimit_headers(headers)
        with self._lock:
            now = self._clock()
            if info is not None and info.limit is None and info.remaining < 1:
                # How much the next window allows is unknown: wait for it, then ask again.
                kind = info.resource_type
                self._close(kind, now, info.reset_in_seconds)
            elif info is not None:
                kind = info.resource_type
                seen = _Budget(
                    left=info.remaining,
                    quota=info.limit or max(info.remaining, 1),
                    window_s=info.window_seconds or DEFAULT_WINDOW_S,
                    resets_at=now + info.reset_in_seconds,
                )
                self._budgets[kind] = _merge(self._budgets.get(kind), seen, now)
            if status in {429, 503} and (wait := _retry_after(headers)) is not None:
                self._close(kind, now, wait)

    def _close(self, kind: str, now: float, wait_s: float) -> None:
        """No request of this kind for `wait_s` seconds from now."""
        before = self._closed_until.get(kind, now)
        self._closed_until[kind] = max(before, now + wait_s)
        if (
            now + wait_s > before + _SAME_PAUSE_S
        ):  # replies to requests that were under way say it again
            self._note_pause(kind, wait_s)


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that the reply to a refused request asks to wait: its Retry-After, else what is left of
    a window that is spent; None when it says nothing, or nothing that would take time."""
    wait = _retry_after(headers)
    if wait is None:
        info = parse_ratelimit_headers(headers)
        wait = info.reset_in_seconds if info is not None and info.remaining < 1 else None
    return float(wait) if wait else None


def _book(budget: _Budget, now: float) -> float:
    """Take one request out of the budget; the seconds to wait for it."""
    while now >= budget.resets_at:
        budget.left = budget.quota + min(budget.left, 0.0)
        late = max(1.0, (now - budget.resets_at) // budget.window_s)
        budget.resets_at += budget.window_s * late
        budget.next_slot = 0.0
    budget.left -= 1.0
    if budget.left < 0.0:
        windows_on = (-budget.left - 1.0) // budget.quota
        return budget.resets_at + windows_on * budget.window_s - now
    if budget.left >= (1.0 - FREE_SHARE) * budget.quota:
        return 0.0
    slot = max(now, budget.next_slot)
    budget.next_slot = slot + (budget.resets_at - slot) / (budget.left + 1.0)
    return slot - now


def _merge(known: _Budget | None, seen: _Budget, now: float) -> _Budget:
    """What is known after a reply. Replies arrive late and out of order, so that within a window
    the smaller number left is the truer one; the Hub rounds seconds up, hence the slack."""
    if known is None or seen.resets_at > known.resets_at + max(2.0, 0.1 * seen.window_s):
        return seen
    seen.left = min(known.left, seen.left)
    seen.resets_at = max(known.resets_at, now) if seen.left < 0 else seen.resets_at
    seen.next_slot = known.next_slot
    seen.told_until = known.told_until
    return seen


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds asked for by a Retry-After header (number or date), at least 0."""
    value = next((v for k, v in headers.items() if k.lower() == "retry-after"), "").strip()
    if value.isdigit():
        return float(min(int(value[:9]), 86_400))
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
