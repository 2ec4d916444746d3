"""A model over its training steps, in one picture: what grows, what falls, and when.

Takes rows of the view `trajectories`, as mappings; returns a matplotlib Figure. As in the papers on
grokking, the steps are on a logarithmic axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.pictures.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    Cells,
    legend_above,
    new_figure,
    number,
    set_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL_INCHES = 1.75
_MOST_MARKERS = 40
"""Markers along an axis that can still be told apart."""
_STYLES = ((BLUE, "o", "-"), (ORANGE, "s", "--"), (GREEN, "^", ":"), (RED, "D", "-."))
"""Colour, marker and line of the series of a panel, in turn."""


@dataclass(frozen=True, slots=True)
class _Panel:
    """Series that share an axis: column -> what it is called."""

    label: str
    series: dict[str, str]
    level: float | None = None
    """Where a grey line stands for an ideal."""


_PANELS = (
    _Panel("accuracy", {"train_accuracy": "training", "test_accuracy": "test"}),
    _Panel(
        "traps",
        {"total_traps": "traps", "total_traps_tw": "traps, no kurtosis shift",
         "total_active_traps": "active by probes"},
    ),
    _Panel("largest excess", {"max_trap_excess": "size of the largest trap, λ/edge − 1"}),
    _Panel("alpha", {"mean_alpha": "mean alpha", "mean_abs_alpha_minus_2": "mean |alpha − 2|"}, 2.0),
    _Panel("ERG", {"mean_abs_erg_log_ratio": "mean |ln(xmin/λ_ERG)|", "mean_erg_delta": "mean delta"}, 0.0),
    _Panel("L2 norm", {"l2_norm": "norm of all layers"}),
    _Panel(
        "network",
        {"activation_sparsity": "activation sparsity", "circuit_complexity": "circuit complexity, nats"},
    ),
)  # fmt: skip


def trajectory(rows: Sequence[Cells], *, title: str) -> Figure:
    """Accuracies, traps, alpha, ERG, norm and diagnostics against the step, a panel each.

    A panel whose columns are all NULL is left out. Step 0, which has no logarithm, stands at the left
    end under its own tick.
    """
    steps = [number(row, "step") or 0.0 for row in rows]
    panels = [
        p for p in _PANELS if any(number(row, c) is not None for row in rows for c in p.series)
    ]
    positive = [step for step in steps if step > 0]
    least = min(positive, default=1.0)
    at = [step if step > 0 else least / 3 for step in steps]
    height = 0.9 + _PANEL_INCHES * max(1, len(panels))
    figure = new_figure(8.4, height)
    for index, panel in enumerate(panels):
        bottom = 0.55 + _PANEL_INCHES * (len(panels) - 1 - index)
        box = (0.10, bottom / height, 0.86, (_PANEL_INCHES - 0.42) / height)
        axes = figure.add_axes(box)
        _draw(axes, panel, at, rows)
        axes.set_xscale("log")
        axes.set_xlim(min(at) / 1.3, max(at) * 1.3)
        if index < len(panels) - 1:
            axes.tick_params(labelbottom=False)
        else:
            axes.set_xlabel("step" + ("" if len(positive) == len(steps) else " (left end: step 0)"))
    if not panels:
        figure.text(0.5, 0.5, "no step has a number to draw", ha="center", color=GREY)
    set_title(figure, f"{title}: {len(rows)} steps")
    return figure


def _draw(axes: Axes, panel: _Panel, at: Sequence[float], rows: Sequence[Cells]) -> None:
    if panel.level is not None:
        axes.axhline(panel.level, color=GREY, linewidth=0.8, zorder=0)
    styles = iter(_STYLES)
    for column, name in panel.series.items():
        points = [
            (x, y)
            for x, row in zip(at, rows, strict=True)
            if (y := number(row, column)) is not None
        ]
        colour, marker, line = next(styles)
        if points:
            axes.plot(
                [x for x, _ in points], [y for _, y in points],
                color=colour, marker=marker, linestyle=line, markersize=4, linewidth=1.2, label=name,
                markevery=_apart([x for x, _ in points], max(at) / min(at)),
            )  # fmt: skip
    axes.set_ylabel(panel.label)
    axes.grid(axis="y", color="0.92", linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    legend_above(axes, columns=len(panel.series))


def _apart(xs: Sequence[float], span: float) -> list[int]:
    """Which of the points get a marker: those a fortieth of the axis behind the marked one before, and the last.

    Checkpoints at equal steps crowd at the right end of a logarithmic axis, where markers would hide the line.
    """
    least = span ** (1 / _MOST_MARKERS)
    marked: list[int] = []
    for index, x in enumerate(xs):
        if not marked or x >= least * xs[marked[-1]]:
            marked.append(index)
    if marked and marked[-1] != len(xs) - 1:
        is_near = len(marked) > 1 and xs[-1] < least * xs[marked[-1]]
        marked[-1:] = [len(xs) - 1] if is_near else [marked[-1], len(xs) - 1]
    return marked
