"""The local pool: how many processes there are, and who is blamed when one is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.local import LocalRunner
from jobs.outcome import Finished
from jobs.runner import Done
from jobs.spec import load_spec
from jobs.sweep import units_of
from jobs.units import Task
from tests.models import small_zoo


def finish(runner: LocalRunner) -> list[Done]:
    """The next tasks that end."""
    for _ in range(100):
        if ended := runner.wait(1.0):
            return ended
    raise AssertionError("nothing ended")


def test_processes_start_when_there_is_work_and_one_that_dies_idle_harms_no_task(
    tmp_path: Path,
) -> None:
    spec, _ = load_spec(small_zoo(tmp_path, models=1, side=20))
    (unit,) = units_of(spec)
    runner = LocalRunner(workers=3)
    try:
        assert (runner.num_slots, len(runner._workers)) == (3, 0)
        for _ in range(2):
            runner.submit(Task(unit))
            (done,) = finish(runner)
            assert isinstance(done.outcome, Finished)
            (worker,) = runner._workers
            worker.process.kill()
            worker.process.join()
    finally:
        runner.close()


def test_more_tasks_than_workers_are_refused(tmp_path: Path) -> None:
    spec, _ = load_spec(small_zoo(tmp_path, models=1, side=20))
    (unit,) = units_of(spec)
    runner = LocalRunner(workers=1)
    try:
        runner.submit(Task(unit))
        with pytest.raises(RuntimeError, match="busy"):
            runner.submit(Task(unit))
    finally:
        runner.close()
