"""Requests a client may make in a window of time, as the Hub counts and announces them."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A fixed window of requests, as the Hub announces it."""

    quota: int
    """Requests in one window."""
    window_s: float = 300.0
    """Seconds of one window."""


class Window:
    """The count of one kind of request."""

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self._used = 0

    def spend(self, kind: str) -> tuple[bool, dict[str, str]]:
        """Count one request; whether it is within the limit, and the headers that say so."""
        quota, window = self._limit.quota, self._limit.window_s
        with self._lock:
            now = time.monotonic()
            if now - self._start >= window:
                self._start, self._used = now, 0
            within = self._used < quota
            self._used += within
            left, reset = quota - self._used, self._start + window - now
        return within, {
            "RateLimit": f'"{kind}";r={left};t={max(0, round(reset + 0.5))}',
            "RateLimit-Policy": f'"fixed window";"{kind}";q={quota};w={round(window)}',
        }
