"""The first contact with a Hub, for a person who waits: one try of a few seconds, then an answer.

A name that was mistyped, or a path that was forgotten, looks like a repository; on a machine without
network the usual patience would cost minutes before that is said. Inside `briefly()` an endpoint that
has not answered yet gets one try; once it has answered, it is asked with the patience of all others.
Imports no Hub client, so that a command can be brief before it knows whether it needs a Hub.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from zoo.errors import TransientError

T = TypeVar("T")
"""What a request gives back."""

FIRST_ANSWER_S: Final = 5.0
"""Seconds that a person waits for the first answer."""
_STAYS_KNOWN_S: Final = 300.0
"""Seconds for which an endpoint that answered is not greeted anew: as long as a window of its budget,
in which it may have asked us to wait."""


class Greeting:
    """The first contact with one endpoint. Safe to share between threads."""

    def __init__(self, endpoint: str, seconds: float | None = None) -> None:
        self.answered = False
        """True from the first response on, whatever its status."""
        self._endpoint = endpoint
        self._seconds = FIRST_ANSWER_S if seconds is None else seconds
        self._failure = ""
        self._lock = threading.Lock()

    def answer(self) -> None:
        """The endpoint has answered."""
        self.answered = True
        _KNOWN.answered_at[self._endpoint] = time.monotonic()

    def try_once(self, once: Callable[[], T]) -> T:
        """`once()`, in a thread of its own, as no time-out reaches a look-up of a host's name.

        TransientError when nothing was heard in time; and at once, when an earlier try failed.
        """
        with self._lock:
            if self._failure:
                raise TransientError(self._failure)
            ended: queue.SimpleQueue[tuple[T] | BaseException] = queue.SimpleQueue()
            threading.Thread(target=_run, args=(once, ended), daemon=True).start()
            try:
                outcome = self._wait(ended)
            except TransientError as error:
                self._failure = str(error)
                raise
            if isinstance(outcome, BaseException):
                if isinstance(outcome, TransientError) and not self.answered:
                    self._failure = str(outcome)
                raise outcome
            return outcome[0]

    def _wait(self, ended: queue.SimpleQueue[tuple[T] | BaseException]) -> tuple[T] | BaseException:
        try:
            return ended.get(timeout=self._seconds)
        except queue.Empty:
            if self.answered:  # it is there; its reply is long, or slow
                return ended.get()
        raise TransientError(
            f"{self._endpoint}: no answer in {self._seconds:g} s; check the network, the proxy and "
            "HF_ENDPOINT (`zoo doctor` tries them)"
        )


def _run(once: Callable[[], T], ended: queue.SimpleQueue[tuple[T] | BaseException]) -> None:
    try:
        ended.put((once(),))
    except BaseException as error:  # raised again by the thread that waits
        ended.put(error)


class _Known:
    """What this process knows of endpoints. One instance, changed here alone."""

    def __init__(self) -> None:
        self.greetings: dict[str, Greeting] | None = None
        self.answered_at: dict[str, float] = {}


_KNOWN = _Known()


@contextmanager
def briefly() -> Iterator[None]:
    """While inside, endpoints that have not answered yet get one try of `FIRST_ANSWER_S`."""
    before = _KNOWN.greetings
    _KNOWN.greetings = {} if before is None else before
    try:
        yield
    finally:
        _KNOWN.greetings = before


def greeting_of(endpoint: str) -> Greeting | None:
    """The greeting that an endpoint is owed; None outside `briefly()`, and where it is known."""
    answered_at = _KNOWN.answered_at.get(endpoint)
    if _KNOWN.greetings is None:
        return None
    if answered_at is not None and time.monotonic() - answered_at < _STAYS_KNOWN_S:
        return None
    return _KNOWN.greetings.setdefault(endpoint, Greeting(endpoint))
