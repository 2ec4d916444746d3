"""The sweep's side of the catalog: what is there already, and how results become rows with their keys.

The only writer during a sweep. Knows rows and versions; nothing of runners.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from catalog.read.lacking import Lack
from catalog.write import commits
from catalog.write.finished import FinishedUnit, just_committed, stored_units
from catalog.write.names import UnitKey
from jobs.runners.retry import TERMINAL
from jobs.runners.schedule import UnitDone, UnitFailed
from jobs.screen.progress import UnitSummary
from jobs.screen.secrets import redacted
from jobs.sweep.history import History
from jobs.sweep.model_row import ModelRow
from jobs.sweep.takeover import TakeOver, taken_over
from jobs.sweep.task_rows import TaskRows
from jobs.units.unit import Unit
from jobs.units.versions import versions
from zoo.cells import cells

Overwrite = Literal["never", "failed", "stale", "always"]
"""What of the listed units is computed: see `zoo sweep --help`."""

_FINAL_CAUSES = (TERMINAL | {"poison", "bug"}) - {"hub_permanent", "changed"}
"""An open failure of these causes is not tried again by itself; gated or gone
repositories may come back, and what was being written is finished some time."""
_ROW_BYTES = 16_384
"""About the size of a file with one row of `models`, which does not tell its own."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to become of the units that a sweep lists, each in their order."""

    listed: tuple[Unit, ...]
    """All of them, with the decoders of those that the catalog knows."""
    todo: tuple[Unit, ...]
    done: tuple[Unit, ...]
    """In the catalog already."""
    failed_before: tuple[Unit, ...]
    """Failed for good in an earlier sweep."""
    lacks: tuple[Lack, ...] = ()
    """Rows that finished units among `todo` have lost since they were committed."""


