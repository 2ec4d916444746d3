"""How the units of a sweep came out: each is counted, told to the ledger, and said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.runners.schedule import UnitDone, UnitFailed
from jobs.screen.progress import Progress
from jobs.sources.target import Failure
from jobs.sweep.equal_weights import EqualWeights
from jobs.sweep.ledger import Ledger, Overwrite
from jobs.sweep.takeover import TakeOver
from jobs.sweep.task_rows import TaskRows
from jobs.units.unit import Unit

Ended = UnitDone[Unit, TaskRows] | UnitFailed[Unit]
"""How a unit came out."""


@dataclass(frozen=True, slots=True)
class FailedUnit:
    """A unit that this sweep gave up."""

    model_id: str
    step: int | None
    cause: str
    message: str
    """Its first line."""


class Tally:
    """Counts of one sweep."""

    def __init__(self, ledger: Ledger, progress: Progress, overwrite: Overwrite) -> None:
        self._ledger = ledger
        self._progress = progress
        self._overwrite = overwrite
        self.num_done = 0
        self.num_failed = 0
        self.failures: list[FailedUnit] = []
        self.num_skipped = 0
        """Units that were listed again, as a revision that is in the catalog or the listing
        already."""
        self.num_failed_before = 0
        """Units that were listed again, as a revision that failed for good in an earlier sweep."""
        self.num_taken_over = 0
        """Units done that took the rows of a finished one of equal weights."""
        self.nbytes = 0
        """Bytes that were read for the units done."""

    @property
    def num_ended(self) -> int:
        """Units that need nothing more in this sweep."""
        return self.num_done + self.num_failed + self.num_skipped + self.num_failed_before

    def take(self, event: Ended) -> None:
        """Commit a finished unit, or write its failure row."""
        target = event.unit.target
        if isinstance(event, UnitFailed):
            self._ledger.fail(event)
            self.num_failed += 1
            first = event.message.splitlines()[0] if event.message else event.cause
            self.failures.append(FailedUnit(target.model_id, target.step, event.cause, first))
            self._progress.failed(
                target.model_id, target.step, event.cause, event.message, nbytes=target.nbytes
            )
        else:
            summary = self._ledger.commit(event)
            self.num_done += 1
            self.nbytes += summary.nbytes
            self._progress.done(target.model_id, target.step, summary, nbytes=target.nbytes)

    def settle(self, units: EqualWeights, room: int) -> list[Unit]:
        """Commit what takes over rows by now, and give up what cannot be listed; the units to measure.

        About `room` units more are looked at.
        """
        to_measure: list[Unit] = []
        taken: list[TakeOver] = []
        for decided in units.take(room):
            if isinstance(decided, TakeOver):
                taken.append(decided)
            elif isinstance(decided, Unit):
                to_measure.append(decided)
            else:
                self.take(failed_unit(*decided))
        return [*to_measure, *self._take_over(taken)]

    def _take_over(self, wanted: Sequence[TakeOver]) -> list[Unit]:
        """Commit units with the rows of others; those whose source is not there any more come back."""
        left: list[Unit] = []
        for unit, summary in self._ledger.take_over(wanted):
            if summary is None:
                left.append(unit)
                continue
            self.num_done += 1
            self.num_taken_over += 1
            self._progress.done(
                unit.target.model_id, unit.target.step, summary, nbytes=unit.target.nbytes
            )
        return left

    def take_again(self, before: Unit, after: Unit) -> Unit | None:
        """A unit whose files changed was listed again: the new one, when it has to be measured."""
        choice = self._ledger.choose([after], self._overwrite)
        (after,) = choice.listed
        if not self._ledger.list_instead(before, after):
            self.num_skipped += 1
            return None
        self.num_skipped += len(choice.done)
        self.num_failed_before += len(choice.failed_before)
        target = after.target
        self._progress.listed_again(target.model_id, target.step, target.revision)
        if choice.todo and target.failure is not None:
            self.take(failed_unit(after, target.failure))
            return None
        return after if choice.todo else None


def failed_unit(unit: Unit, failure: Failure) -> UnitFailed[Unit]:
    """A unit that is given up before any task of it has started."""
    return UnitFailed(unit, failure.cause, failure.error_type, failure.message, None, 1)
