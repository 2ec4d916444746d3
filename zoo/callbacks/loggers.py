"""Where the numbers of a measured step go beside the catalog: W&B, TensorBoard, MLflow, or a function.

Each is loaded when it is asked for by name, and only then.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from zoo.errors import UseError

Log = Callable[[int, Mapping[str, float]], None]
"""(step, number by name): what a logger takes."""

_PREFIX: Final = "zoo/"
"""In front of every name, so that the numbers stand in a group of their own."""


def loggers_of(wanted: Iterable[str | Log]) -> tuple[Log, ...]:
    """The loggers behind names (`wandb`, `mlflow`, `tensorboard:FOLDER`) and functions.

    UseError for a name that is none, or whose package is not installed.
    """
    given = [wanted] if isinstance(wanted, str) else list(wanted)
    return tuple(_named(one) if isinstance(one, str) else one for one in given)


def _named(text: str) -> Log:
    name, _, place = text.partition(":")
    if name == "wandb":
        return _wandb()
    if name == "mlflow":
        return _mlflow()
    if name == "tensorboard" and place:
        return _tensorboard(place)
    raise UseError(
        f"loggers: got {text!r}; wanted 'wandb', 'mlflow', 'tensorboard:FOLDER' or a function of a "
        "step and its numbers"
    )


def _need(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise UseError(
            f"loggers: got {package!r}, which is not installed; pip install {package}, or leave it out"
        )


def _wandb() -> Log:
    """Logs to the run that is active then. Measurements come back after the step that they are of, and W&B
    wants its own step to grow: so `zoo/step` is their axis."""
    _need("wandb")
    import wandb

    defined: set[object] = set()

    def log(step: int, numbers: Mapping[str, float]) -> None:
        run = wandb.run
        if run is None:
            return
        if run.id not in defined:
            defined.add(run.id)
            run.define_metric(f"{_PREFIX}step")
            run.define_metric(f"{_PREFIX}*", step_metric=f"{_PREFIX}step")
        run.log({f"{_PREFIX}step": step, **_prefixed(numbers)})

    return log


def _mlflow() -> Log:
    """Logs to the run that is active then."""
    _need("mlflow")
    import mlflow

    def log(step: int, numbers: Mapping[str, float]) -> None:
        if mlflow.active_run() is not None:
            mlflow.log_metrics(_prefixed(numbers), step=step)

    return log


def _tensorboard(folder: str) -> Log:
    _need("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(folder)

    def log(step: int, numbers: Mapping[str, float]) -> None:
        for name, value in _prefixed(numbers).items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return log


def _prefixed(numbers: Mapping[str, float]) -> dict[str, float]:
    return {f"{_PREFIX}{name}": value for name, value in numbers.items()}
