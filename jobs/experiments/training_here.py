"""The training of an experiment: run or gone on with here, or taken from a folder that was filled elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jobs.experiments.place import Place, Row, TrainingWatch
from jobs.experiments.training.drive import LOG, Order, SetupChangedError, read_log, train
from jobs.experiments.training.pack import unpack
from jobs.experiments.training.schedule import Schedule
from jobs.experiments.training.stack import Named, Stack
from zoo.errors import UseError


def trained(
    place: Place,
    make: Callable[[], Stack],
    *,
    runs: tuple[Named, ...],
    schedule: Schedule,
    setup: Mapping[str, Any],
    what: str,
    folder: str = "training",
) -> tuple[Path, Mapping[str, Any], list[Row]]:
    """(folder of checkpoints, set-up, rows of the log), in `folder` of the experiment's; raises UseError."""
    path = place.out / folder
    if place.taken_from is not None:
        return _taken(place.taken_from, path)
    place.out.mkdir(parents=True, exist_ok=True)
    whole = {**setup, "runs": [run.name for run in runs], "device": place.device}
    order = Order(path, whole, runs, schedule, budget_s=place.budget_s)
    watch = TrainingWatch(what, quiet=place.quiet)
    try:
        train(make(), order, say=watch)
    except SetupChangedError as error:
        raise UseError(str(error)) from error
    finally:
        watch.close()
    log = read_log(path)
    return path, log["setup"], log["rows"]


def _taken(source: Path, folder: Path) -> tuple[Path, Mapping[str, Any], list[Row]]:
    """Checkpoints and log of a training on another machine, packed or not."""
    if not (source / LOG).is_file():
        raise UseError(
            f"--from {source}: no {LOG}; wanted a folder that "
            "`python -m jobs.experiments.training` wrote"
        )
    folder.mkdir(parents=True, exist_ok=True)
    unpack(source, folder)
    for path in (*source.glob("step*.safetensors"), source / LOG):
        if path.resolve().parent != folder.resolve():
            shutil.copyfile(path, folder / path.name)
    log = read_log(folder)
    return folder, log["setup"], log["rows"]
