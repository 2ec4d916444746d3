"""A cluster scaled to zero: a sweep waits for nodes, and uses those that join; run as a program.

    python -m tests.joining FOLDER

FOLDER holds `spec.toml` and gets `cat` and `ended.json`. In a process of its own, so that the Ray of other tests
never sees it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tests.nodes import SETTINGS, STORE_BYTES


def main(folder: Path) -> None:
    """Start a head alone, sweep, add a node when the sweep says that it waits, and a second one."""
    os.environ.update(SETTINGS)
    from ray.cluster_utils import Cluster

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
    spec, text = load_spec(folder / "spec.toml")
    said: list[str] = []
    most: list[int] = []

    def join() -> None:
        cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)

    class Listening(Progress):
        """Adds a node when workers are lacking."""

        def lacks_workers(self, wants: str | None) -> None:
            if wants is not None and not said:
                said.append(wants)
                join()

    class Counting(RayRunner[Task, TaskRows]):
        """Adds a second node with the second task, and counts its workers."""

        num_submitted = 0

        @property
        def free(self) -> dict[str, int]:
            most.append(self.num_slots)
            # the first tasks are few; the second worker must not come too late for the last
            return {} if self.num_submitted == 2 and self.num_slots < 2 else super().free

        def submit(self, task: Task, class_name: str | None = None) -> None:
            super().submit(task, class_name)
            self.num_submitted += 1
            if self.num_submitted == 2:
                join()

    result = run_sweep(
        spec,
        ledger=Ledger(str(folder / "cat"), name="joining", spec_text=text),
        units=units_of(spec),
        start_runner=lambda: Counting(MEASURING, address=cluster.address, workers=None),
        overwrite="never",
        limit=None,
        progress=Listening(quiet=True),
    )
    ended = {"num_done": result.num_done, "said": said, "most_workers": max(most)}
    (folder / "ended.json").write_text(json.dumps(ended))
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
