"""What is known of a watched training: which steps were measured, which were not and why, where traps began."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


class TrapOnsetWarning(UserWarning):
    """Correlation Traps began in some layers while a model was trained."""


@dataclass(slots=True)
class WatchState:
    """Filled in while the training runs; only ever read by whoever trains."""

    measured: list[int] = field(default_factory=list)
    """Steps whose rows are in the catalog, in the order in which they came back."""
    skipped_busy: list[int] = field(default_factory=list)
    """Steps that were not measured because the one before was still being measured."""
    skipped_cost: list[int] = field(default_factory=list)
    """Steps that were not copied out because it would have cost the training more than `max_share`."""
    failed: dict[int, str] = field(default_factory=dict)
    """Steps that could not be measured, with the reason."""
    onset: dict[str, int] = field(default_factory=dict)
    """Layer -> the step at which its traps began: the first of two measured steps in a row with a trap,
    after one without."""
    last: Mapping[str, float] = field(default_factory=dict)
    """The numbers of the newest measured step: columns of the view `trajectories`."""
    last_step: int | None = None
    """Which step that was."""
    seconds: float = 0.0
    """Wall time that the training spent here instead of training: copying weights, reading answers."""
    measuring_seconds: float | None = None
    """Wall time of the newest measurement, in the process beside the training."""
    stopped: str | None = None
    """Why nothing is measured any more; None while it is."""
