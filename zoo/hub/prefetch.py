"""Reading ahead: a thread fetches what will be wanted next while the caller computes.

The plan is a list of spans in the order in which they will be read. Blocks wait in a queue of
bounded size; a reader takes them in order, dropping what it skips. A reader that goes back, or
asks for something outside the plan, is told so and reads by itself.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zoo.errors import ZooError
from zoo.hub.ranges import ByteRange

QUEUE_BYTES = 128 * 2**20
"""Bytes that may have been fetched and not yet read: the memory of reading ahead."""
CLOSE_S = 5.0
"""Seconds that closing waits for the thread."""

Fetch = Callable[[str, ByteRange, Callable[[bytes], None]], None]
"""(file, range, sink): hands the bytes of the range to the sink, in order."""


@dataclass(frozen=True, slots=True)
class PlannedSpan:
    """One span of one file."""

    file: str
    range: ByteRange


@dataclass(frozen=True, slots=True)
class _Block:
    """Bytes that were fetched."""

    place: int
    """Position of their span in the plan."""
    start: int
    """Position of the first of them in the file."""
    data: bytes


class _StoppedError(Exception):
    """The prefetcher is being closed; never leaves this module."""


class Prefetcher:
    """Fetches a plan in a thread of its own. Close it; one reader at a time."""

    def __init__(
        self, plan: Sequence[PlannedSpan], fetch: Fetch, *, queue_bytes: int = QUEUE_BYTES
    ) -> None:
        self._plan = tuple(plan)
        self._fetch = fetch
        self._queue_bytes = queue_bytes
        self._blocks: deque[_Block] = deque()
        self._queued_bytes = 0
        self._changed = threading.Condition()
        self._is_done = False
        self._is_stopped = False
        self._error: BaseException | None = None
        self._passed = (0, -1)
        """(place, byte) up to which blocks have been handed out or dropped."""
        self._thread = threading.Thread(target=self._run, name="hub-prefetch", daemon=True)
        self._thread.start()

    def take(self, file: str, start: int, buffer: memoryview) -> int:
        """Fill the front of `buffer` with bytes from `start` on; how many there were.

        0 when the plan does not hold them or they have gone by. Waits for the thread; raises
        what it raised.
        """
        done = 0
        while done < len(buffer):
            at = start + done
            place = self._place(file, at)
            if place is None or (place, at) < self._passed:
                break
            block = self._wait_for(place, at)
            if block is None:
                break
            piece = memoryview(block.data)[at - block.start :][: len(buffer) - done]
            buffer[done : done + len(piece)] = piece
            done += len(piece)
            self._release(place, at + len(piece))
        return done

    def close(self) -> None:
        """Stop, and wait a moment for the thread; one that hangs in a stalled read or in a
        pause of the pacing ends by itself at its next byte."""
        with self._changed:
            self._is_stopped = True
            self._blocks.clear()
            self._changed.notify_all()
        self._thread.join(CLOSE_S)

    def _place(self, file: str, at: int) -> int | None:
        """Position in the plan of the span that holds byte `at`, of those still to come."""
        first = self._passed[0]
        for place in range(first, len(self._plan)):
            span = self._plan[place]
            if span.file == file and span.range.start <= at < span.range.end:
                return place
        return None

    def _wait_for(self, place: int, at: int) -> _Block | None:
        """The block that holds byte `at` of a span, dropping those before it."""
        with self._changed:
            while True:
                while self._blocks and not _reaches(self._blocks[0], place, at):
                    self._drop_first()
                if self._blocks:
                    first = self._blocks[0]
                    return first if first.place == place and first.start <= at else None
                if self._error is not None:
                    raise self._error
                if self._is_done or self._is_stopped:
                    return None
                self._changed.wait()

    def _release(self, place: int, upto: int) -> None:
        """The bytes of the span before `upto` have been handed out: drop what held them."""
        with self._changed:
            self._passed = (place, upto)
            while self._blocks and not _reaches(self._blocks[0], place, upto):
                self._drop_first()

    def _drop_first(self) -> None:
        self._queued_bytes -= len(self._blocks.popleft().data)
        self._changed.notify_all()

    def _run(self) -> None:
        """The thread: fetches the plan, and keeps what went wrong for the reader."""
        try:
            for place, span in enumerate(self._plan):
                self._fetch_span(place, span)
        except _StoppedError:
            return
        except (ZooError, OSError, MemoryError, RuntimeError) as err:
            with self._changed:
                self._error = err
        finally:
            with self._changed:
                self._is_done = True
                self._changed.notify_all()

    def _fetch_span(self, place: int, span: PlannedSpan) -> None:
        at = span.range.start

        def sink(data: bytes) -> None:
            nonlocal at
            with self._changed:
                while self._queued_bytes and self._queued_bytes + len(data) > self._queue_bytes:
                    if self._is_stopped:
                        raise _StoppedError
                    self._changed.wait()
                if self._is_stopped:
                    raise _StoppedError
                self._blocks.append(_Block(place, at, data))
                self._queued_bytes += len(data)
                at += len(data)
                self._changed.notify_all()

        self._fetch(span.file, span.range, sink)


def _reaches(block: _Block, place: int, at: int) -> bool:
    """Whether the block ends beyond byte `at` of span `place`, or lies in a later span."""
    return block.place > place or (block.place == place and block.start + len(block.data) > at)
