"""Helper processes: real ones, which compute, fail, and die."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import pytest

from zoo.machine.helpers import Helpers


@pytest.fixture(scope="module")
def helpers() -> Iterator[Helpers]:
    two = Helpers(2)
    yield two
    two.close()


def doubled(values: Sequence[int], add: int) -> list[int]:
    return [2 * value + add for value in values]


def process_of(_: Sequence[int]) -> list[int]:
    return [os.getpid()]


def refuse(values: Sequence[int]) -> list[int]:
    raise ValueError(f"got {len(values)}")


def die_unless(parent: int) -> int:
    if os.getpid() != parent:
        os._exit(3)
    return parent


def shout(text: str) -> str:
    print(text)
    return text


def test_items_are_spread_and_come_back_in_order(helpers: Helpers) -> None:
    futures = helpers.spread(doubled, list(range(7)), 1)
    assert len(futures) == 2
    assert [value for future in futures for value in future.result()] == [1, 3, 5, 7, 9, 11, 13]


def test_helpers_are_other_processes(helpers: Helpers) -> None:
    assert helpers.submit(process_of, [1]).result()[0] != os.getpid()


def test_what_goes_wrong_is_raised_where_the_result_is_taken(helpers: Helpers) -> None:
    with pytest.raises(ValueError, match="got 3"):
        helpers.submit(refuse, [1, 2, 3]).result()
    assert helpers.submit(doubled, [1], 0).result() == [2]


def test_a_helper_that_dies_loses_nothing(helpers: Helpers) -> None:
    assert helpers.submit(die_unless, os.getpid()).result() == os.getpid()
    assert helpers.submit(doubled, [4], 0).result() == [8]


def test_what_a_task_prints_does_not_enter_its_result(helpers: Helpers) -> None:
    assert helpers.submit(shout, "hello").result() == "hello"


def test_without_helpers_tasks_are_done_at_once() -> None:
    none = Helpers(0)
    assert none.submit(process_of, []).result() == [os.getpid()]
    assert none.spread(doubled, [], 1) == []
    with pytest.raises(ValueError, match="got 0"):
        none.submit(refuse, []).result()


def test_what_helpers_do_needs_no_torch(helpers: Helpers) -> None:
    assert helpers.submit(torch_is_loaded).result() is False


def torch_is_loaded() -> bool:
    import sys

    import zoo.measure.fits  # noqa: F401  what a batch gives them

    return "torch" in sys.modules
