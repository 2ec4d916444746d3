"""The local pool: how many processes there are, and who is blamed when one is gone."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.runners.local import LocalRunner
from jobs.runners.outcome import Finished
from jobs.runners.runner import Done
from jobs.spec.load import load_spec
from jobs.sweep.loop import units_of
from jobs.units.unit import Task
from tests.models import small_zoo
from tests.test_sweep import ask


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


def test_a_task_begins_when_its_worker_has_started(tmp_path: Path) -> None:
    spec, _ = load_spec(small_zoo(tmp_path, models=1, side=20))
    (unit,) = units_of(spec)
    first, second = Task(unit), Task(unit)
    runner = LocalRunner(workers=1)
    try:
        runner.submit(first)
        assert runner.began_s(first) == math.inf
        while math.isinf(runner.began_s(first)):  # its answer comes after that
            assert runner.wait(60.0) == []
        finish(runner)
        before = time.monotonic()
        runner.submit(second)
        assert before <= runner.began_s(second) <= time.monotonic()
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
