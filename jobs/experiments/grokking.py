"""Experiment `grokking`: a perceptron on 1,000 digits, trained far beyond memorising (Prakash and Martin 2026).

small: scikit-learn's digits, 8×8, 200 to train. medium: MNIST pooled to 14×14, widths 100. full: the papers'
784-200-200-10, eight runs (four seeds with and without weight decay) to 10^7 steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from jobs.experiments import digits
from jobs.experiments.grokking_claims import claims, edges, measures
from jobs.experiments.measuring import layers_of, probe, steps_of, sweep, trajectory_sources
from jobs.experiments.phase_figure import draw_phases
from jobs.experiments.place import Findings, Place, Table
from jobs.experiments.training.adamw import Settings
from jobs.experiments.training.perceptrons import CLASSES, Perceptrons, Pictures, Shape
from jobs.experiments.training.schedule import Schedule
from jobs.experiments.training.stack import Run
from jobs.experiments.training_here import trained
from jobs.experiments.trajectory import write_trajectories
from zoo.probes.options import ProbeOptions

TITLE = "Long-horizon grokking: a perceptron on digits"


@dataclass(frozen=True, slots=True)
class Setup:
    """One scale of the experiment."""

    pictures: str
    """`digits` (scikit-learn's), `pooled` or `mnist`."""
    num_train: int
    shape: Shape
    runs: tuple[Run, ...]
    steps: int
    dtype: str
    kept_from: int = 10_000


SETUPS: Mapping[str, Setup] = {
    "small": Setup(
        "digits",
        200,
        Shape(hidden=(100, 100), batch=50, adamw=Settings(3e-3)),
        (Run(0, 0.0),),
        200_000,
        "float32",
    ),
    "medium": Setup(
        "pooled",
        1000,
        Shape(hidden=(100, 100), adamw=Settings(3e-3)),
        (Run(0, 0.0),),
        1_000_000,
        "float32",
    ),
    "full": Setup(
        "mnist",
        1000,
        Shape(),
        tuple(Run(seed, decay) for decay in (0.0, 0.01) for seed in range(4)),
        10_000_000,
        "float64",
    ),
}
"""By scale."""


def run(place: Place, setup: Setup | None = None) -> Findings:
    """Train (or go on), sweep, probe, and put our numbers beside the papers'."""
    setup = setup or SETUPS[place.scale]
    pictures = pictures_of(place, setup)
    folder, facts, rows = trained(
        place,
        lambda: Perceptrons(
            pictures,
            setup.runs,
            setup.shape,
            dtype=getattr(torch, setup.dtype),
            device=torch.device(place.device),
        ),
        runs=setup.runs,
        schedule=Schedule(
            setup.steps, setup.num_train // setup.shape.batch, kept_from=setup.kept_from
        ),
        setup={
            "pictures": setup.pictures,
            "num_train": setup.num_train,
            "shape": repr(setup.shape),
            "dtype": setup.dtype,
        },
        what="training",
    )
    sizes = (pictures.images.shape[1], *setup.shape.hidden, CLASSES)
    names = write_trajectories(
        folder, rows, place.zoo, config_of(setup, pictures), _words(setup, sizes)
    )
    sweep(place, trajectory_sources(names), name="grokking")
    probe(place, ProbeOptions(num_probes=512, max_traps_per_layer=2))
    return findings(place, facts, rows)


def findings(place: Place, facts: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Findings:
    """Tables, claims and the figure, from the catalog and the training's log."""
    steps, layers = steps_of(place), layers_of(place)
    figure = draw_phases(place.out / "figures" / "grokking.png", rows, layers)
    last = max(row["step"] for row in rows)
    return Findings(
        title=TITLE,
        setup={**facts, "steps": last},
        tables=[
            Table(
                "At the right edge of each phase (mean ± spread over the runs)", edges(layers, rows)
            ),
            Table("What else moves from the best step to the last", measures(steps, layers, rows)),
        ],
        claims=claims(steps, layers, rows),
        figures=[figure] if figure else [],
        notes=_notes(place, last),
    )


def pictures_of(place: Place, setup: Setup) -> Pictures:
    """The data of one scale."""
    if setup.pictures == "digits":
        return digits.of_scikit_learn(setup.num_train)
    return digits.mnist(place.data, num_train=setup.num_train, pooled=setup.pictures == "pooled")


def config_of(setup: Setup, pictures: Pictures) -> dict[str, Any]:
    """config.json of every checkpoint; probes draw inputs with the training pictures' mean and spread."""
    chosen = pictures.images[pictures.training(setup.runs[0].seed)]
    return {
        "architectures": ["MLP"],
        "model_type": "mlp",
        "hidden_sizes": list(setup.shape.hidden),
        "init_scale": setup.shape.scale,
        "learning_rate": setup.shape.adamw.learning_rate,
        "num_train": setup.num_train,
        "input_mean": round(float(np.mean(chosen)), 6),
        "input_std": round(float(np.std(chosen)), 6),
    }


def _words(setup: Setup, sizes: Sequence[int]) -> str:
    shape = setup.shape
    return (
        f"A {'-'.join(map(str, sizes))} perceptron on {setup.num_train} digits, first weights times "
        f"{shape.scale:g}, batches of {shape.batch}, mean squared error, AdamW "
        f"{shape.adamw.learning_rate:g}, computed in {setup.dtype}."
    )


def _notes(place: Place, last: int) -> list[str]:
    notes = []
    if place.scale != "full":
        notes.append(
            f"Scale {place.scale}: a smaller network, other digits and a larger learning rate than the "
            "papers'; steps are not comparable with theirs."
        )
    elif last < 10**7:
        notes.append(f"The papers train to 10,000,000 steps; this run reached {last:,}.")
    return notes
