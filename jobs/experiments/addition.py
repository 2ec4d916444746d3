"""Experiment `addition`: a one-layer transformer on addition modulo 113 (Prakash and Martin 2026; Nanda 2023).

The papers state neither optimiser nor weight decay nor steps: the decays 0, 0.001, 0.01, 0.1 and 1 are scanned,
trained together. small: p = 23 and a narrow network. medium: p = 59. full: p = 113, the papers' network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from jobs.experiments.addition_claims import circuits, claims, edges, scan
from jobs.experiments.measuring import layers_of, probe, sweep, trajectory_sources
from jobs.experiments.phase_figure import draw_phases
from jobs.experiments.place import Findings, Place, Table
from jobs.experiments.training.adamw import Settings
from jobs.experiments.training.schedule import Schedule
from jobs.experiments.training.stack import Run
from jobs.experiments.training.transformers import Shape, Transformers
from jobs.experiments.training_here import trained
from jobs.experiments.trajectory import write_trajectories
from zoo.probes.options import ProbeOptions

TITLE = "Modular addition: a one-layer transformer"
FACTORY = "jobs.experiments.addition_network:build"
"""How probes build the network."""
_ADAMW = Settings(1e-3, 0.9, 0.98)


@dataclass(frozen=True, slots=True)
class Setup:
    """One scale of the experiment."""

    shape: Shape
    runs: tuple[Run, ...]
    steps: int
    dtype: str = "float32"
    kept_from: int = 1_000


_DECAYS = (0.0, 0.001, 0.01, 0.1, 1.0)
SETUPS: Mapping[str, Setup] = {
    "small": Setup(
        Shape(p=23, width=48, heads=4, mlp=128, train_fraction=0.6, adamw=_ADAMW),
        (Run(0, 0.0), Run(0, 1.0)),
        4_000,
        kept_from=300,
    ),
    "medium": Setup(
        Shape(p=59, width=128, heads=4, mlp=512, train_fraction=0.4, adamw=_ADAMW),
        tuple(Run(0, decay) for decay in _DECAYS),
        20_000,
    ),
    "full": Setup(Shape(adamw=_ADAMW), tuple(Run(0, decay) for decay in _DECAYS), 1_000_000),
}
"""By scale."""


def run(place: Place, setup: Setup | None = None) -> Findings:
    """Train (or go on), sweep, probe, and put our numbers beside the papers'."""
    setup = setup or SETUPS[place.scale]
    folder, facts, rows = trained(
        place,
        lambda: Transformers(
            setup.runs,
            setup.shape,
            dtype=getattr(torch, setup.dtype),
            device=torch.device(place.device),
        ),
        runs=setup.runs,
        schedule=Schedule(setup.steps, 1, kept_from=setup.kept_from),
        setup={"shape": repr(setup.shape), "dtype": setup.dtype},
        what="training",
    )
    names = write_trajectories(folder, rows, place.zoo, config_of(setup.shape), _words(setup))
    sweep(place, trajectory_sources(names), name="addition")
    probe(place, ProbeOptions(num_probes=512, max_traps_per_layer=2), factory=FACTORY)
    return findings(place, setup.shape, facts, rows)


def findings(
    place: Place, shape: Shape, facts: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> Findings:
    """Tables, claims and the figure, from the catalog, the checkpoints and the training's log."""
    layers = layers_of(place)
    learned = circuits(place.zoo, layers, rows, p=shape.p, heads=shape.heads)
    figure = draw_phases(place.out / "figures" / "addition.png", rows, layers)
    last = max(row["step"] for row in rows)
    notes = [
        "The papers state no optimiser, decay or number of steps: AdamW 1e-3 (0.9, 0.98) as in Nanda et al., "
        f"{shape.train_fraction:.0%} of the sums (there 30 %), and a scan of the decay."
    ]
    if place.scale != "full":
        notes.append(
            f"Scale {place.scale}: a smaller prime; frequencies are not those of the papers."
        )
    return Findings(
        title=TITLE,
        setup={**facts, "steps": last},
        tables=[
            Table("The scan: each decay at its best and last step", scan(layers, rows)),
            Table(
                "alpha and traps of every layer at the right edge of each phase",
                edges(layers, rows),
            ),
            Table("Frequencies, keys and the rule's kernel at these steps", learned),
        ],
        claims=claims(layers, rows, learned),
        figures=[figure] if figure else [],
        notes=notes,
    )


def config_of(shape: Shape) -> dict[str, Any]:
    """config.json of every checkpoint, as `addition_network.build` reads it."""
    return {
        "architectures": ["AdditionTransformer"],
        "model_type": "modular-addition",
        "p": shape.p,
        "width": shape.width,
        "heads": shape.heads,
        "mlp": shape.mlp,
    }


def _words(setup: Setup) -> str:
    shape = setup.shape
    return (
        f"A one-layer transformer (width {shape.width}, {shape.heads} heads, MLP {shape.mlp}, no LayerNorm) on "
        f"x + y modulo {shape.p}, {shape.train_fraction:.0%} of the sums, full batch, AdamW "
        f"{shape.adamw.learning_rate:g}, computed in {setup.dtype}."
    )
