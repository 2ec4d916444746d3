"""The queue and the retry policy, over values alone."""

from __future__ import annotations

import pytest

from jobs.runners.outcome import Died, Finished, Outcome, Raised
from jobs.runners.retry import Again, Attempts, GiveUp, decide
from jobs.runners.schedule import Schedule, UnitDone, UnitFailed
from jobs.sources.target import Target
from jobs.units.unit import Task, Unit, unit_of
from zoo.options import AnalysisOptions, LayerSelection

GIB = 2**30
Names = tuple[str, ...]
Sched = Schedule[Unit, Task, Names]


def unit(name: str) -> Unit:
    return unit_of(Target(name, "0" * 40, None, "test"), AnalysisOptions(), LayerSelection())


def task(name: str, *, peak: int = GIB) -> Task:
    return Task(unit(name), peak_bytes=peak)


def finished(*names: str) -> Finished[Names]:
    return Finished(names)


def raised(cause: str) -> Raised:
    return Raised(cause, "SomeError", "it broke", "traceback")


def schedule(*tasks: Task, memory: int = 8 * GIB) -> Sched:
    made: Sched = Schedule(memory_bytes=memory, retries=1)
    for one in tasks:
        made.add(one.unit, (one,))
    return made


def start_two(made: Sched) -> None:
    assert made.next(0.0) is not None
    assert made.next(0.0) is not None


def end(
    made: Sched, one: Task, outcome: Outcome[Names], now: float = 0.0
) -> UnitDone[Unit, Names] | UnitFailed[Unit] | None:
    return made.ended(one, outcome, now)


@pytest.mark.parametrize("cause", ["data", "hub_permanent", "changed"])
def test_a_fault_of_the_data_is_final_at_once(cause: str) -> None:
    assert decide(raised(cause), Attempts(), retries=5) == GiveUp(cause, 1)


@pytest.mark.parametrize("outcome", [raised("hub_transient"), Died("node", "its node has died")])
def test_faults_of_hub_and_nodes_do_not_count_against_the_model(outcome: Raised | Died) -> None:
    attempts = Attempts()
    for _ in range(10):
        verdict = decide(outcome, attempts, retries=0)
        assert isinstance(verdict, Again)
        attempts = verdict.attempts
    assert attempts.counted == 0
    assert isinstance(decide(outcome, attempts, retries=0), GiveUp)


def test_a_task_that_kills_its_worker_runs_alone_and_then_is_poison() -> None:
    verdict = decide(Died("crash", "SIGSEGV"), Attempts(), retries=1)
    assert isinstance(verdict, Again) and verdict.attempts.alone
    assert decide(Died("crash", "SIGSEGV"), verdict.attempts, retries=1) == GiveUp("poison", 2)


def test_running_out_of_memory_is_tried_again_alone() -> None:
    verdict = decide(Died("memory", "OOM"), Attempts(), retries=1)
    assert isinstance(verdict, Again) and verdict.attempts.alone


def test_a_bug_gets_one_more_try() -> None:
    verdict = decide(raised("bug"), Attempts(), retries=1)
    assert isinstance(verdict, Again) and not verdict.attempts.alone
    assert decide(raised("bug"), verdict.attempts, retries=1) == GiveUp("bug", 2)


def test_tasks_start_in_order() -> None:
    first, second = task("a"), task("b")
    made = schedule(first, second)
    assert made.next(0.0) is first
    assert made.next(0.0) is second
    assert made.next(0.0) is None


def test_a_task_waits_until_its_memory_fits() -> None:
    big, small = task("big", peak=6 * GIB), task("other", peak=4 * GIB)
    made = schedule(big, small)
    assert made.next(0.0) is big
    assert made.next(0.0) is None
    end(made, big, finished())
    assert made.next(0.0) is small


def test_a_task_too_big_for_the_budget_still_runs_alone() -> None:
    huge = task("huge", peak=100 * GIB)
    made = schedule(huge)
    assert made.next(0.0) is huge


def test_a_task_that_must_be_alone_waits_for_the_others_and_keeps_them_out() -> None:
    crasher, calm, late = task("crasher"), task("calm"), task("late")
    made = schedule(crasher, calm)
    start_two(made)
    assert end(made, crasher, Died("crash", "SIGSEGV")) is None
    assert made.next(0.0) is None
    end(made, calm, finished())
    assert made.next(0.0) is crasher
    made.add(late.unit, (late,))
    assert made.next(0.0) is None


def test_a_second_chance_waits_for_its_delay() -> None:
    one = task("a")
    made = schedule(one)
    made.next(0.0)
    end(made, one, raised("hub_transient"), now=10.0)
    assert made.next(10.1) is None
    assert made.next(10.6) is one


def test_a_unit_of_several_groups_is_done_with_its_last_group_and_in_group_order() -> None:
    of = unit("big")
    groups = tuple(Task(of, group=g, num_groups=3) for g in range(3))
    made: Sched = Schedule(memory_bytes=8 * GIB, retries=1)
    made.add(of, groups)
    for _ in groups:
        made.next(0.0)
    assert end(made, groups[2], finished("c")) is None
    assert end(made, groups[0], finished("a")) is None
    event = end(made, groups[1], finished("b"))
    assert isinstance(event, UnitDone)
    assert event.results == (("a",), ("b",), ("c",))


def test_one_lost_group_fails_the_unit_once_and_drops_the_rest() -> None:
    of = unit("big")
    groups = tuple(Task(of, group=g, num_groups=3) for g in range(3))
    made: Sched = Schedule(memory_bytes=8 * GIB, retries=1)
    made.add(of, groups)
    start_two(made)
    assert isinstance(end(made, groups[0], raised("data")), UnitFailed)
    assert end(made, groups[1], raised("data")) is None
    assert (made.num_waiting, made.num_running, made.num_open_units) == (0, 0, 0)


def test_a_unit_that_is_listed_again_as_itself_starts_anew() -> None:
    first, second = (Task(unit("a"), group=group, num_groups=2) for group in (0, 1))
    made: Sched = Schedule(memory_bytes=8 * GIB, retries=1)
    made.add(first.unit, (first, second))
    start_two(made)
    assert isinstance(end(made, first, raised("changed")), UnitFailed)
    again = Task(unit("a"))
    made.add(again.unit, (again,))
    assert end(made, second, raised("changed")) is None  # of the listing before: nothing to say now
    assert made.next(0.0) is again
    assert end(made, again, finished("x")) == UnitDone(again.unit, (("x",),))


@pytest.mark.parametrize(("peak", "is_told"), [(9 * GIB, True), (GIB, False)])
def test_a_death_for_want_of_memory_says_how_much_was_wanted(peak: int, is_told: bool) -> None:
    one = task("a", peak=peak)
    made = schedule(one, memory=8 * GIB)
    ended: object = None
    while ended is None:
        assert made.next(0.0) is one
        ended = end(made, one, Died("crash", "killed by SIGKILL"))
    assert isinstance(ended, UnitFailed)
    assert ("may take up to 9.66 GB, and there are 8.59 GB" in ended.message) is is_told
