"""One task of a sweep -> its rows. Serial, the same on every runner; knows nothing of catalogs or
retries."""

from __future__ import annotations

import contextlib
import importlib
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from jobs.runners.worker import Work
from jobs.sweep.task_rows import TaskRows
from jobs.units.unit import Task

if TYPE_CHECKING:
    from zoo.card import Card
    from zoo.io.store import Store


def prepare() -> None:
    """Once a worker process: set how memory is returned, and load what measures, seconds of it."""
    from zoo.machine.heap import return_large_arrays

    return_large_arrays()
    importlib.import_module("zoo.measure.model")


def measure_task(task: Task) -> TaskRows:
    """Measure the layers of `task`. Raises the errors of `zoo.errors`."""
    from jobs.sweep import rows
    from zoo.measure.model import measure, open_model

    started = time.perf_counter()
    unit = task.unit
    options = replace(unit.options, device=task.device)
    with unit.target.reading() as store:
        model = open_model(store, unit.selection)
        reports = list(measure(model, options, weights=task.weights, first=task.group == 0))
        first = task.group == 0
        card = _card(store) if first else None
        return TaskRows(
            layers=tuple(report.row for report in reports),
            traps=tuple(trap for report in reports for trap in report.traps),
            spectra=tuple(rows.spectrum_rows(reports)),
            tensors=tuple(rows.tensor_rows(model)) if first else (),
            evaluations=card.evaluations if card else (),
            facts=rows.model_facts(model, card) if card else None,
            decoders=model.decoders,
            bytes_read=store.counters.bytes_read,
            requests=store.counters.requests,
            seconds=time.perf_counter() - started,
        )


def _card(store: Store) -> Card:
    from zoo.card import Card, front_of, parse_card
    from zoo.io.files import read_bytes

    size = store.files().get("README.md", 0)
    if size == 0:
        return Card()
    with contextlib.closing(store.open("README.md")) as file:
        return parse_card(front_of(partial(read_bytes, file), size))


MEASURING = Work(prepare=prepare, run=measure_task)
"""What the workers of a sweep do."""
