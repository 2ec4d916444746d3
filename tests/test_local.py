"""The local pool: how many processes there are, and who is blamed when one is gone."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jobs.runners.local import LocalRunner
from jobs.runners.outcome import Died, Finished, Raised
from jobs.runners.protocol import Done
from tests.chores import CHORES, Chore
from tests.models import small_zoo
from tests.test_sweep import ask

Pool = LocalRunner[Chore, int]


@pytest.fixture
def runner(request: pytest.FixtureRequest) -> Iterator[Pool]:
    with closing(LocalRunner(CHORES, workers=request.param)) as pool:
        yield pool


def with_workers(count: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("runner", [count], indirect=True)


def finish(runner: Pool) -> list[Done[Chore, int]]:
    """The next tasks that end."""
    for _ in range(60):
        if ended := runner.wait(1.0):
            return ended
    raise AssertionError("nothing ended")


@with_workers(3)
def test_processes_start_when_there_is_work_and_one_that_dies_idle_harms_no_task(
    runner: Pool,
) -> None:
    assert (runner.num_slots, len(runner._workers)) == (3, 0)
    for _ in range(2):
        runner.submit(Chore("double", 3))
        (done,) = finish(runner)
        assert done.outcome == Finished(6)
        (worker,) = runner._workers
        worker.process.kill()
        worker.process.join()


@with_workers(1)
def test_a_worker_is_prepared_once_before_its_first_task(runner: Pool) -> None:
    for _ in range(2):
        runner.submit(Chore("prepared"))
        (done,) = finish(runner)
        assert done.outcome == Finished(1)


@with_workers(1)
def test_what_the_work_raises_comes_back_as_a_value_and_the_worker_lives_on(runner: Pool) -> None:
    runner.submit(Chore("parse"))
    (done,) = finish(runner)
    assert isinstance(done.outcome, Raised)
    assert (done.outcome.cause, done.outcome.error_type) == ("bug", "ValueError")
    assert "in do" in done.outcome.traceback
    (worker,) = runner._workers
    assert worker.process.is_alive()


@with_workers(1)
def test_a_worker_whose_accelerator_is_gone_is_replaced(runner: Pool) -> None:
    runner.submit(Chore("lose"))
    (done,) = finish(runner)
    assert isinstance(done.outcome, Raised) and done.outcome.cause == "infra"
    assert runner._workers == []
    runner.submit(Chore("double", 3))
    assert finish(runner)[0].outcome == Finished(6)


def test_each_worker_sees_one_card_and_the_next_one_that_fewest_see() -> None:
    with closing(LocalRunner(CHORES, workers=4, cards=("0", "GPU-2"))) as runner:
        for card in ("0", "GPU-2", "0"):
            runner.submit(Chore("sleep", 0))
            assert runner._workers[-1].card == card


@with_workers(1)
def test_a_task_begins_when_its_worker_has_started(runner: Pool) -> None:
    first, second = Chore("double"), Chore("double")
    runner.submit(first)
    assert runner.began_s(first) == math.inf
    while math.isinf(runner.began_s(first)):  # its answer comes after that
        assert runner.wait(60.0) == []
    finish(runner)
    before = time.monotonic()
    runner.submit(second)
    assert before <= runner.began_s(second) <= time.monotonic()


@with_workers(1)
def test_more_tasks_than_workers_are_refused(runner: Pool) -> None:
    runner.submit(Chore("double"))
    with pytest.raises(RuntimeError, match="busy"):
        runner.submit(Chore("double"))


def test_a_task_held_for_later_is_not_lost_with_the_worker_that_held_it() -> None:
    with closing(LocalRunner(CHORES, workers=1, ahead=1)) as runner:
        assert runner.num_slots == 2
        deadly, harmless = Chore("die"), Chore("double", 3)
        for chore in (deadly, harmless):
            runner.submit(chore)
        ended = {done.task: done.outcome for _ in range(2) for done in finish(runner)}
    assert isinstance(ended[deadly], Died)
    assert ended[harmless] == Finished(6)


def test_a_termination_before_the_work_begins_is_an_interruption_too(
    tmp_path: Path, zoo_process: Callable[..., subprocess.Popen[str]]
) -> None:
    os.mkfifo(tmp_path / "spec.toml")
    process = zoo_process("plan", tmp_path / "spec.toml")
    with open(tmp_path / "spec.toml", "w"):  # opens once the command reads it
        process.terminate()
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (75, "zoo: interrupted\n")


def test_a_termination_of_the_whole_group_drains_and_commits_what_runs(
    tmp_path: Path, zoo_process: Callable[..., subprocess.Popen[str]]
) -> None:
    spec = small_zoo(tmp_path, models=12, side=300)
    spec.write_text(spec.read_text() + "[run]\nretries = 0\n")  # a killed worker would be a row
    cat = tmp_path / "cat"
    process = zoo_process("sweep", spec, "--out", cat, "-j", 1)
    deadline = time.monotonic() + 60
    while not list((cat / "models").rglob("*local*.parquet")) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    time.sleep(0.2)  # the next model is being measured
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert ask(cat, "select count(*) from failures") == [(0,)]
    assert int(str(ask(cat, "select count(*) from models")[0][0])) >= 1
