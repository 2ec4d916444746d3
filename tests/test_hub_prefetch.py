"""Reading ahead, without a Hub: a fake that hands out counted blocks."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.errors import TransientError
from zoo.hub.prefetch import PlannedSpan, Prefetcher
from zoo.hub.ranges import ByteRange

DATA = {name: bytes((i * 7 + ord(name)) % 256 for i in range(1000)) for name in "abc"}


class FakeFetch:
    """Serves `DATA` in blocks of a given size; fails at a given file."""

    def __init__(self, block: int, fails_at: str | None = None) -> None:
        self.block, self.fails_at = block, fails_at
        self.fetched = 0

    def __call__(self, file: str, span: ByteRange, sink: Callable[[bytes], None]) -> None:
        if file == self.fails_at:
            raise TransientError("as told")
        for at in range(span.start, span.end, self.block):
            data = DATA[file][at : min(at + self.block, span.end)]
            self.fetched += len(data)
            sink(data)


def take(prefetcher: Prefetcher, file: str, start: int, length: int) -> bytes:
    buffer = bytearray(length)
    return bytes(buffer[: prefetcher.take(file, start, memoryview(buffer))])


@settings(max_examples=100, deadline=None)
@given(
    block=st.integers(1, 300),
    queue=st.integers(1, 500),
    reads=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 999), st.integers(1, 200)), max_size=12
    ),
)
def test_whatever_is_delivered_is_right(
    block: int, queue: int, reads: list[tuple[str, int, int]]
) -> None:
    plan = [PlannedSpan(n, ByteRange(s, s + 300)) for n in "abc" for s in (0, 500)]
    prefetcher = Prefetcher(plan, FakeFetch(block), queue_bytes=queue)
    for file, start, length in reads:
        got = take(prefetcher, file, start, length)
        assert got == DATA[file][start : start + len(got)]
    prefetcher.close()


@settings(max_examples=50, deadline=None)
@given(block=st.integers(1, 300), queue=st.integers(1, 500), step=st.integers(1, 400))
def test_a_reader_that_keeps_to_the_plan_gets_everything(block: int, queue: int, step: int) -> None:
    plan = [PlannedSpan(n, ByteRange(100, 900)) for n in "abc"]
    prefetcher = Prefetcher(plan, FakeFetch(block), queue_bytes=queue)
    for name in "abc":
        for start in range(100, 900, step):
            length = min(step, 900 - start)
            assert take(prefetcher, name, start, length) == DATA[name][start : start + length]
    prefetcher.close()


def test_fetching_goes_on_while_nobody_reads_and_stops_at_its_bound() -> None:
    fetch = FakeFetch(10)
    prefetcher = Prefetcher([PlannedSpan("a", ByteRange(0, 1000))], fetch, queue_bytes=200)
    for _ in range(500):
        if fetch.fetched >= 200:
            break
        threading.Event().wait(0.01)
    threading.Event().wait(0.05)
    assert 200 <= fetch.fetched <= 210
    prefetcher.close()


def test_an_error_is_raised_after_the_bytes_before_it() -> None:
    plan = [PlannedSpan("a", ByteRange(0, 100)), PlannedSpan("b", ByteRange(0, 100))]
    prefetcher = Prefetcher(plan, FakeFetch(50, fails_at="b"))
    assert take(prefetcher, "a", 0, 100) == DATA["a"][:100]
    with pytest.raises(TransientError, match="as told"):
        take(prefetcher, "b", 0, 10)
    prefetcher.close()


def test_what_is_not_planned_or_gone_by_is_left_to_the_reader() -> None:
    prefetcher = Prefetcher([PlannedSpan("a", ByteRange(100, 200))], FakeFetch(10))
    assert take(prefetcher, "b", 100, 10) == b""
    assert take(prefetcher, "a", 250, 10) == b""
    assert take(prefetcher, "a", 150, 100) == DATA["a"][150:200]
    assert take(prefetcher, "a", 100, 10) == b""
    prefetcher.close()
