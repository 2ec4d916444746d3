"""One task -> one outcome. Serial, the same on every runner; knows nothing of runners, catalogs or retries."""

from __future__ import annotations

import contextlib
import time
import traceback
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from jobs.runners.outcome import Finished, Raised
from jobs.units.unit import HubAccess, Task
from zoo.errors import ResourceError, ZooError

if TYPE_CHECKING:
    from zoo.card import Card
    from zoo.io.store import Store


def prepare(threads: int, hub: HubAccess | None) -> None:
    """Once a worker process, before its first task: threads, memory, and the way to the Hub if any.

    What measures is loaded here too, seconds of it, so that no task's time limit pays for that.
    """
    from zoo.machine.heap import return_large_arrays
    from zoo.machine.threads import set_threads

    set_threads(threads)
    return_large_arrays()
    import zoo.measure.model  # noqa: F401  for its loading alone; torch reads the threads when it is loaded

    if hub is not None:
        from zoo.hub.session import configure

        configure(pacing=hub.pacing, options=hub.options)


def run_task(task: Task) -> Finished | Raised:
    """Measure the layers of `task`. What goes wrong comes back as a value with its cause."""
    try:
        return _measure(task)
    except ZooError as error:
        return _raised(error, error.cause)
    except MemoryError as error:
        return _raised(error, ResourceError.cause)
    except (
        Exception
    ) as error:  # the boundary of a worker: a bug of ours becomes a row with its traceback
        return _raised(error, "resource" if _is_out_of_memory(error) else "bug")


def _measure(task: Task) -> Finished:
    from jobs.sweep import rows
    from zoo.measure.model import measure, open_model

    started = time.perf_counter()
    unit = task.unit
    options = replace(unit.options, device=task.device)
    store = unit.target.open()
    try:
        model = open_model(store, unit.selection)
        reports = list(measure(model, options, weights=task.weights, first=task.group == 0))
        first = task.group == 0
        card = _card(store) if first else None
        spectra = (rows.spectrum_row(r) for r in reports)
        return Finished(
            layers=tuple(rows.layer_row(r, step=unit.target.step) for r in reports),
            traps=tuple(t for r in reports for t in rows.trap_rows(r)),
            spectra=tuple(s for s in spectra if s is not None),
            tensors=tuple(rows.tensor_rows(model)) if first else (),
            evaluations=tuple(rows.evaluation_rows(card)) if card else (),
            model={
                **(rows.model_columns(model, card) if card else {}),
                "bytes_read": store.counters.bytes_read,
                "requests": store.counters.requests,
                "seconds": time.perf_counter() - started,
            },
        )
    finally:
        store.close()


def _card(store: Store) -> Card:
    from zoo.card import Card, front_of, parse_card
    from zoo.io.files import read_bytes

    size = store.files().get("README.md", 0)
    if size == 0:
        return Card()
    with contextlib.closing(store.open("README.md")) as file:
        return parse_card(front_of(partial(read_bytes, file), size))


def _raised(error: BaseException, cause: str) -> Raised:
    return Raised(cause, type(error).__name__, str(error), traceback.format_exc(limit=40))


def _is_out_of_memory(error: Exception) -> bool:
    """torch raises RuntimeError on CPU and its own class on CUDA when an allocation fails."""
    name = type(error).__name__
    return name == "OutOfMemoryError" or (
        name == "RuntimeError" and "allocate memory" in str(error)
    )
