"""The three phases of a long training, told from its log, and the kept steps that stand at their right edges."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.experiments.place import Row

Log = Sequence[Mapping[str, Any]]
"""Rows of a training's log: step, run, train_accuracy, test_accuracy, train_loss, test_loss, l2_norm."""
DROP = 0.05
"""Test accuracy below the peak by more than this is a decline, as in the view `trajectories`."""
RISE = 0.1
"""A smaller rise of the test accuracy after memorising is no grokking."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Where a run's phases lie. A step is None where the run has no such phase."""

    memorised: int | None
    """First step with train accuracy 0.99."""
    before: int | None
    """Last step at which the test accuracy is below half-way between memorised and peak."""
    peak: int
    """Step of the best test accuracy."""
    least_loss: int
    """Step of the least test loss from memorising on."""
    declined: int | None
    """The last step, where it lies more than 0.05 below the peak."""
    peak_accuracy: float
    last_accuracy: float
    memorised_accuracy: float | None
    """Test accuracy when the training set was memorised."""
    last_train_accuracy: float

    @property
    def has_three(self) -> bool:
        """Memorised, then generalised, then declined with the training set still known."""
        return (
            self.memorised_accuracy is not None
            and self.peak_accuracy - self.memorised_accuracy >= RISE
            and self.declined is not None
            and self.last_train_accuracy >= 0.99
        )

    def edges(self) -> tuple[int | None, int, int | None]:
        """The right edge of each phase."""
        return self.before, self.peak, self.declined


def marks_of(log: Log, run: str) -> Marks:
    """The phases of one run."""
    rows = sorted((row for row in log if row["run"] == run), key=lambda row: row["step"])
    memorised = next((row for row in rows if row["train_accuracy"] >= 0.99), None)
    peak = max(rows, key=lambda row: (row["test_accuracy"], -row["step"]))
    base = (memorised or rows[0])["test_accuracy"]
    half = (base + peak["test_accuracy"]) / 2
    before = [r["step"] for r in rows if r["step"] < peak["step"] and r["test_accuracy"] < half]
    since = [row for row in rows if memorised is None or row["step"] >= memorised["step"]]
    last = rows[-1]
    declined = last["test_accuracy"] < peak["test_accuracy"] - DROP
    return Marks(
        memorised=memorised["step"] if memorised else None,
        before=before[-1] if before else None,
        peak=peak["step"],
        least_loss=min(since, key=lambda row: row["test_loss"])["step"],
        declined=last["step"] if declined else None,
        peak_accuracy=peak["test_accuracy"],
        last_accuracy=last["test_accuracy"],
        memorised_accuracy=memorised["test_accuracy"] if memorised else None,
        last_train_accuracy=last["train_accuracy"],
    )


def runs_of(log: Log) -> list[str]:
    """Names of the runs, in the log's order."""
    return list(dict.fromkeys(row["run"] for row in log))


def decay_of(run: str) -> float:
    """The weight decay in a run's name."""
    return float(run.rpartition("decay")[2])


def kept_near(layers: Sequence[Row], run: str, step: int, *, at_most: bool) -> int | None:
    """The step with a checkpoint of `run` that is nearest to `step` by ratio; `at_most`: not behind it."""
    kept = {row["step"] for row in layers if row["name"] == run}
    if at_most:
        kept = {one for one in kept if one <= step}
    return min(kept, key=lambda one: abs(_log(one) - _log(step)), default=None)


def _log(step: int) -> float:
    return math.log(step + 1)
