"""Training gone on with after all traps were removed: does the accuracy come back, and do the traps?"""

from __future__ import annotations

import torch

from jobs.experiments.grokking import Setup
from jobs.experiments.modes import traps_in, without_traps
from jobs.experiments.place import Row
from jobs.experiments.training.perceptrons import Perceptrons, Pictures
from jobs.experiments.training.stack import Run

SHARE = 0.1
"""So much of the setup's steps are trained afterwards, at most MAX_STEPS."""
MAX_STEPS = 20_000


def healing(
    state: dict[str, torch.Tensor],
    pictures: Pictures,
    setup: Setup,
    *,
    seed: int,
    run: str,
    step: int,
) -> list[Row]:
    """Two trainings from the last weights with fresh moments: as they are, and with every trap replaced."""
    changed, count = without_traps(state)
    if not count:
        return []
    steps = int(min(MAX_STEPS, SHARE * setup.steps))
    stack = Perceptrons(
        pictures,
        [Run(seed, 0.0), Run(seed, 0.0)],
        setup.shape,
        dtype=getattr(torch, setup.dtype),
        device=torch.device("cpu"),
    )
    stack.put([state, changed])
    before, removed = stack.measure()
    stack.advance(steps)
    kept, healed = stack.measure()
    return [
        {
            "run": run,
            "step": step,
            "what": what,
            "steps": trained,
            "test_before": before["test_accuracy"],
            "test_accuracy": measured["test_accuracy"],
            "traps": traps_in(weights),
        }
        for what, trained, measured, weights in (
            ("all traps removed", 0, removed, changed),
            ("all traps removed, then trained on", steps, healed, _floats(stack, 1)),
            ("nothing removed, trained on", steps, kept, _floats(stack, 0)),
        )
    ]


def _floats(stack: Perceptrons, run: int) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value).float() for name, value in stack.tensors(run).items()}
