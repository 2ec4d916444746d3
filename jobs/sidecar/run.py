"""One training as a sweep that grows: each snapshot becomes a unit of a trajectory, by the code of sweeps.

A snapshot is a folder with a model. Its revision is the fingerprint of its bytes and the step, its rows are
those that a sweep over the same weights gives. What differs: a unit is listed when it is measured, not
before, so that a training that dies leaves nothing that is missing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from catalog.files.lock import sweep_lock
from catalog.read.definitions import views_of
from catalog.read.query import ask
from catalog.read.views import connect
from catalog.write.commits import prepare
from jobs.runners.outcome import Raised
from jobs.runners.schedule import UnitDone, UnitFailed
from jobs.runners.worker import attempt
from jobs.sidecar.onset import begun
from jobs.sources.pinned import pinned
from jobs.sources.target import Origin, Target
from jobs.sweep.ledger import Choice, Ledger
from jobs.sweep.work import MEASURING
from jobs.units.unit import Task, Unit, unit_of
from zoo.options import AnalysisOptions, LayerSelection

_STEPS = "select distinct step from models where model_id = $model_id and step is not null"
_NUMBERS = "from trajectories where model_id = $model_id and step = $step"
_TRAPS = """
select tensor, part, expert, step, num_traps from layers_latest
semi join trajectories using (model_id, revision)
where model_id = $model_id and step <= $step and num_traps is not null and tied_to is null
"""
_SETTINGS = {"include", "exclude", "min_evals", "fused", "experts", "adapters", "deltas", "metrics"}
"""Options that stand in [layers] of a spec."""
_TRAP_SETTINGS = {"shuffle", "replicates", "seed", "level", "modes", "incumbent"}
"""Options that stand in [traps]; what is left stands in [tail]."""


class TrainingRun:
    """The pen of one training; holds the lock of its name until `end`."""

    def __init__(
        self,
        root: str,
        model_id: str,
        options: AnalysisOptions,
        selection: LayerSelection,
        *,
        device: str,
    ) -> None:
        """Make the catalog if need be. UseError, CatalogError: LockedError while another one writes it."""
        self.root, self.model_id, self._device = root, model_id, device
        self._options, self._selection = options, selection
        self._units: list[Unit] = []
        name = f"training {model_id}"
        with ExitStack() as stack:
            prepare(root)
            stack.enter_context(sweep_lock(root, name))
            self._stack = stack.pop_all()
        text = spec_text(name, model_id, options, selection)
        self._ledger = Ledger(root, name=name, spec_text=text)
        self._num_done = self._num_skipped = self._num_failed = 0

    def steps(self) -> list[int]:
        """Steps of the model that the catalog has."""
        (rows,) = self._ask((_STEPS,), {})
        return sorted(int(row["step"]) for row in rows)

    def measure(self, step: int, folder: Path) -> Mapping[str, object]:
        """Measure what lies in `folder` and commit it; the answer to the training."""
        started = time.perf_counter()
        unit = self._unit(step, folder)
        self._units.append(unit)
        choice = self._ledger.choose([unit], "never")
        listed = replace(choice, listed=tuple(self._units))
        if choice.done:
            self._ledger.begin(listed)
            self._num_skipped += 1
        else:
            why = self._measured(unit, listed)
            if why is not None:
                return {"is": "failed", "step": step, "message": why}
        numbers, traps = self._ask((_NUMBERS, _TRAPS), {"step": step})
        said = {k: v for k, v in numbers[0].items() if isinstance(v, int | float) and k != "step"}
        return {
            "is": "measured",
            "step": step,
            "numbers": said,
            "onset": begun(traps, step),
            "seconds": time.perf_counter() - started,
        }

    def end(self, *, interrupted: bool) -> None:
        """Close the books."""
        self._ledger.end(
            len(self._units),
            self._num_done,
            self._num_skipped,
            self._num_failed,
            interrupted=interrupted,
            exit_code=75 if interrupted else int(bool(self._num_failed)),
        )
        self._stack.close()

    def _unit(self, step: int, folder: Path) -> Unit:
        target = Target(
            model_id=self.model_id,
            revision="",
            location=None,
            source=f"training:{self.model_id}",
            step=step,
            origin=Origin("training", str(folder), self.model_id),
        )
        return unit_of(pinned(target), self._options, self._selection)

    def _measured(self, unit: Unit, listed: Choice) -> str | None:
        """Commit the rows of a unit; why there are none, where it failed."""
        failure = unit.target.failure
        task = Task(unit, device=self._device)
        outcome = (
            Raised(failure.cause, failure.error_type, failure.message, "")
            if failure is not None
            else attempt(MEASURING, task)
        )
        self._ledger.begin(listed)
        if isinstance(outcome, Raised):
            self._num_failed += 1
            self._ledger.fail(
                UnitFailed(
                    unit, outcome.cause, outcome.error_type, outcome.message, outcome.traceback, 1
                )
            )
            return f"{outcome.cause}: {outcome.message}"
        self._ledger.commit(UnitDone(unit, (outcome.result,)))
        self._num_done += 1
        return None

    def _ask(
        self, queries: Sequence[str], values: Mapping[str, object]
    ) -> list[list[dict[str, Any]]]:
        """The rows of each query, all of the model."""
        views = frozenset(view for query in queries for view in views_of(query) or ())
        named = {"model_id": self.model_id, **values}
        with connect(self.root, only=views) as con:
            return [ask(con, query, named).to_pylist() for query in queries]


def spec_text(name: str, model_id: str, options: AnalysisOptions, selection: LayerSelection) -> str:
    """The spec that such numbers follow, as refits and probes read it back: its source names no place, as
    the weights were in memory alone."""
    fields = {**asdict(options), **asdict(selection)}
    tables: dict[str, list[str]] = {"layers": [], "traps": [], "tail": []}
    for key, value in fields.items():
        if key == "device":
            continue
        table = "layers" if key in _SETTINGS else "traps" if key in _TRAP_SETTINGS else "tail"
        tables[table].append(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    lines = ["# Weights of a training, measured while it ran (zoo.callbacks).", "[sweep]"]
    lines += [f"name = {json.dumps(name[:128], ensure_ascii=False)}", "[[source]]"]
    lines.append(f"path = {json.dumps(model_id, ensure_ascii=False)}")
    for table, values in tables.items():
        lines += [f"[{table}]", *values]
    return "\n".join(lines) + "\n"
