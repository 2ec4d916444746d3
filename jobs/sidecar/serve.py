"""The process itself: lines of JSON from the training, lines of JSON back; it leaves when the training does.

`zoo.callbacks.beside` starts it by the name of this module. The first line says what is wanted, then come
`measure` and at last `end`. Standard input that ends without it means that the training was killed: the
books are closed, the weights on their way are removed, and the process ends amid whatever it computes.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from catalog.errors import CatalogError
from jobs.sidecar.run import TrainingRun
from zoo.errors import ZooError
from zoo.options import AnalysisOptions, LayerSelection

_INTERRUPTED = 75


def serve() -> None:
    """Serve one training on standard input and output."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints goes to the log
    asked = json.loads(sys.stdin.readline())
    if asked["idle_only"]:
        _stand_back()
    try:
        run = TrainingRun(
            asked["catalog"],
            asked["model_id"],
            AnalysisOptions(**asked["options"]),
            LayerSelection(**asked["selection"]),
            device=asked["device"],
        )
        _say(answers, {"is": "ready", "steps": run.steps()})
    except (ZooError, CatalogError) as error:
        _say(answers, {"is": "refused", "message": str(error)})
        return
    questions: queue.Queue[Mapping[str, Any]] = queue.Queue()
    reader = threading.Thread(
        target=_read, args=(questions, run, Path(asked["scratch"])), daemon=True
    )
    reader.start()
    _prepare(asked["threads"])
    while (question := questions.get())["do"] != "end":
        _say(answers, run.measure(question["step"], Path(question["folder"])))
    run.end(interrupted=False)


def _prepare(threads: int) -> None:
    """Load what measures, seconds of it, while the training goes on."""
    from jobs.sweep.work import MEASURING
    from zoo.machine.threads import set_threads

    set_threads(threads)
    MEASURING.prepare()


def _read(questions: queue.Queue[Mapping[str, Any]], run: TrainingRun, scratch: Path) -> None:
    """Hand on what the training asks; leave when it is gone."""
    for line in sys.stdin:
        question = json.loads(line)
        questions.put(question)
        if question["do"] == "end":
            return
    try:
        run.end(interrupted=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        os._exit(_INTERRUPTED)  # a solve cannot be interrupted; commits are whole or not there


def _stand_back() -> None:
    """Take only the processor time that nobody else on this machine wants, as far as the system can tell."""
    os.nice(19)
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _say(answers: IO[str], message: Mapping[str, object]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()
