"""A cluster of two nodes on this machine, a sweep on it, and a node killed in the middle; run as a program.

    python -m tests.nodes FOLDER

FOLDER holds `spec.toml` and gets `cat` and `ended.json`, how the sweep ended. In a process of its own, so that
the Ray of other tests never sees it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

SETTINGS = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_failure_threshold": "5",
}
"""A death is seen in ten seconds; much less, and a node of a busy machine is taken for dead."""
STORE_BYTES = 100 << 20


def main(folder: Path) -> None:
    """Start, sweep, kill, report."""
    os.environ.update(SETTINGS)  # read by the daemons when they start
    from ray.cluster_utils import Cluster

    from jobs.runners.outcome import Died
    from jobs.runners.protocol import Done
    from jobs.runners.ray import RayRunner
    from jobs.screen.progress import Progress
    from jobs.spec.load import load_spec
    from jobs.sweep.ledger import Ledger
    from jobs.sweep.loop import run_sweep
    from jobs.sweep.task_rows import TaskRows
    from jobs.sweep.work import MEASURING
    from jobs.units.listed import units_of
    from jobs.units.unit import Task

    small = {"object_store_memory": STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES) for _ in range(2)]
    spec, text = load_spec(folder / "spec.toml")
    deaths: list[str] = []

    class Watched(RayRunner[Task, TaskRows]):
        """Waits for both nodes, loses one with the sixth task, and keeps how workers died."""

        num_submitted = 0
        done_before: int | None = None

        @property
        def free(self) -> dict[str, int]:
            return super().free if self.num_submitted or self.num_slots == 2 else {}

        def submit(self, task: Task, class_name: str | None = None) -> None:
            super().submit(task, class_name)
            self.num_submitted += 1
            if self.num_submitted == 6:
                self.done_before = num_done(folder / "cat")
                lose(cluster, nodes[0])

        def wait(self, timeout_s: float) -> list[Done[Task, TaskRows]]:
            ended = super().wait(timeout_s)
            deaths.extend(done.outcome.how for done in ended if isinstance(done.outcome, Died))
            return ended

    runner = Watched(MEASURING, address=cluster.address, workers=2)
    result = run_sweep(
        spec,
        ledger=Ledger(str(folder / "cat"), name="nodes", spec_text=text),
        units=units_of(spec),
        start_runner=lambda: runner,
        overwrite="never",
        limit=None,
        progress=Progress(quiet=True),
    )
    ended = {**asdict(result), "deaths": deaths, "exit_code": result.exit_code}
    del ended["model_ids"]  # a set, and nobody asks
    ended["done_before"] = runner.done_before
    (folder / "ended.json").write_text(json.dumps(ended))
    cluster.shutdown()


def num_done(catalog: Path) -> int:
    """Models committed."""
    return len(list((catalog / "models").rglob("*local*.parquet")))


def lose(cluster: Any, node: Any) -> None:
    """A machine that loses power loses all its processes at once.

    `remove_node` takes the raylet alone, and its worker goes on serving the driver for a moment: long enough to
    finish a small sweep. So the worker is stopped first, with the task it has or gets next.
    """
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    workers = raylet.children(recursive=True)
    for worker in workers:
        worker.suspend()
    cluster.remove_node(node, allow_graceful=False)
    for worker in workers:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.kill()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
