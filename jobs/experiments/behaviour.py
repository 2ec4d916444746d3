"""What a perceptron says of inputs that show nothing, what it has stored, and what it forgets without a trap.

Prakash and Martin 2026: appendix B of 2605.12394 (shuffled pixels, Gaussian inputs), appendix G of 2602.02859
(prototype pictures).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from jobs.experiments.modes import Tested, without_traps
from jobs.experiments.place import Row
from zoo.probes.plain import perceptron

CLASSES = 10
"""The digits."""

State = Mapping[str, torch.Tensor]
"""Tensors of a perceptron by name."""


def behaviour(state: State, tested: Tested, *, run: str, step: int) -> list[Row]:
    """Predicted classes on the test set, on its pictures with shuffled pixels, and on Gaussian noise of
    the same mean and spread: the commonest, its share, and the mean confidence."""
    images, labels = tested
    generator = torch.Generator().manual_seed(0)
    order = torch.rand(images.shape, generator=generator).argsort(dim=1)
    noise = torch.randn(images.shape, generator=generator) * images.std() + images.mean()
    rows = []
    kinds = {
        "test set": images,
        "shuffled pixels": images.gather(1, order),
        "Gaussian noise": noise,
    }
    for kind, inputs in kinds.items():
        logits = _logits(state, inputs)
        said = logits.argmax(dim=1)
        counts = torch.bincount(said, minlength=CLASSES)
        rows.append(
            {
                "run": run,
                "step": step,
                "inputs": kind,
                "commonest": int(counts.argmax()),
                "share_of_commonest": float(counts.max() / len(said)),
                "classes_said": int((counts > 0).sum()),
                "confidence": float(logits.softmax(dim=1).max(dim=1).values.mean()),
                "accuracy": float((said == labels).double().mean()) if kind == "test set" else None,
            }
        )
    return rows


def prototypes(state: State, *, prefix: str) -> dict[str, NDArray[np.float64]]:
    """Leading right singular vectors of the three layers carried back to pixels, by title: v1, v2·W1, v3·W2·W1."""
    weights = [state[f"fc{layer}.weight"].double().numpy() for layer in (1, 2, 3)]
    back = np.eye(weights[0].shape[1])
    pictures = {}
    for layer, weight in enumerate(weights, 1):
        leading = np.linalg.svd(weight, full_matrices=False)[2][0]
        pixels = leading @ back
        side = int(np.sqrt(len(pixels)))
        pictures[f"{prefix} fc{layer}"] = pixels.reshape(side, side)
        back = weight @ back
    return pictures


def forgotten(state: State, tested: Tested, *, run: str, step: int) -> list[Row]:
    """Which class loses most when all traps are replaced: forgetting after removal."""
    changed, count = without_traps(state)
    if not count:
        return []
    images, labels = tested
    before, after = (_logits(one, images).argmax(dim=1) == labels for one in (state, changed))
    losses = {
        digit: float(
            before[labels == digit].double().mean() - after[labels == digit].double().mean()
        )
        for digit in range(CLASSES)
    }
    worst = max(losses, key=lambda digit: losses[digit])
    return [
        {
            "run": run,
            "step": step,
            "what": f"all traps removed: class {worst} loses most, {100 * losses[worst]:.1f} points",
            "steps": 0,
            "test_before": float(before.double().mean()),
            "test_accuracy": float(after.double().mean()),
            "traps": None,
        }
    ]


def _logits(state: State, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = perceptron({}, state).module(images)
    return logits
