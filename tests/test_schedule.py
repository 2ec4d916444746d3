"""The queue and the retry policy, over values alone."""

from __future__ import annotations

import pytest

from jobs.runners.classes import WorkerClass, place, with_larger
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


def first(made: Sched, now: float = 0.0) -> Task | None:
    """The task that is started now."""
    started = made.next(now, {"local": 9})
    return None if started is None else started[0]


def empty(memory: int = 8 * GIB) -> Sched:
    return Schedule(lambda: (WorkerClass("local", total_bytes=memory),), retries=1)


def finished(*names: str) -> Finished[Names]:
    return Finished(names)


def raised(cause: str) -> Raised:
    return Raised(cause, "SomeError", "it broke", "traceback")


def schedule(*tasks: Task, memory: int = 8 * GIB) -> Sched:
    made = empty(memory)
    for one in tasks:
        made.add(one.unit, (one,))
    return made


def start_two(made: Sched) -> None:
    assert first(made) is not None
    assert first(made) is not None


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
    one, two = task("a"), task("b")
    made = schedule(one, two)
    assert first(made) is one
    assert first(made) is two
    assert first(made) is None


def test_a_task_waits_until_its_memory_fits() -> None:
    big, small = task("big", peak=6 * GIB), task("other", peak=4 * GIB)
    made = schedule(big, small)
    assert first(made) is big
    assert first(made) is None
    end(made, big, finished())
    assert first(made) is small


def test_a_task_too_big_for_the_budget_still_runs_alone() -> None:
    huge = task("huge", peak=100 * GIB)
    made = schedule(huge)
    assert first(made) is huge


def test_a_task_that_must_be_alone_waits_for_the_others_and_keeps_them_out() -> None:
    crasher, calm, late = task("crasher"), task("calm"), task("late")
    made = schedule(crasher, calm)
    start_two(made)
    assert end(made, crasher, Died("crash", "SIGSEGV")) is None
    assert first(made) is None
    end(made, calm, finished())
    assert first(made) is crasher
    made.add(late.unit, (late,))
    assert first(made) is None


def test_a_second_chance_waits_for_its_delay() -> None:
    one = task("a")
    made = schedule(one)
    first(made)
    end(made, one, raised("hub_transient"), now=10.0)
    assert first(made, 10.1) is None
    assert first(made, 10.6) is one


def test_a_unit_of_several_groups_is_done_with_its_last_group_and_in_group_order() -> None:
    of = unit("big")
    groups = tuple(Task(of, group=g, num_groups=3) for g in range(3))
    made = empty()
    made.add(of, groups)
    for _ in groups:
        first(made)
    assert end(made, groups[2], finished("c")) is None
    assert end(made, groups[0], finished("a")) is None
    event = end(made, groups[1], finished("b"))
    assert isinstance(event, UnitDone)
    assert event.results == (("a",), ("b",), ("c",))


def test_one_lost_group_fails_the_unit_once_and_drops_the_rest() -> None:
    of = unit("big")
    groups = tuple(Task(of, group=g, num_groups=3) for g in range(3))
    made = empty()
    made.add(of, groups)
    start_two(made)
    assert isinstance(end(made, groups[0], raised("data")), UnitFailed)
    assert end(made, groups[1], raised("data")) is None
    assert (made.num_waiting, made.num_running, made.num_open_units) == (0, 0, 0)


def test_a_unit_that_is_listed_again_as_itself_starts_anew() -> None:
    one, two = (Task(unit("a"), group=group, num_groups=2) for group in (0, 1))
    made = empty()
    made.add(one.unit, (one, two))
    start_two(made)
    assert isinstance(end(made, one, raised("changed")), UnitFailed)
    again = Task(unit("a"))
    made.add(again.unit, (again,))
    assert end(made, two, raised("changed")) is None  # of the listing before: nothing to say now
    assert first(made) is again
    assert end(made, again, finished("x")) == UnitDone(again.unit, (("x",),))


@pytest.mark.parametrize(("peak", "is_told"), [(9 * GIB, True), (GIB, False)])
def test_a_death_for_want_of_memory_says_how_much_was_wanted(peak: int, is_told: bool) -> None:
    one = task("a", peak=peak)
    made = schedule(one, memory=8 * GIB)
    ended: object = None
    while ended is None:
        assert first(made) is one
        ended = end(made, one, Died("crash", "killed by SIGKILL"))
    assert isinstance(ended, UnitFailed)
    assert ("may take up to 9.66 GB, and there are 8.59 GB" in ended.message) is is_told


SIZES = (
    WorkerClass("small", 2.0 * GIB),
    WorkerClass("large", 8.0 * GIB),
    WorkerClass("gpu", 16.0 * GIB, gpus=1.0, min_cost_s=5.0),
)


@pytest.mark.parametrize(
    ("peak", "cost_s", "name"),
    [(GIB, 1, "small"), (4 * GIB, 1, "large"), (GIB, 9, "gpu"), (12 * GIB, 1, "gpu")],
)
def test_a_task_goes_to_the_smallest_class_that_holds_it_and_to_a_gpu_if_it_is_worth_it(
    peak: int, cost_s: float, name: str
) -> None:
    chosen = place(SIZES, peak, cost_s)
    assert chosen is not None and chosen.name == name


def test_a_unit_that_no_worker_could_ever_hold_is_refused_by_name() -> None:
    made: Sched = Schedule(lambda: SIZES, retries=1)
    huge = task("huge", peak=20 * GIB)
    refused = made.add(huge.unit, (huge,))
    assert isinstance(refused, UnitFailed) and refused.cause == "resource"
    assert (
        "may take up to 21.47 GB; the largest worker ('gpu') may have 17.18 GB" in refused.message
    )
    assert made.num_open_units == 0


def test_a_task_that_ran_out_of_memory_goes_to_a_larger_class_and_idles_nobody() -> None:
    made: Sched = Schedule(lambda: SIZES[:2], retries=1)
    hungry, calm = task("hungry"), task("calm")
    for one in (hungry, calm):
        made.add(one.unit, (one,))
    free = {"small": 9, "large": 9}
    assert made.next(0.0, free) == (hungry, "small")
    assert end(made, hungry, Died("memory", "OOM")) is None
    assert made.demand == {"small": 1, "large": 1}
    assert [made.next(0.0, free), made.next(0.0, free)] == [(calm, "small"), (hungry, "large")]
    assert isinstance(end(made, hungry, Died("memory", "OOM")), UnitFailed)


def test_classes_double_up_to_a_whole_node() -> None:
    names = [
        (one.name, one.most_bytes / GIB, one.takes_larger)
        for one in with_larger(WorkerClass("default", 4.0 * GIB), 20.0 * GIB, is_last_resort=True)
    ]
    assert names == [
        ("default", 4, False),
        ("default-x2", 8, False),
        ("default-x4", 16, False),
        ("default-node", 20, True),
    ]
