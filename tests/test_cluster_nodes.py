"""A cluster that loses a node in the middle of a sweep."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from jobs.runners.outcome import Finished
from jobs.runners.ray import RayRunner
from jobs.sweep.work import MEASURING
from tests.chores import CHORES, Chore
from tests.conftest import Zoo
from tests.models import small_zoo
from tests.test_sweep import ask, numbers
from zoo.errors import UseError

MODELS = 16


@pytest.mark.ray
def test_a_node_that_dies_costs_no_model_and_changes_no_number(tmp_path: Path, zoo: Zoo) -> None:
    spec = small_zoo(tmp_path, models=MODELS, side=300)
    command = [sys.executable, "-m", "tests.nodes", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr[-4000:]
    ended = json.loads((tmp_path / "ended.json").read_text())
    assert ended["done_before"] < MODELS and ended["deaths"] == ["node"]
    assert (ended["num_done"], ended["num_failed"], ended["exit_code"]) == (MODELS, 0, 0)
    cat = tmp_path / "cat"
    assert ask(cat, "select count(*) from failures") == [(0,)]
    assert ask(cat, "select count(*) from models") == [(MODELS,)]
    assert zoo("sweep", spec, "--out", tmp_path / "calm", "-j", 2) == 0
    for table in ("layers", "traps", "spectra", "tensors"):
        assert numbers(cat, table) == numbers(tmp_path / "calm", table)


@pytest.mark.ray
def test_a_cluster_scaled_to_zero_is_waited_for_and_nodes_that_join_get_work(
    tmp_path: Path,
) -> None:
    small_zoo(tmp_path, models=4, side=60)
    command = [sys.executable, "-m", "tests.joining", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr[-4000:]
    ended = json.loads((tmp_path / "ended.json").read_text())
    assert (ended["num_done"], ended["most_workers"]) == (4, 2)
    (said,) = ended["said"]
    assert said.startswith("no worker yet: the cluster has 0 CPUs, 0 GPUs")
    assert "one worker wants 1 CPUs" in said


@pytest.mark.ray
def test_workers_of_a_larger_class_replace_small_ones_and_come_back(ray_session: None) -> None:
    with closing(RayRunner(CHORES, address=None, workers=2)) as runner:
        for name, count in (("default", 2), ("default-node", 1), ("default", 2)):
            runner.want({name: count})
            deadline_s = time.monotonic() + 120
            while runner.free.get(name, 0) < count:
                assert runner.wait(0.5) == [] and time.monotonic() < deadline_s
            runner.submit(Chore("double", 4), name)
            (done,) = runner.wait(60.0)
            assert done.outcome == Finished(8)


@pytest.mark.ray
def test_a_sweep_outlives_the_ray_it_started(
    tmp_path: Path, zoo_process: Callable[..., subprocess.Popen[str]]
) -> None:
    spec, cat = small_zoo(tmp_path, models=MODELS, side=300), tmp_path / "cat"
    process = zoo_process("sweep", spec, "--out", cat, "--runner", "ray", "-j", 1)
    while not list((cat / "models").rglob("*local*.parquet")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    (agent,) = (c for c in children(process.pid) if "RuntimeEnvAgent" in " ".join(c.cmdline()))
    agent.kill()  # the raylet goes with it, and with that every worker
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert ask(cat, "select count(*) from models") == [(MODELS,)]
    assert ask(cat, "select count(*) from failures") == [(0,)]


def children(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


@pytest.mark.ray
def test_a_worker_too_big_for_the_cluster_is_refused_not_waited_for(ray_session: None) -> None:
    with pytest.raises(UseError, match=r"one worker wants 1 CPUs, 0 GPUs, 1048576\.0 GiB"):
        RayRunner(MEASURING, address=None, workers=1, memory_bytes=1 << 50)
    with pytest.raises(UseError, match=r"one worker wants 999 CPUs"):
        RayRunner(MEASURING, address=None, workers=1, cpus=999)


@pytest.mark.ray
def test_a_runner_on_ray_takes_any_work(ray_session: None) -> None:
    with closing(RayRunner(CHORES, address=None, workers=1)) as runner:
        while not runner.num_slots:
            assert runner.wait(30.0) == []
        runner.submit(Chore("double", 3))
        (done,) = runner.wait(60.0)
    assert (done.task, done.outcome) == (Chore("double", 3), Finished(6))


class Missing:
    """Cannot be unpickled in a worker, like a module that a node does not have."""

    def __reduce__(self) -> tuple[object, ...]:
        return (int, ("not a number",))


@pytest.mark.ray
def test_workers_that_never_start_end_the_sweep_and_blame_no_model(ray_session: None) -> None:
    runner = RayRunner(MEASURING, address=None, workers=1, hub=Missing())  # type: ignore[arg-type]
    with pytest.raises(UseError, match="workers cannot be started on the cluster"):
        for _ in range(10):
            assert runner.wait(30.0) == []
            assert runner.num_slots == 0
    runner.close()
