"""The driver of a sweep with fake work: how many units a second, and in how much memory.

    python -m benchmarks.driver [--units 100000] [--workers 1000]

Everything of a sweep's loop is real (plan, schedule, retries, turns, tally, progress) but the workers, which end
every task at once, and the catalog, which takes what is committed and forgets it: a commit is a few small files,
and its rate is that of the disk. One task in 100 loses its worker first, one unit in 1,000 fails for good.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, cast

from jobs.runners.classes import WorkerClass
from jobs.runners.outcome import Died, Finished, Outcome, Raised
from jobs.runners.protocol import Done
from jobs.screen.progress import Progress
from jobs.sources.target import Target
from jobs.spec.tables import RunTable
from jobs.sweep.equal_weights import EqualWeights
from jobs.sweep.ledger import Ledger, UnitSummary
from jobs.sweep.tally import Tally
from jobs.sweep.task_rows import TaskRows
from jobs.sweep.turns import Turns
from jobs.units.unit import Task, unit_of
from zoo.options import AnalysisOptions, LayerSelection


class _Workers:
    """A runner whose workers need no time."""

    hub = None
    wants = None

    def __init__(self, num: int) -> None:
        self.num_slots = self.num_hoped = num
        self.classes = (WorkerClass("fake"),)
        self._with: deque[Task] = deque()
        self._lost: set[int] = set()
        self._num = 0

    @property
    def free(self) -> dict[str, int]:
        return {"fake": self.num_slots - len(self._with)}

    def want(self, demand: Mapping[str, int]) -> None:
        """Nothing to start."""

    def submit(self, task: Task, class_name: str | None = None) -> None:
        self._with.append(task)

    def wait(self, timeout_s: float) -> list[Done[Task, TaskRows]]:
        """Every task that was given out, ended."""
        ended = [Done(task, self._outcome(task)) for task in self._with]
        self._with.clear()
        return ended

    def _outcome(self, task: Task) -> Outcome[TaskRows]:
        self._num += 1
        if self._num % 100 == 0 and id(task) not in self._lost:
            self._lost.add(id(task))
            return Died("node", "its node has died")
        if self._num % 1000 == 1:
            return Raised("data", "CheckpointError", "a broken header", "")
        return Finished(cast("TaskRows", None))

    def began_s(self, task: Task) -> float:
        return time.monotonic()

    def kill(self, task: Task) -> None:
        """Nothing to kill."""


class _Forgetful:
    """A ledger that takes everything and keeps nothing."""

    def commit(self, event: Any) -> UnitSummary:
        return UnitSummary(num_layers=1, num_skipped=0, num_failed=0, nbytes=1, seconds=1.0)

    def fail(self, event: Any) -> None:
        """Nothing to write."""

    def take_over(self, wanted: Any) -> list[Any]:
        return []


def main() -> None:
    """One sweep of fake work."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--units", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=1000)
    args = parser.parse_args()
    options, selection = AnalysisOptions(), LayerSelection()
    start = time.perf_counter()
    units = [
        unit_of(
            Target(f"bench/model-{i}", f"{i:040x}", None, "hub:bench", nbytes=100_000_000),
            options,
            selection,
        )
        for i in range(args.units)
    ]
    listed_s = time.perf_counter() - start
    progress = Progress(quiet=True)
    tally = Tally(cast("Ledger", _Forgetful()), progress, "never")
    start = time.perf_counter()
    Turns(
        units,
        EqualWeights([], None),
        RunTable(),
        runner=_Workers(args.workers),
        tally=tally,
        progress=progress,
        interrupts=lambda: 0,
        started_s=time.monotonic(),
    ).take_all()
    seconds = time.perf_counter() - start
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(
        f"{tally.num_done} done, {tally.num_failed} failed, of {args.units} units, {args.workers} workers"
    )
    print(
        f"{args.units / seconds:.0f} units a second ({args.units / listed_s:.0f} made a second), {peak_mb:.0f} MB"
    )


if __name__ == "__main__":
    main()
