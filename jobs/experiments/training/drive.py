"""The training loop: a stack of networks, a schedule, a wall-clock budget, a folder that a later call goes on from.

The folder holds `log.json` (what was measured), `state.safetensors` (parameters and moments in full precision)
and a file of float32 weights for every step that is kept. Each file is written aside and then named.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from safetensors.torch import load_file
from safetensors.torch import save_file as save_torch

from jobs.experiments.training.schedule import Schedule
from jobs.experiments.training.stack import Named, Stack

LOG, STATE = "log.json", "state.safetensors"
_BLOCK_S = 0.5
"""About so many seconds of steps are asked for at once, then the clock is read."""
_STATE_EVERY_S = 60.0
"""How often the state is written between checkpoints."""

Say = Callable[[int, int, float], None]
"""Told steps done, steps in all, and seconds a step."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted of a training."""

    folder: Path
    setup: Mapping[str, Any]
    """Everything that decides the numbers, as JSON; another one in the folder is an error."""
    runs: tuple[Named, ...]
    schedule: Schedule
    budget_s: float | None = None
    keep_state: bool = True
    """Write `state.safetensors`; without, a later call starts anew."""


class SetupChangedError(Exception):
    """The folder holds a training of another set-up."""


def train(stack: Stack, order: Order, *, say: Say) -> bool:
    """Train to the end of the schedule or of the budget; True: the end was reached. Resumes."""
    began = time.monotonic()
    order.folder.mkdir(parents=True, exist_ok=True)
    rows = _resume(stack, order)
    due = order.schedule.measured
    per_step = 0.0
    saved_at = time.monotonic()
    while True:
        done = stack.steps_done
        if done in due and (not rows or rows[-1]["step"] < done):
            rows.extend(_measured(stack, order.runs, began))
            if done in order.schedule.kept:
                keep(stack, order)
                _save(stack, order, rows)
                saved_at = time.monotonic()
        if done >= order.schedule.end:
            return True
        spent = time.monotonic() - began
        if order.budget_s is not None and spent + 2 * _BLOCK_S > order.budget_s:
            if not rows or rows[-1]["step"] < done:
                rows.extend(_measured(stack, order.runs, began))
            keep(stack, order)
            _save(stack, order, rows)
            return False
        if time.monotonic() - saved_at > _STATE_EVERY_S:
            _save(stack, order, rows)
            saved_at = time.monotonic()
        next_due = next(step for step in due if step > done)
        unit = order.schedule.unit
        block = next_due - done
        if per_step:
            block = min(block, max(unit, _even(int(_BLOCK_S / per_step), unit)))
        else:
            block = min(block, 10 * unit)
        at = time.monotonic()
        stack.advance(block)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        per_step = (time.monotonic() - at) / block
        say(stack.steps_done, order.schedule.end, per_step)


def _even(steps: int, unit: int) -> int:
    """About `steps`, in whole units, and where there are many in hundreds of them, which graphs divide."""
    whole = 100 * unit if steps >= 1000 * unit else unit
    return steps // whole * whole


def keep(stack: Stack, order: Order) -> None:
    """Write the weights of every run at this step, float32, as `RUN/TENSOR`."""
    tensors = {
        f"{run.name}/{name}": values.astype(np.float32)
        for index, run in enumerate(order.runs)
        for name, values in stack.tensors(index).items()
    }
    path = order.folder / f"step{stack.steps_done:09d}.safetensors"
    aside = path.with_name(f".{path.name}.partial")
    save_file(tensors, aside)
    aside.rename(path)


def read_log(folder: Path) -> dict[str, Any]:
    """`setup` and `rows` of a training's folder."""
    log: dict[str, Any] = json.loads((folder / LOG).read_text(encoding="utf-8"))
    return log


def _measured(stack: Stack, runs: tuple[Named, ...], began: float) -> list[dict[str, Any]]:
    seconds = round(time.monotonic() - began, 2)
    return [
        {"step": stack.steps_done, "run": run.name, "seconds": seconds, **values}
        for run, values in zip(runs, stack.measure(), strict=True)
    ]


def _save(stack: Stack, order: Order, rows: list[dict[str, Any]]) -> None:
    """The state first: a log that is behind it is caught up, one that is ahead would lie."""
    if order.keep_state:
        path = order.folder / STATE
        aside = path.with_name(f".{path.name}.partial")
        state = {name: tensor.cpu().contiguous() for name, tensor in stack.state().items()}
        save_torch(state, aside, metadata={"step": str(stack.steps_done)})
        aside.rename(path)
    path = order.folder / LOG
    aside = path.with_name(f".{path.name}.partial")
    log = {"setup": order.setup, "rows": rows}
    aside.write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")
    aside.rename(path)


def _resume(stack: Stack, order: Order) -> list[dict[str, Any]]:
    """Go on where the folder's state stands; returns the rows up to there."""
    path = order.folder / STATE
    if not path.exists():
        return []
    log = read_log(order.folder)
    if log["setup"] != json.loads(json.dumps(order.setup)):
        raise SetupChangedError(
            f"{order.folder} holds a training of another set-up ({log['setup']}); "
            f"wanted {order.setup}: choose another folder"
        )
    with safe_open(path, framework="pt") as opened:
        step = int(opened.metadata()["step"])
    stack.load(load_file(path), step)
    return [row for row in log["rows"] if row["step"] <= step]
