"""Trajectories, phases and the onset of traps, on planted histories."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from catalog.read.query import ask
from catalog.read.views import connect
from tests.catalogs import commit


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "cat")


def history(root: str, traps: Sequence[float], *, alpha: Sequence[float] | None = None) -> None:
    """One model, a layer with these traps at steps 10, 20, ... and a quiet one beside it."""
    for i, count in enumerate(traps):
        noisy = {"num_traps": count, "trap_excess_max": count / 10 if count else None,
                 "alpha": alpha[i] if alpha else 3.0}  # fmt: skip
        commit(
            root, "m", revision=f"{i:040d}", step=10 * (i + 1),
            layers=[{**noisy, "step": 10 * (i + 1)}, {"step": 10 * (i + 1)}],
        )  # fmt: skip


def select(root: str, query: str) -> list[dict[str, object]]:
    with connect(root) as con:
        rows: list[dict[str, object]] = ask(con, query).to_pylist()
        return rows


@pytest.mark.parametrize(
    ("traps", "onset"),
    [
        ([0, 0, 1, 2, 3], 30),
        ([0, 1, 0, 2, 3], 20),
        ([1, 0, 0, 2, 3], 40),
        ([1, 0, 1, 0, 3], 30),
        ([0, 0, 1, 2, 0], None),
        ([0, 0, 0, 0, 1], 50),
        ([1, 1, 1, 1, 1], 10),
        ([0, 0, 0, 0, 0], None),
        ([0, 0.2, 0.4, 1, 1], 20),
    ],
    ids=str,
)
def test_the_onset_allows_one_gap_and_lasts_to_the_end(
    root: str, traps: list[float], onset: int | None
) -> None:
    history(root, traps)
    (row,) = select(root, "from onset")
    assert row["onset_step"] == onset
    layers = select(root, "select onset_step from onset_layers")
    assert [r["onset_step"] for r in layers] == [onset, None]


def test_growth_is_counted_from_the_onset(root: str) -> None:
    history(root, [0, 1, 3, 6], alpha=[5.0, 3.0, 1.5, 1.0])
    (row,) = select(root, "from onset")
    assert (row["onset_traps"], row["last_traps"], row["traps_growth"]) == (1, 6, 5)
    assert row["excess_growth"] == pytest.approx(0.5)
    assert row["onset_alpha_departure"] == pytest.approx(1.0)  # mean alpha of both layers: 3
    assert row["last_alpha_departure"] == pytest.approx(0.0)
    assert row["onset_layers_trapped"] == 1
    assert (row["num_steps"], row["first_step"], row["last_step"]) == (4, 10, 40)
    (first, _) = select(root, "from onset_layers")
    assert first["first_alpha_below_2_step"] == 30


def test_a_model_without_steps_has_no_trajectory(root: str) -> None:
    commit(root, "m")
    assert select(root, "from trajectories") == []
    assert select(root, "from onset") == []


def accuracies(root: str, points: Sequence[tuple[float, float]], *, scale: float = 1) -> None:
    for i, (train, test) in enumerate(points):
        commit(root, "m", revision=f"{i:040d}", step=i, evaluations=[
            {"dataset": "digits (train)", "metric": "accuracy", "value": train * scale},
            {"dataset": "digits (test)", "metric": "accuracy", "value": test * scale},
            {"dataset": "digits (test)", "metric": "loss", "value": 99.0},
        ])  # fmt: skip


@pytest.mark.parametrize("scale", [1, 100], ids=["fractions", "percentages"])
def test_phases_follow_train_and_test_accuracy(root: str, scale: float) -> None:
    accuracies(
        root,
        [(0.5, 0.1), (0.99, 0.2), (1.0, 0.3), (1.0, 0.6), (1.0, 0.8), (1.0, 0.78), (1.0, 0.5)],
        scale=scale,
    )
    found = select(root, "select step, train_accuracy, test_accuracy, phase from trajectories")
    phases = [r["phase"] for r in found]
    assert phases == ["pre_grokking"] * 3 + ["grokking"] * 3 + ["anti_grokking"]
    assert found[6]["test_accuracy"] == pytest.approx(0.5)


def test_no_phase_is_named_where_test_accuracy_never_rises(root: str) -> None:
    accuracies(root, [(0.5, 0.10), (1.0, 0.15), (1.0, 0.12)])
    assert [r["phase"] for r in select(root, "from trajectories")] == [None] * 3


def test_a_revision_analysed_twice_is_one_point(root: str) -> None:
    commit(root, "m", step=1, layers=[{"alpha": 3.0}], minute=0)
    commit(root, "m", step=1, layers=[{"alpha": 4.0}], minute=1, analysis_key="k2")
    assert [r["mean_alpha"] for r in select(root, "from trajectories")] == [4.0]
