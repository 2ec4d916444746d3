"""`zoo experiment`, as small as it gets: the tables, the claims, and going on after an interruption."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from jobs.experiments import grokking
from jobs.experiments.phases import marks_of
from jobs.experiments.place import Findings, Place
from jobs.experiments.training.adamw import Settings
from jobs.experiments.training.pack import checkpoints
from jobs.experiments.training.perceptrons import Shape
from jobs.experiments.training.schedule import Schedule
from jobs.experiments.training.stack import Run, Stack
from jobs.experiments.training_here import trained
from jobs.spec.tables import RunTable
from zoo.errors import UseError

TINY = grokking.Setup(
    "digits",
    50,
    Shape(hidden=(24, 24), batch=25, adamw=Settings(3e-3)),
    (Run(0, 0.0),),
    400,
    "float32",
    kept_from=1000,
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Findings]:
    place = Place(tmp_path_factory.mktemp("tiny"), "small", run=RunTable(workers=1), quiet=True)
    return place, grokking.run(place, TINY)


def test_a_tiny_training_becomes_trajectories_with_claims(tiny: tuple[Place, Findings]) -> None:
    place, findings = tiny
    assert [path.name for path in place.zoo.iterdir()] == ["seed0-decay0"]
    assert (place.zoo / "seed0-decay0" / "step000000400" / "model.safetensors").exists()
    assert [claim.verdict for claim in findings.claims]
    assert all(claim.ours for claim in findings.claims)
    assert findings.setup["steps"] == 400


def test_a_training_from_elsewhere_gives_the_same_log(
    tiny: tuple[Place, Findings], tmp_path: Path
) -> None:
    place, findings = tiny
    taken = dataclasses.replace(place, out=tmp_path, taken_from=place.out / "training")
    folder, _, rows = trained(
        taken, _never, runs=TINY.runs, schedule=Schedule(400, 2), setup={}, what="training"
    )
    assert list(checkpoints(folder)) == list(checkpoints(place.out / "training"))
    assert rows[-1]["step"] == findings.setup["steps"]


def _never() -> Stack:
    raise AssertionError("what was trained elsewhere is not trained here")


def test_what_was_not_trained_elsewhere_is_said(tmp_path: Path) -> None:
    place = Place(tmp_path / "out", "small", taken_from=tmp_path, quiet=True)
    with pytest.raises(UseError, match=r"no log\.json"):
        trained(place, _never, runs=(), schedule=Schedule(1, 1), setup={}, what="training")


def test_phases_are_told_from_the_log() -> None:
    curve = [(0, 0.1, 0.1, 9), (10, 1.0, 0.2, 5), (100, 1.0, 0.3, 4), (1000, 1.0, 0.9, 1)]
    curve += [(10_000, 1.0, 0.7, 2)]
    rows = [
        {"run": "r", "step": s, "train_accuracy": a, "test_accuracy": t, "test_loss": loss}
        for s, a, t, loss in curve
    ]
    marks = marks_of(rows, "r")
    assert marks.edges() == (100, 1000, 10_000)
    assert (marks.memorised, marks.least_loss, marks.has_three) == (10, 1000, True)
    assert not marks_of(rows[:-1], "r").has_three
