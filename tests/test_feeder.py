"""Tasks fed to a runner by a thread: their results, a worker that dies, and who outlives whom."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from jobs.errors import WorkerDiedError, WorkRaisedError
from jobs.runners.feeder import Feeder
from jobs.runners.local import LocalRunner
from tests.chores import CHORES, Chore
from tests.conftest import Zoo
from tests.models import small_zoo

DRIVER = """
import time
from tests.chores import Chore
from tests.test_feeder import fed
with fed(2) as feeder:
    print(*[feeder.submit(Chore("pid")).result() for _ in range(2)], flush=True)
    feeder.submit(Chore("sleep", 600))
    time.sleep(600)
"""


@contextmanager
def fed(workers: int) -> Iterator[Feeder[Chore, int]]:
    """A pool of forked processes that do chores."""
    runner = LocalRunner(CHORES, workers=workers, start_method="forkserver")
    with closing(runner), closing(Feeder(runner)) as feeder:
        yield feeder


def test_every_task_has_its_own_result_whatever_the_order() -> None:
    with fed(2) as feeder:
        results = [feeder.submit(Chore("double", number)) for number in range(50)]
        assert [result.result(timeout=60) for result in results] == [2 * n for n in range(50)]


def test_what_a_worker_raises_is_not_taken_for_its_death() -> None:
    with fed(2) as feeder, pytest.raises(WorkRaisedError, match="ValueError: invalid literal"):
        feeder.submit(Chore("parse")).result(timeout=60)
    with fed(2) as feeder, pytest.raises(WorkerDiedError, match="killed by SIGKILL"):
        feeder.submit(Chore("die")).result(timeout=60)


def test_after_a_death_nothing_more_is_computed() -> None:
    with fed(1) as feeder:
        results = [feeder.submit(Chore("die")), feeder.submit(Chore("double", 1))]
        for result in results:
            assert isinstance(result.exception(timeout=60), WorkerDiedError)
        assert isinstance(feeder.submit(Chore("double", 1)).exception(timeout=60), WorkerDiedError)


def test_tasks_that_have_not_begun_are_dropped_when_the_caller_leaves() -> None:
    with fed(1) as feeder:
        results = [feeder.submit(Chore("sleep", 600)) for _ in range(3)]
    assert all(result.cancelled() for result in results)


def test_a_worker_that_dies_ends_the_refit_with_a_message(
    tmp_path: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cat = tmp_path / "cat"
    assert zoo("sweep", small_zoo(tmp_path, models=1), "--out", cat, "-j", 1, "--quiet") == 0
    with monkeypatch.context() as patched:
        patched.setattr("jobs.refit.run.POOL_ABOVE", 0)
        patched.setattr("jobs.refit.run.Slice", lambda *_: Chore("die"))
        patched.setattr("jobs.refit.run.REFITTING", CHORES)
        assert zoo("refit", cat, "-j", 2) == 1
    assert "a worker process was killed" in capsys.readouterr().err
    assert zoo("refit", cat) == 0


@pytest.mark.parametrize("signal_of_driver", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_its_driver(signal_of_driver: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", DRIVER], stdout=subprocess.PIPE) as driver:
        assert driver.stdout is not None
        driver.stdout.readline()  # the workers are there
        children = psutil.Process(driver.pid).children(recursive=True)
        driver.send_signal(signal_of_driver)
    assert len(children) >= 2
    gone, alive = psutil.wait_procs(children, timeout=20)
    for process in alive:
        process.kill()
    assert gone
    assert not alive
