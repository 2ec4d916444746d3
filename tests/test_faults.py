"""What a sweep does when workers crash, hang, run out of memory or hit a bug; on both runners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from catalog.read import views
from jobs.runners.local import LocalRunner
from jobs.runners.protocol import Runner
from jobs.runners.ray import RayRunner
from jobs.runners.ray_deaths import died_with_its_node
from jobs.screen.progress import Progress
from jobs.sources.target import Target
from jobs.spec.load import load_spec
from jobs.spec.tables import Spec
from jobs.sweep.ledger import Ledger
from jobs.sweep.loop import SweepResult, run_sweep
from jobs.sweep.task_rows import TaskRows
from jobs.sweep.work import MEASURING
from jobs.units.listed import units_of
from jobs.units.unit import Task, Unit
from tests.models import small_zoo
from tests.trouble import Trouble

Start = Callable[[], Runner[Task, TaskRows]]


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.ray)])
def start(request: pytest.FixtureRequest) -> Start:
    if request.param == "local":
        return lambda: LocalRunner(MEASURING, workers=2)
    request.getfixturevalue("ray_session")
    return lambda: RayRunner(MEASURING, address=None, workers=2)


def sweep(
    tmp_path: Path,
    start: Start,
    what: str,
    *,
    times: int = 1_000_000,
    timeout_s: float | None = None,
) -> SweepResult:
    """A sweep of two healthy models and one that makes trouble."""
    spec, text = load_spec(small_zoo(tmp_path, models=2, side=30))
    run = spec.run.model_copy(update={"timeout_s": timeout_s})
    spec = spec.model_copy(update={"run": run})
    units = [*units_of(spec), troubled(tmp_path, spec, what, times)]
    ledger = Ledger(str(tmp_path / "cat"), name="test", spec_text=text)
    return run_sweep(
        spec,
        ledger=ledger,
        units=units,
        start_runner=start,
        overwrite="never",
        limit=None,
        progress=Progress(quiet=True),
    )


def troubled(tmp_path: Path, spec: Spec, what: str, times: int) -> Unit:
    like = units_of(spec)[0]
    trouble = Trouble(what, str(tmp_path / "count"), str(tmp_path / "zoo" / "model0"), times)
    target = Target("local/troubled", "f" * 40, trouble, "test", nbytes=1000)
    return replace(like, target=target)


def failure(tmp_path: Path) -> tuple[object, ...]:
    with views.connect(str(tmp_path / "cat")) as con:
        query = "select model_id, cause, attempts, message from failures_open"
        (row,) = con.execute(query).fetchall()
    return tuple(row)


def opened(tmp_path: Path) -> int:
    return (tmp_path / "count").stat().st_size


def test_a_model_that_kills_its_worker_twice_is_poison_and_the_others_are_done(
    tmp_path: Path, start: Start
) -> None:
    result = sweep(tmp_path, start, "crash")
    assert (result.num_done, result.num_failed, result.exit_code) == (2, 1, 1)
    assert failure(tmp_path)[:3] == ("local/troubled", "poison", 2)


def test_a_model_that_crashed_once_gets_its_second_chance(tmp_path: Path, start: Start) -> None:
    result = sweep(tmp_path, start, "crash", times=1)
    assert (result.num_done, result.num_failed, result.exit_code) == (3, 0, 0)


def test_a_task_over_its_time_limit_is_killed_and_named(tmp_path: Path, start: Start) -> None:
    result = sweep(tmp_path, start, "hang", timeout_s=8.0)
    assert (result.num_done, result.num_failed) == (2, 1)
    _, cause, _, message = failure(tmp_path)
    assert cause == "poison" and "time limit" in str(message)


def test_transient_hub_errors_are_tried_again_without_counting(
    tmp_path: Path, start: Start
) -> None:
    assert sweep(tmp_path, start, "transient", times=3).exit_code == 0
    assert opened(tmp_path) == 4


def test_a_card_that_disappears_costs_a_worker_and_no_model(tmp_path: Path, start: Start) -> None:
    result = sweep(tmp_path, start, "lost card", times=2)
    assert (result.num_done, result.num_failed, result.exit_code) == (3, 0, 0)
    assert opened(tmp_path) == 3


def test_running_out_of_memory_is_named_as_such(tmp_path: Path, start: Start) -> None:
    assert sweep(tmp_path, start, "memory").num_failed == 1
    assert failure(tmp_path)[1:3] == ("resource", 2)


def test_a_bug_is_kept_with_its_traceback(tmp_path: Path, start: Start) -> None:
    assert sweep(tmp_path, start, "bug").num_failed == 1
    assert failure(tmp_path)[1:] == ("bug", 2, "a bug of ours")
    with views.connect(str(tmp_path / "cat")) as con:
        ((traceback,),) = con.execute("select traceback from failures").fetchall()
    assert "ValueError" in str(traceback)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("The actor died because its node has died. Node Id: abc", True),
        (
            "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR",
            False,
        ),
    ],
)
def test_only_a_lost_node_is_the_clusters_fault(message: str, expected: bool) -> None:
    assert died_with_its_node(message) is expected
