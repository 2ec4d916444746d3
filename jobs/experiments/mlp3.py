"""Experiment `mlp3`: SETOL's three-layer perceptron over batch sizes and learning rates (Martin and Hinrichs 2025).

784-300-100-10, plain SGD at 0.01 times 1 to 32, batches of 1 to 32. small: scikit-learn's digits and four trials.
medium: MNIST (8,000 of a file of 10,000 are trained on), all eleven settings. full: five seeds of the same on
10,000. Every network trains a fixed number of epochs; the paper stops early, by its training loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.numpy import load_file

from jobs.experiments import digits
from jobs.experiments.measuring import layers_of, sweep, trajectory_sources
from jobs.experiments.mlp3_claims import claims, draw, settings
from jobs.experiments.place import Findings, Place, Row, Table
from jobs.experiments.training.classifiers import Classifiers, Trial
from jobs.experiments.training.perceptrons import Pictures
from jobs.experiments.training.schedule import Schedule
from jobs.experiments.training_here import trained
from jobs.experiments.trajectory import write_trajectories
from jobs.experiments.truncation import curve, rules

TITLE = "SETOL's MLP3: batch size, learning rate and the ideal alpha"


@dataclass(frozen=True, slots=True)
class Setup:
    """One scale of the experiment."""

    is_mnist: bool
    num_train: int
    trials: tuple[Trial, ...]
    epochs: int
    hidden: tuple[int, int] = (300, 100)


def _grid(seeds: int) -> tuple[Trial, ...]:
    sizes, rates = (1, 2, 4, 8, 16, 32), (1, 2, 4, 8, 16, 32)
    pairs = dict.fromkeys([*((size, 1) for size in sizes), *((32, times) for times in rates)])
    return tuple(Trial(*pair, seed) for pair in pairs for seed in range(seeds))


SETUPS: Mapping[str, Setup] = {
    "small": Setup(
        False, 1200, (Trial(32, 1, 0), Trial(32, 8, 0), Trial(32, 32, 0), Trial(2, 1, 0)), 40
    ),
    "medium": Setup(True, 8_000, _grid(1), 30),
    "full": Setup(True, 8_000, _grid(5), 30),
}
"""By scale."""


def run(place: Place, setup: Setup | None = None) -> Findings:
    """Train each batch size (or go on), sweep, truncate, and put our numbers beside the paper's."""
    setup = setup or SETUPS[place.scale]
    if setup.is_mnist:
        pictures = digits.mnist(place.data, num_train=setup.num_train, pooled=False)
    else:
        pictures = digits.of_scikit_learn(setup.num_train)
    log: list[Row] = []
    names: list[str] = []
    facts: Mapping[str, Any] = {}
    for batch in sorted({trial.batch for trial in setup.trials}, reverse=True):
        trials = tuple(trial for trial in setup.trials if trial.batch == batch)
        an_epoch = setup.num_train // batch
        folder, facts, rows = trained(
            place,
            lambda trials=trials: Classifiers(  # type: ignore[misc]  # mypy infers no default
                pictures,
                trials,
                setup.hidden,
                dtype=torch.float32,
                device=torch.device(place.device),
            ),
            runs=trials,
            schedule=Schedule(
                setup.epochs * an_epoch,
                an_epoch,
                measured_a_decade=6,
                kept_a_decade=3,
                kept_from=2 * an_epoch,
            ),
            setup={"hidden": setup.hidden, "num_train": setup.num_train, "epochs": setup.epochs},
            what=f"batches of {batch}",
            folder=f"training-batch{batch}",
        )
        log += rows
        names += write_trajectories(folder, rows, place.zoo, _config(setup), _words(setup, batch))
    sweep(place, trajectory_sources(names), name="mlp3")
    return findings(place, setup, pictures, facts, log)


def findings(
    place: Place, setup: Setup, pictures: Pictures, facts: Mapping[str, Any], log: list[Row]
) -> Findings:
    """Tables, claims and the figure."""
    layers = layers_of(place)
    truncations: list[Row] = []
    curves: dict[str, list[tuple[float, float]]] = {}
    for trial in setup.trials:
        own = [row for row in layers if row["name"] == trial.name]
        last = max(row["step"] for row in own)
        tensors = load_file(place.zoo / trial.name / f"step{last:09d}" / "model.safetensors")
        state = {name: torch.from_numpy(values) for name, values in tensors.items()}
        train, test = (
            (torch.from_numpy(pictures.images[c]), torch.from_numpy(pictures.labels[c]))
            for c in (pictures.training(trial.seed), pictures.testing(trial.seed))
        )
        at_end = [row for row in own if row["step"] == last]
        truncations += [{"run": trial.name, **row} for row in rules(state, at_end, train, test)]
        if trial.seed == 0:
            curves[trial.name] = curve(state, test)
    rows = settings(layers, log, setup.trials)
    figure = draw(place.out / "figures" / "mlp3.png", layers, curves)
    notes = [
        "Every network trains a fixed number of epochs; the paper stops early and keeps the best."
    ]
    if setup.is_mnist:
        notes.append(f"{setup.num_train:,} training pictures, where the paper has 54,000.")
    else:
        notes.append(
            "scikit-learn's 8×8 digits: steps and alphas are not comparable with the paper's."
        )
    return Findings(
        title=TITLE,
        setup={**facts, "runs": len(setup.trials)},
        tables=[
            Table("Each setting at its last epoch", rows),
            Table("Truncated to the tail (the paper's test)", truncations),
        ],
        claims=claims(rows, truncations),
        figures=[figure] if figure else [],
        notes=notes,
    )


def _config(setup: Setup) -> dict[str, Any]:
    return {
        "architectures": ["MLP"],
        "model_type": "mlp",
        "hidden_sizes": list(setup.hidden),
        "num_train": setup.num_train,
    }


def _words(setup: Setup, batch: int) -> str:
    return (
        f"A perceptron with hidden layers of {setup.hidden[0]} and {setup.hidden[1]} on {setup.num_train} digits, "
        f"batches of {batch}, cross-entropy, plain SGD."
    )
