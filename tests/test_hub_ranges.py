"""The coalescer: it covers what is wanted, within its limits, in few spans."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.hub.ranges import ByteRange, coalesce, holds, union, whole_or_spans

RANGES = st.lists(
    st.builds(lambda s, n: ByteRange(s, s + n), st.integers(0, 3000), st.integers(0, 300)),
    max_size=25,
)


def bytes_of(ranges: tuple[ByteRange, ...] | list[ByteRange]) -> set[int]:
    """The slow oracle: the set of byte numbers."""
    return {i for r in ranges for i in range(r.start, r.end)}


@given(RANGES)
def test_a_union_holds_the_same_bytes_in_disjoint_ranges(wanted: list[ByteRange]) -> None:
    joined = union(wanted)
    assert bytes_of(joined) == bytes_of(wanted)
    assert sum(r.length for r in joined) == len(bytes_of(wanted))
    assert all(a.end < b.start for a, b in itertools.pairwise(joined))


@given(RANGES, st.integers(0, 3300), st.integers(1, 50))
def test_a_union_knows_what_it_holds(wanted: list[ByteRange], start: int, length: int) -> None:
    asked = set(range(start, start + length))
    assert holds(union(wanted), start, start + length) == (asked <= bytes_of(wanted))


@settings(max_examples=200)
@given(RANGES, st.integers(1, 500), st.floats(0.0, 0.5), st.integers(1, 2000))
def test_spans_cover_what_is_wanted_within_every_limit(
    wanted: list[ByteRange], max_gap: int, overhead: float, max_span: int
) -> None:
    spans = coalesce(wanted, max_gap=max_gap, max_overhead=overhead, max_span=max_span)
    fetched, asked = bytes_of(spans), bytes_of(wanted)
    assert fetched >= asked
    assert sum(s.length for s in spans) == len(fetched) <= (1 + overhead) * len(asked) + 1e-9
    assert all(0 < s.length <= max_span for s in spans)
    assert list(spans) == sorted(spans)
    extra = sorted(fetched - asked)
    runs = sum(b != a + 1 for a, b in zip([-2, *extra], extra, strict=False))
    assert len(extra) <= max(0, max_gap - 1) * max(runs, 1)


@given(RANGES)
def test_without_limits_on_gaps_there_is_one_span(wanted: list[ByteRange]) -> None:
    spans = coalesce(wanted, max_gap=10**9, max_overhead=1e9, max_span=10**9)
    assert len(spans) == (1 if bytes_of(wanted) else 0)


@given(RANGES)
def test_more_overhead_never_gives_more_spans(wanted: list[ByteRange]) -> None:
    counts = [
        len(coalesce(wanted, max_gap=10**9, max_overhead=o, max_span=10**9))
        for o in (0.0, 0.02, 0.2, 2.0)
    ]
    assert counts == sorted(counts, reverse=True)


def test_the_defaults_cut_large_tensors_and_skip_large_gaps() -> None:
    mib = 2**20
    spans = coalesce([ByteRange(0, 300 * mib), ByteRange(302 * mib, 310 * mib)])
    assert [s.length // mib for s in spans] == [128, 128, 44, 8]


def test_a_file_wanted_nearly_whole_comes_as_one_span() -> None:
    assert whole_or_spans([ByteRange(10, 1000)], size=1005) == (ByteRange(0, 1005),)
    assert whole_or_spans([ByteRange(10, 500)], size=1005) == (ByteRange(10, 500),)
    assert whole_or_spans([], size=0) == ()
