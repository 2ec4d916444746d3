"""One task of a sweep -> its rows. Serial, the same on every runner; knows nothing of catalogs or
retries."""

from __future__ import annotations

import importlib
import time
from dataclasses import replace

from jobs.runners.worker import Work
from jobs.sweep.task_rows import TaskRows
from jobs.units.unit import Task


def prepare() -> None:
    """Once a worker process: set how memory is returned, and load what measures, seconds of it."""
    from zoo.machine.heap import return_large_arrays

    return_large_arrays()
    for module in ("zoo.measure.model", "zoo.measure.one_by_one"):
        importlib.import_module(module)


def measure_task(task: Task) -> TaskRows:
    """Measure the layers of `task`. Raises the errors of `zoo.errors`."""
    from jobs.sources.base_names import card_of
    from jobs.sweep import rows
    from zoo.io.weights_key import settings_key
    from zoo.measure.model import measure, open_model

    started = time.perf_counter()
    unit = task.unit
    options = replace(unit.options, device=task.device)
    with unit.target.reading() as store:
        model = open_model(store, unit.selection)
        first = task.group == 0
        reports = list(
            measure(model, options, weights=task.weights, first=first, share=task.gpu_share)
        )
        card = card_of(store) if first else None
        return TaskRows(
            layers=tuple(report.row for report in reports),
            traps=tuple(trap for report in reports for trap in report.traps),
            spectra=tuple(rows.spectrum_rows(reports)),
            tensors=tuple(rows.tensor_rows(model)) if first else (),
            evaluations=card.evaluations if card else (),
            facts=rows.model_facts(model, card) if card else None,
            decoders=model.decoders,
            weights_key=store.weights_key,
            settings_key=settings_key(model.configs),
            bytes_read=store.counters.bytes_read,
            requests=store.counters.requests,
            seconds=time.perf_counter() - started,
        )


MEASURING = Work(prepare=prepare, run=measure_task)
"""What the workers of a sweep do."""
