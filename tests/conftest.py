"""One Ray for the whole session, one mathematics thread, the command line as a function, and which tests share a
process when several run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_worker_niceness", "0")  # at 15, a busy neighbour starves the workers
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import pytest

from jobs.__main__ import run

Zoo = Callable[..., int]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Under `-n`: the tests of a file go to one process, which makes their fixtures once; all files that start or
    use a Ray go to one as well, so that two never start at once.

    (`--dist loadgroup` would do, but pytest 9.2 and pytest-xdist 3.8 do not agree on names of groups.)
    """
    from xdist.scheduler import LoadScopeScheduling

    files = Path(__file__).parent.glob("test_*.py")
    with_ray = {
        path.name for path in files if re.search(r"ray_session|mark\.ray", path.read_text())
    }

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            name = nodeid.partition("::")[0].rpartition("/")[2]
            return "ray" if name in with_ray else name

    return ByFile(config, log)


@pytest.fixture
def zoo(capsys: pytest.CaptureFixture[str]) -> Zoo:
    """`zoo("status", catalog)` in this process; its exit code. Output is in `capsys`."""

    def call(*arguments: object) -> int:
        return run([str(a) for a in arguments])

    return call


@pytest.fixture
def zoo_process() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`zoo_process("sweep", spec)` as a real process, for signals; killed at the end of the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object, cwd: Path | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A Ray on this machine for all tests that need one."""
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        configure_logging=False,
        object_store_memory=100 << 20,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(catalog, site) of `tests.sites`; nobody writes to them."""
    from tests.sites import built

    return built(tmp_path_factory.mktemp("site"))
