"""Pacing from RateLimit headers, against a Hub that counts."""

from __future__ import annotations

import itertools
import pickle
import random
import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.hub.pacing import HubPacing, Pause, asked_wait


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def limit(kind: str, left: int, reset: int, quota: int, window: int = 300) -> dict[str, str]:
    """Headers as the Hub sends them."""
    return {
        "RateLimit": f'"{kind}";r={left};t={reset}',
        "ratelimit-policy": f'"fixed window";"{kind}";q={quota};w={window}',
    }


class CountingHub:
    """The oracle: a fixed window that refuses what goes beyond its quota."""

    def __init__(self, clock: Callable[[], float], quota: int, window: float) -> None:
        self.clock, self.quota, self.window = clock, quota, window
        self.start, self.used, self.refused = clock(), 0, 0

    def request(self) -> tuple[int, dict[str, str]]:
        while self.clock() >= self.start + self.window:
            self.start, self.used = self.start + self.window, 0
        reset = int(self.start + self.window - self.clock()) + 1
        if self.used >= self.quota:
            self.refused += 1
            return 429, limit("api", 0, reset, self.quota, int(self.window))
        self.used += 1
        return 200, limit("api", self.quota - self.used, reset, self.quota, int(self.window))


def test_an_unknown_kind_does_not_wait() -> None:
    assert HubPacing().acquire("api") == 0.0


def test_a_spent_window_waits_for_its_end() -> None:
    pacing = HubPacing(clock=Clock())
    pacing.observe("api", 200, limit("api", 0, 55, 500))
    assert pacing.acquire("api") == pytest.approx(55.0)


def test_the_kinds_have_budgets_of_their_own() -> None:
    pacing = HubPacing(clock=Clock())
    pacing.observe("api", 200, limit("resolvers", 0, 55, 500))  # the header says which it is
    assert pacing.acquire("api") == 0.0
    assert pacing.acquire("resolvers") > 0.0


def test_a_late_reply_does_not_give_requests_back() -> None:
    pacing = HubPacing(clock=Clock())
    pacing.observe("api", 200, limit("api", 1, 50, 500))
    pacing.observe("api", 200, limit("api", 400, 50, 500))
    assert pacing.acquire("api") < 50.0
    assert pacing.acquire("api") == pytest.approx(50.0)


def test_retry_after_stops_all_requests_for_its_time() -> None:
    clock = Clock()
    pacing = HubPacing(clock=clock)
    pacing.observe("api", 503, {"Retry-After": "7"})
    assert pacing.acquire("api") == pytest.approx(7.0)
    clock.now += 8.0
    assert pacing.acquire("api") == 0.0


@pytest.mark.parametrize("value", ["", "soon", "-3", "9" * 40, "Wed, 99 Foo 2015 07:28:00 GMT"])
def test_odd_retry_after_values_are_survived(value: str) -> None:
    pacing = HubPacing()
    pacing.observe("api", 429, {"Retry-After": value})
    assert 0.0 <= pacing.acquire("api") <= 86_400.0


def test_a_date_in_retry_after_in_the_past_closes_nothing() -> None:
    pacing = HubPacing()
    pacing.observe("api", 429, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"})
    assert pacing.acquire("api") < 0.1


def test_the_second_half_of_a_window_is_spread_out() -> None:
    pacing = HubPacing(clock=Clock())
    pacing.observe("api", 200, limit("api", 100, 300, 200))
    waits = [pacing.acquire("api") for _ in range(100)]
    gaps = [b - a for a, b in itertools.pairwise(waits)]
    assert min(gaps) == pytest.approx(max(gaps), rel=0.05)
    assert waits[-1] < 300.0


@settings(max_examples=60, deadline=None)
@given(
    quota=st.integers(2, 60),
    window=st.integers(5, 300),
    num=st.integers(1, 400),
    seed=st.integers(0, 2**16),
)
def test_one_caller_is_never_refused_after_the_first_reply(
    quota: int, window: int, num: int, seed: int
) -> None:
    rng, clock = random.Random(seed), Clock()
    pacing, hub = HubPacing(clock=clock), CountingHub(clock, quota, window)
    for _ in range(num):
        clock.now += pacing.acquire("api") + rng.random() * 0.5
        pacing.observe("api", *hub.request())
    # the windows of the Hub and of its pacing may differ by the second that the Hub rounds up
    assert hub.refused <= 1 + num // (2 * quota)
    assert clock.now - 1000.0 <= (num / quota + 3) * (window + 2) + num


def test_many_callers_stay_within_the_quota() -> None:
    clock = Clock()
    pacing, hub = HubPacing(clock=clock), CountingHub(clock, 50, 60)
    pacing.observe("api", *hub.request())
    due = sorted(clock.now + pacing.acquire("api") for _ in range(300))
    for at in due:
        clock.now = max(clock.now, at)
        hub.request()
    assert hub.refused == 0


def test_threads_share_one_budget() -> None:
    pacing = HubPacing(clock=Clock())
    pacing.observe("api", 200, limit("api", 40, 100, 1000))
    waits: list[float] = []

    def work() -> None:
        waits.extend(pacing.acquire("api") for _ in range(10))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(w < 100.0 for w in waits) == 40


def test_a_pacing_can_be_pickled() -> None:
    pacing = pickle.loads(pickle.dumps(HubPacing()))
    assert pacing.acquire("api") == 0.0


def test_a_spent_window_of_unknown_size_only_pauses() -> None:
    clock = Clock()
    pacing = HubPacing(clock=clock)
    pacing.observe("api", 429, {"RateLimit": '"api";r=0;t=5'})
    assert pacing.acquire("api") == pytest.approx(5.0)
    clock.now += 5.0
    assert [pacing.acquire("api") for _ in range(50)] == [0.0] * 50


def test_each_pause_that_is_asked_for_is_counted_once() -> None:
    clock = Clock()
    pacing = HubPacing(clock=clock)
    assert pacing.pauses() == {}
    pacing.observe("api", 429, {"Retry-After": "5"})
    clock.now += 0.2  # a request that was under way hears the same
    pacing.observe("api", 429, {"Retry-After": "5"})
    assert pacing.pauses() == {"api": Pause(1, 5.0)}
    clock.now += 6.0
    pacing.observe("api", 429, {"Retry-After": "3"})
    assert pacing.pauses() == {"api": Pause(2, 3.0)}


def test_a_window_that_is_spent_is_a_pause_for_whoever_comes_next() -> None:
    pacing = HubPacing(clock=Clock())
    pacing.observe("api", 200, limit("api", 1, 55, 500))
    assert pacing.acquire("api") < 55.0 and pacing.pauses() == {}
    for _ in range(3):
        pacing.acquire("api")
    assert pacing.pauses() == {"api": Pause(1, 55.0)}


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "7", "RateLimit": '"api";r=0;t=200'}, 7.0),
        ({"RateLimit": '"api";r=0;t=200'}, 200.0),
        ({"RateLimit": '"api";r=3;t=200'}, None),
        ({"retry-after": "0"}, None),
        ({}, None),
    ],
    ids=["seconds", "both", "spent", "not-spent", "zero", "nothing"],
)
def test_what_a_refusal_asks_for(headers: dict[str, str], wait_s: float | None) -> None:
    assert asked_wait(headers) == wait_s
