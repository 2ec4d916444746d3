"""Where an experiment works and how large it is: its folder, its data, who computes, what is said meanwhile."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jobs.screen.bar import Bar
from jobs.screen.progress import LINE_EVERY_S, Progress
from jobs.screen.quantities import human
from jobs.spec.tables import RunTable

Scale = Literal["small", "medium", "full"]
"""Two minutes on one core; about an hour on one core; as in the paper (a GPU, or many hours)."""
Row = dict[str, Any]
"""One line of a table."""


@dataclass(frozen=True, slots=True)
class Place:
    """What an experiment is given."""

    out: Path
    scale: Scale
    data: Path | None = None
    """A file of MNIST instead of the Hub's."""
    taken_from: Path | None = None
    """A folder that `python -m jobs.experiments.training` filled elsewhere, instead of training here."""
    device: str = "cpu"
    run: RunTable = field(default_factory=RunTable)
    quiet: bool = False
    budget_s: float | None = None
    """Seconds of training, then what there is is measured."""

    @property
    def progress(self) -> Progress:
        """Says lines on standard error."""
        return Progress(quiet=self.quiet)

    @property
    def zoo(self) -> Path:
        """The checkpoints as model folders."""
        return self.out / "zoo"

    @property
    def catalog(self) -> Path:
        """What the sweep made of them."""
        return self.out / "catalog"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a title."""

    title: str
    rows: Sequence[Row]


Verdict = Literal["agrees", "contradicts", "differs", "not measured"]
"""Against the paper's words: the same finding; the opposite; another size or time; no number of ours."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement of a paper beside ours."""

    claim: str
    paper: str
    ours: str
    verdict: Verdict

    def row(self) -> Row:
        """As a line of a table."""
        return {
            "verdict": self.verdict,
            "claim": self.claim,
            "paper": self.paper,
            "ours": self.ours,
        }


@dataclass(frozen=True, slots=True)
class Findings:
    """What an experiment found."""

    title: str
    setup: Mapping[str, Any]
    """What decides the numbers, and how far the run went."""
    tables: Sequence[Table]
    claims: Sequence[Claim]
    figures: Sequence[Path] = ()
    notes: Sequence[str] = ()
    """What could not be run or differs from the paper's set-up."""


class TrainingWatch:
    """Says how a training goes: a live bar on a terminal, else a line every 30 seconds."""

    def __init__(self, what: str, *, quiet: bool) -> None:
        self._progress, self._what = Progress(quiet=quiet), what
        self._bar = Bar() if sys.stderr.isatty() and not quiet else None
        self._said = time.monotonic()

    def __call__(self, done: int, end: int, per_step: float) -> None:
        """`done` of `end` steps; the last ones took `per_step` seconds each."""
        words = (
            f"{self._what}: {done:,} of {end:,} steps, {per_step * 1e6:,.0f} µs a step, "
            f"{human(round((end - done) * per_step), 's')} left"
        )
        if self._bar is not None:
            full, empty = self._bar.letters
            filled = round(10 * done / end)
            self._bar.draw((full * filled + empty * (10 - filled) + " " + words)[: self._bar.width])
        elif time.monotonic() - self._said >= LINE_EVERY_S:
            self._said = time.monotonic()
            self._progress.say(words)

    def close(self) -> None:
        """Stop the bar."""
        if self._bar is not None:
            self._bar.close()
