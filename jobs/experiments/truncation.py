"""SETOL's test of the effective correlation space: a network with only the leading components of its matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from jobs.experiments.place import Row
from zoo.probes.plain import perceptron

State = Mapping[str, torch.Tensor]
"""Tensors of a perceptron by name."""
Pictured = tuple[torch.Tensor, torch.Tensor]
"""Pictures and labels."""
LAYERS = ("fc1.weight", "fc2.weight")
"""The last layer has ten components: it is left as it is."""


def truncated(state: State, kept: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """`state` with the matrices named in `kept` reduced to so many largest singular components."""
    changed = dict(state)
    for name, count in kept.items():
        left, values, right = torch.linalg.svd(state[name].double(), full_matrices=False)
        lower = (left[:, :count] * values[:count]) @ right[:count]
        changed[name] = lower.to(state[name].dtype)
    return changed


def error(state: State, pictured: Pictured) -> float:
    """Share of the pictures that are classified wrongly."""
    with torch.no_grad():
        said = perceptron({}, state).module(pictured[0]).argmax(dim=1)
    return float((said != pictured[1]).double().mean())


def rules(state: State, layers: Sequence[Row], train: Pictured, test: Pictured) -> list[Row]:
    """The extra error of the network truncated by the power-law tail, and by the trace-log condition.

    `layers`: the measured rows of this network. A layer without a fit is left whole.
    """
    before = error(state, train), error(state, test)
    rows = []
    for rule, column in (("power-law tail", "num_tail"), ("trace-log", "erg_num")):
        kept = {
            row["tensor"]: int(row[column])
            for row in layers
            if row["tensor"] in LAYERS and row[column] is not None
        }
        changed = truncated(state, kept)
        rows.append(
            {
                "rule": rule,
                "kept": ", ".join(
                    f"{name.removesuffix('.weight')} {n}" for name, n in kept.items()
                ),
                "train_error": before[0],
                "test_error": before[1],
                "more_train_error": error(changed, train) - before[0],
                "more_test_error": error(changed, test) - before[1],
            }
        )
    return rows


def curve(state: State, test: Pictured) -> list[tuple[float, float]]:
    """(share of the components that are kept in both layers, test error), from few to all."""
    most = {name: min(state[name].shape) for name in LAYERS}
    shares = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
    return [
        (s, error(truncated(state, {n: max(1, round(s * m)) for n, m in most.items()}), test))
        for s in shares
    ]
