"""The worker processes of a refit: one that dies is said so, and none outlives its driver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from jobs.errors import WorkerDiedError
from jobs.refit.pool import prepare, worker_pool
from tests.conftest import Zoo
from tests.models import small_zoo

DRIVER = """
import os, time
from jobs.refit.pool import prepare, worker_pool
prepare(2)
with worker_pool(2) as pool:
    print(*{pool.submit(os.getpid).result() for _ in range(2)}, flush=True)
    time.sleep(600)
"""


def die(*_: object) -> None:
    """In a worker: what the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_dies_ends_the_refit_with_a_message(
    tmp_path: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cat = tmp_path / "cat"
    assert zoo("sweep", small_zoo(tmp_path, models=1), "--out", cat, "-j", 1, "--quiet") == 0
    with monkeypatch.context() as patched:
        patched.setattr("jobs.refit.run.POOL_ABOVE", 0)
        patched.setattr("jobs.refit.run.refit_bytes", die)
        assert zoo("refit", cat, "-j", 2) == 1
    assert "a worker process was killed" in capsys.readouterr().err
    assert zoo("refit", cat) == 0


def test_what_a_worker_raises_is_not_taken_for_its_death() -> None:
    prepare(2)
    with pytest.raises(ValueError, match="invalid literal"), worker_pool(2) as pool:
        pool.submit(int, "x").result()
    with pytest.raises(WorkerDiedError), worker_pool(2) as pool:
        pool.submit(die).result()


def test_no_worker_outlives_a_driver_that_was_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", DRIVER], stdout=subprocess.PIPE) as driver:
        assert driver.stdout is not None
        driver.stdout.readline()  # the workers are there
        children = psutil.Process(driver.pid).children(recursive=True)
        driver.kill()
    assert len(children) >= 2
    gone, alive = psutil.wait_procs(children, timeout=20)
    for process in alive:
        process.kill()
    assert gone
    assert not alive
