"""The picture of a model over its steps: a panel for what has numbers, step 0 at the left end."""

from __future__ import annotations

from itertools import pairwise

import pytest

from zoo.pictures.album import over_steps
from zoo.pictures.trajectory import trajectory

ROWS = [
    {"step": step, "total_traps": traps, "mean_alpha": alpha, "test_accuracy": None, "l2_norm": 1.5}
    for step, traps, alpha in ((0, 0.0, 5.0), (10, 0.2, None), (1000, 2.0, 2.5))
]


def test_a_panel_stands_for_every_group_that_has_a_number() -> None:
    figure = trajectory(ROWS, title="run")
    assert [axes.get_ylabel() for axes in figure.axes] == ["traps", "alpha", "L2 norm"]
    traps, alpha, _ = figure.axes
    assert list(traps.lines[0].get_xdata()) == pytest.approx([10 / 3, 10, 1000])
    (drawn,) = [line for line in alpha.lines if line.get_label() == "mean alpha"]
    assert list(drawn.get_ydata()) == [5.0, 2.5]
    assert all(axes.get_xscale() == "log" for axes in figure.axes)
    assert "step 0" in figure.axes[-1].get_xlabel()


def test_a_run_without_numbers_says_so() -> None:
    figure = trajectory([{"step": 1}, {"step": 2}], title="run")
    assert "no step has a number" in figure.texts[0].get_text()


def test_one_step_is_no_trajectory() -> None:
    assert over_steps("run", ROWS[:1]) == ()
    assert [picture.name for picture in over_steps("run", ROWS)] == ["trajectory"]


def test_many_steps_are_a_line_with_markers_that_can_be_told_apart() -> None:
    """Checkpoints as Pythia's: powers of two, then every thousand steps; every one is on the line."""
    steps = [0, *(2**i for i in range(10)), *range(1000, 144_000, 1000)]
    rows = [{"step": step, "mean_alpha": 6.0 - step / 1e5} for step in steps]
    (axes,) = trajectory(rows, title="run").axes
    (drawn,) = [line for line in axes.lines if line.get_label() == "mean alpha"]
    assert len(drawn.get_xdata()) == len(steps) == 154
    marked = [drawn.get_xdata()[i] for i in drawn.get_markevery()]
    assert 20 < len(marked) <= 41 and marked[0] < 1 and marked[-1] == 143_000
    assert min(b / a for a, b in pairwise(marked)) > 1.2
    few = trajectory(ROWS, title="run").axes[0].lines[0]
    assert few.get_markevery() == [0, 1, 2]
