"""A simulated sweep of 100,000 models on 1,000 GPU workers: its makespan against the lower bound.

    python -m benchmarks.cluster_simulation [--models 100000] [--workers 1000] [--seed 0]

The schedule, its classes and the cutting of units into tasks are the real ones; time is an event queue. Shapes are
those of `header_statistics.json`, a model's size varies by 20 % either way (pruned, merged, resized). Seconds of a
task: for each matrix the rates of `docs/running.md` on an H100 (about 40 ms at order 2,880), at least its bytes at
1 Gbit/s, 2 s for opening it; they vary by a factor of up to 1.5 either way that the schedule does not know of. One
task in 1,000 loses its worker.

The lower bound is the largest of three: all seconds over all workers, the longest task, all bytes over the links of
all workers. A Hub that gives less than these links together is a bound of its own.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import time
from dataclasses import dataclass
from pathlib import Path

from jobs.runners.classes import WorkerClass
from jobs.runners.outcome import Died, Finished
from jobs.runners.schedule import Schedule, UnitDone
from jobs.units.plan import MAX_TASKS, TASK_BYTES

_FILE = Path(__file__).parent / "header_statistics.json"
_MS_BY_ORDER = (
    (128, 0.5),
    (384, 1.5),
    (768, 4.0),
    (1024, 6.0),
    (2048, 20.0),
    (2880, 40.0),
    (4096, 130.0),
)
"""Milliseconds a matrix by smaller side; beyond, the cube of the side."""
_WORKER_BYTES_S = 125e6
_OPEN_S = 2.0
_GIB = 2**30
_AHEAD = 4


@dataclass(frozen=True, slots=True)
class _Unit:
    key: int
    nbytes: float


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    unit: _Unit
    group: int
    peak_bytes: int
    cost_s: float
    seconds: float
    """What it really takes."""


def main() -> None:
    """Print makespan and bound."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    units = zoo(rng, args.models)
    started = time.perf_counter()
    makespan_s, num_done = simulate(units, args.workers, rng)
    tasks = [task for _, of_unit in units for task in of_unit]
    bounds = {
        "compute": sum(task.seconds for task in tasks) / args.workers,
        "largest task": max(task.seconds for task in tasks),
        "bytes": sum(unit.nbytes for unit, _ in units) / (args.workers * _WORKER_BYTES_S),
    }
    bound = max(bounds.values())
    print(
        f"{num_done} of {args.models} models in {len(tasks)} tasks on {args.workers} workers, seed {args.seed}"
    )
    print(
        f"makespan {makespan_s / 3600:.2f} h; lower bounds "
        + ", ".join(f"{name} {value / 3600:.2f} h" for name, value in bounds.items())
    )
    print(
        f"{makespan_s / bound:.3f} times the lower bound (wanted: at most 1.1); "
        f"simulated in {time.perf_counter() - started:.0f} s"
    )


def zoo(rng: random.Random, num: int) -> list[tuple[_Unit, tuple[_Task, ...]]]:
    """Models as the sweep orders them: largest first."""
    families = json.loads(_FILE.read_text())["families"]
    shares = [family["share"] for family in families]
    made = [
        _model(rng, key, family) for key, family in enumerate(rng.choices(families, shares, k=num))
    ]
    return sorted(made, key=lambda entry: -entry[0].nbytes)


def _model(
    rng: random.Random, key: int, family: dict[str, object]
) -> tuple[_Unit, tuple[_Task, ...]]:
    """One model cut into tasks of whole weights, as `jobs.units.plan` cuts it."""
    size = rng.uniform(0.8, 1.2)
    per_param = float(family["bytes_per_param"])  # type: ignore[arg-type]
    groups: list[list[float]] = []  # seconds, bytes, largest matrix
    total = sum(r * c * n for r, c, n in family["matrices"]) * per_param * size  # type: ignore[attr-defined]
    most = max(TASK_BYTES, total / MAX_TASKS)
    for rows, cols, count in family["matrices"]:  # type: ignore[attr-defined]
        nbytes, seconds = rows * cols * per_param * size, _seconds(min(rows, cols), max(rows, cols))
        left = count
        while left:
            if not groups or groups[-1][1] + nbytes > most:
                groups.append([_OPEN_S, 0.0, 0.0])
            fits = max(1, min(left, int((most - groups[-1][1]) // nbytes)))
            groups[-1][0] += fits * max(seconds * size, nbytes / _WORKER_BYTES_S)
            groups[-1][1] += fits * nbytes
            groups[-1][2] = max(groups[-1][2], rows * cols)
            left -= fits
    unit = _Unit(key, sum(group[1] for group in groups))
    return unit, tuple(
        _Task(unit, i, _GIB + int(12 * largest), seconds, seconds * 1.5 ** rng.uniform(-1, 1))
        for i, (seconds, _, largest) in enumerate(groups)
    )


def _seconds(side: int, longer: int) -> float:
    """Of one matrix on the card."""
    for order, ms in _MS_BY_ORDER:
        if side <= order:
            return ms * (side / order) ** 2 * (1 + 0.3 * (longer / side - 1)) / 1e3
    order, ms = _MS_BY_ORDER[-1]
    return ms * (side / order) ** 3 * (1 + 0.3 * (longer / side - 1)) / 1e3


def simulate(
    units: list[tuple[_Unit, tuple[_Task, ...]]], num_workers: int, rng: random.Random
) -> tuple[float, int]:
    """Seconds until the last task, and the units done."""
    classes = (WorkerClass("gpu", 60.0 * _GIB, gpus=1.0),)
    schedule: Schedule[_Unit, _Task, None] = Schedule(lambda: classes, retries=1)
    todo = iter(units)
    running: list[tuple[float, int, _Task]] = []
    now, num_done, free = 0.0, 0, num_workers
    is_more = True
    while True:
        while is_more and schedule.num_waiting < _AHEAD * num_workers:
            entry = next(todo, None)
            if entry is None:
                is_more = False
            else:
                schedule.add(*entry)
        while free and (started := schedule.next(now, {"gpu": free})) is not None:
            free -= 1
            heapq.heappush(running, (now + started[0].seconds, id(started[0]), started[0]))
        if not running:
            if not schedule.num_waiting:
                return now, num_done
            now += 1.0
            continue
        now, _, task = heapq.heappop(running)
        free += 1
        outcome = Died("node", "lost") if rng.random() < 0.001 else Finished(None)
        num_done += isinstance(schedule.ended(task, outcome, now), UnitDone)


if __name__ == "__main__":
    main()
