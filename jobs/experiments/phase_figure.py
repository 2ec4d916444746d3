"""The figure of a long training: accuracies, traps and alpha over the steps."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from jobs.experiments.phases import Log, runs_of
from jobs.experiments.place import Row


def draw_phases(path: Path, log: Log, layers: Sequence[Row]) -> Path | None:
    """Draw to `path`; None, and nothing drawn, without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 9), layout="constrained")
    accuracy, sizes, alphas = figure.subplots(3, 1, sharex=True)
    runs = runs_of(log)
    for number, run in enumerate(runs):
        rows = [row for row in log if row["run"] == run and row["step"] > 0]
        colour = f"C{number % 10}"
        steps = [row["step"] for row in rows]
        accuracy.plot(
            steps, [row["test_accuracy"] for row in rows], color=colour, label=f"{run}, test"
        )
        accuracy.plot(steps, [row["train_accuracy"] for row in rows], color=colour, linestyle=":")
        own = [row for row in layers if row["name"] == run and row["step"] > 0]
        for tensor in dict.fromkeys(row["tensor"] for row in own):
            line = [row for row in own if row["tensor"] == tensor]
            style = {"marker": "o", "markersize": 3, "label": f"{run} {tensor}"}
            sizes.plot(
                [r["step"] for r in line], [r["trap_excess_max"] or 0.0 for r in line], **style
            )
            fitted = [r for r in line if r["alpha"] is not None]
            if fitted:
                alphas.plot([r["step"] for r in fitted], [r["alpha"] for r in fitted], **style)
    accuracy.set(ylabel="accuracy (dotted: train)", xscale="log")
    sizes.set(ylabel="largest trap beyond the edge, λ/edge − 1", yscale="symlog")
    alphas.set(ylabel="alpha", xlabel="step", ylim=(1, 8))
    alphas.axhline(2, color="0.7", linewidth=1, zorder=0)
    for axis in (accuracy, sizes, alphas):
        if len(axis.get_legend_handles_labels()[0]) <= 12:
            axis.legend(frameon=False, fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    return path