class Ledger:
    """One sweep's pen."""

    def __init__(self, root: str, *, name: str, spec_text: str) -> None:
        self.root = root
        now = datetime.now(UTC)
        self.sweep_id = f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
        self._name = name
        self._spec = redacted(spec_text)
        self._started = now
        self._versions = versions()
        self._listing: dict[tuple[str, str], dict[str, object]] = {}
        """Rows of `listing` by model and revision: a sweep has one unit of each."""
        self._history = History(())
        """As it was when units were last chosen, and what this sweep has committed since."""

    def choose(self, units: Sequence[Unit], overwrite: Overwrite) -> Choice:
        """Which of `units` are to be measured. No header is read for it."""
        self._history = history = History.of(self.root)
        failed = self._open_failures()
        listed: list[Unit] = []
        todo: list[Unit] = []
        done: list[Unit] = []
        failed_before: list[Unit] = []
        lacks: list[Lack] = []
        for unit in map(history.recognise, units):
            listed.append(unit)
            finished = history.finished(unit)
            lacks += history.lacks(unit)
            if overwrite == "always":
                todo.append(unit)
            elif finished is not None:
                is_stale = overwrite == "stale" and not _is_of(finished.versions, self._versions)
                (todo if is_stale else done).append(unit)
            elif UnitKey(*unit.key) in failed and overwrite not in ("failed", "stale"):
                failed_before.append(unit)
            else:
                todo.append(unit)
        return Choice(tuple(listed), tuple(todo), tuple(done), tuple(failed_before), tuple(lacks))

    def begin(self, choice: Choice) -> None:
        """Record that the sweep started and what it listed; clear what a killed one left of it, and
        files of its units that cannot be read, which would keep every question from being answered."""
        units = choice.listed
        commits.drop_unfinished(self.root, map(_revision, units))
        torn = [(lack.table, lack.torn) for lack in choice.lacks if lack.torn is not None]
        commits.drop_torn(self.root, torn)
        self._write_sweep(status="running")
        self._listing = {_revision(unit): self._listing_row(unit) for unit in units}
        commits.record_listing(self.root, self.sweep_id, list(self._listing.values()))

    def list_instead(self, before: Unit, after: Unit) -> bool:
        """Record that `before` was listed again and is `after` now, a unit of another revision perhaps.

        False when `after` was listed by itself: then there is nothing to do for it here.
        """
        self._listing.pop(_revision(before), None)
        if _revision(after) in self._listing:
            return False
        self._listing[_revision(after)] = self._listing_row(after)
        commits.drop_unfinished(self.root, [_revision(after)])
        commits.record_listing(self.root, self.sweep_id, list(self._listing.values()))
        return True

    def _listing_row(self, unit: Unit) -> dict[str, object]:
        return {
            **_keys(unit, self.sweep_id),
            "source": unit.target.source,
            "step": unit.target.step,
            "listed_at": datetime.now(UTC),
            "options_key": unit.options_key,
        }

    def commit(self, event: UnitDone[Unit, TaskRows]) -> UnitSummary:
        """Make a finished unit part of the catalog, whole or not at all."""
        tasks = event.results
        unit = event.unit.with_decoders(name for task in tasks for name in task.decoders)
        model = ModelRow.of(unit, tasks, versions=self._versions)
        layers = sorted(
            (row for task in tasks for row in task.layers), key=lambda row: row.name.layer_index
        )
        step = {"step": model.step}
        self._commit(
            unit,
            cells(model),
            layers=[cells(row) | step for row in layers],
            traps=[cells(row) for task in tasks for row in task.traps],
            evaluations=[cells(row) | step for task in tasks for row in task.evaluations],
            spectra=[cells(row) for task in tasks for row in task.spectra],
            tensors=[cells(row) for task in tasks for row in task.tensors],
        )
        return UnitSummary(
            num_layers=len(layers),
            num_failed=model.layers_failed + (model.deltas_failed or 0),
            num_skipped=model.layers_skipped + (model.deltas_skipped or 0),
            nbytes=model.bytes_read,
            seconds=model.seconds,
        )

    def of_equal_weights(self, unit: Unit, weights_key: str) -> Sequence[FinishedUnit]:
        """See `History.of_equal_weights`: what is there by now, this sweep's own work included."""
        return self._history.of_equal_weights(unit, weights_key)

    def of_equal_weights_today(self, unit: Unit, weights_key: str) -> Sequence[FinishedUnit]:
        """Those of them that were measured with today's package versions."""
        candidates = self.of_equal_weights(unit, weights_key)
        return [unit for unit in candidates if _is_of(unit.versions, self._versions)]

    def take_over(self, wanted: Sequence[TakeOver]) -> Iterator[tuple[Unit, UnitSummary | None]]:
        """Commit units with the rows of finished ones; None for one whose source is not there any more."""
        for take, rows in taken_over(self.root, wanted):
            if rows is None:
                yield take.unit, None
                continue
            self._commit(
                take.unit,
                rows.model,
                layers=rows.layers,
                traps=rows.traps,
                evaluations=rows.evaluations,
                spectra=rows.spectra,
                tensors=rows.tensors,
            )
            status = [row["status"] for row in rows.layers]
            yield (
                take.unit,
                UnitSummary(
                    num_layers=len(status),
                    num_failed=status.count("failed"),
                    num_skipped=status.count("skipped"),
                    nbytes=0,
                    seconds=0.0,
                ),
            )

    def _commit(
        self,
        unit: Unit,
        model: dict[str, object],
        *,
        layers: Sequence[commits.Row],
        traps: Sequence[commits.Row],
        evaluations: Sequence[commits.Row],
        spectra: Sequence[commits.Row],
        tensors: Sequence[commits.Row],
    ) -> None:
        keys = _keys(unit, self.sweep_id)
        commits.commit_unit(
            self.root,
            model=keys | model,
            layers=layers,
            traps=traps,
            evaluations=evaluations,
            spectra=spectra,
            tensors=tensors,
        )
        self._history.add(just_committed(keys | model))

    def fail(self, event: UnitFailed[Unit]) -> None:
        """Write the failure row of a unit."""
        commits.record_failure(
            self.root,
            {
                **_keys(event.unit, self.sweep_id),
                "cause": "data" if event.cause == "use" else event.cause,
                "error_type": event.error_type,
                "message": redacted(event.message)[:20_000],
                "traceback": None if event.traceback is None else redacted(event.traceback),
                "attempts": event.attempts,
                "failed_at": datetime.now(UTC),
                "options_key": event.unit.options_key,
            },
        )

    def end(
        self,
        listed: int,
        done: int,
        skipped: int,
        failed: int,
        *,
        interrupted: bool,
        exit_code: int,
    ) -> None:
        """Record how the sweep ended."""
        self._write_sweep(
            status="interrupted" if interrupted else "done",
            num_listed=listed,
            num_done=done,
            num_skipped=skipped,
            num_failed=failed,
            ended_at=datetime.now(UTC),
            exit_code=exit_code,
        )

    def bytes_per_unit(self) -> float | None:
        """Mean size of a unit's files in the catalog; None when no unit says how large they are."""
        sizes = [
            sum(part.nbytes or 0 for part in unit.parts.values()) + _ROW_BYTES
            for unit in stored_units(self.root)
            if any(part.nbytes for part in unit.parts.values())
        ]
        return sum(sizes) / len(sizes) if sizes else None

    def _write_sweep(self, **columns: object) -> None:
        commits.record_sweep(
            self.root,
            {
                "sweep_id": self.sweep_id,
                "name": self._name,
                "spec": self._spec,
                "versions": self._versions,
                "started_at": self._started,
                **columns,
            },
        )

    def _open_failures(self) -> frozenset[UnitKey]:
        marks = ", ".join("?" for _ in _FINAL_CAUSES)
        return self._ask(
            f"select model_id, revision, analysis_key from failures_open where cause in ({marks})",
            sorted(_FINAL_CAUSES),
        )

    def _ask(self, query: str, values: Sequence[str]) -> frozenset[UnitKey]:
        from catalog.errors import NotACatalogError
        from catalog.read import views
        from catalog.read.definitions import views_of
        from catalog.read.query import ask

        try:
            with views.connect(self.root, only=views_of(query)) as con:
                rows = ask(con, query, values).to_pylist()
        except NotACatalogError:
            return frozenset()
        return frozenset(UnitKey(**row) for row in rows)


def _revision(unit: Unit) -> tuple[str, str]:
    return unit.target.model_id, unit.target.revision


def _keys(unit: Unit, sweep_id: str) -> dict[str, object]:
    model_id, revision, key = unit.key
    return {"sweep_id": sweep_id, "model_id": model_id, "revision": revision, "analysis_key": key}


def _is_of(stored: str | None, today: str) -> bool:
    """True when all numbers of a unit come from the package versions `today`.

    Rows of version 0.1.0 have the base revision of adapters among their versions.
    """
    try:
        measured_with = json.loads(stored or "null")
    except ValueError:
        return False
    if not isinstance(measured_with, dict):
        return False
    measured_with.pop("base_revision", None)
    wanted = json.loads(today)
    refitted_with = measured_with.pop("refit", wanted)
    return bool(measured_with == wanted == refitted_with)
