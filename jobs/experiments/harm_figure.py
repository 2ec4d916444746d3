"""Figures of the experiment `harm`."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.experiments.modes import Mode


def draw_harm(path: Path, modes: Sequence[Mode]) -> Path | None:
    """J against the change of the test error, one point a mode; None without matplotlib or modes."""
    if not modes or importlib.util.find_spec("matplotlib") is None:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axis = figure.subplots()
    bulk = [mode for mode in modes if not mode.is_trap]
    traps = [mode for mode in modes if mode.is_trap]
    axis.scatter([m.jsd for m in bulk], [m.change for m in bulk], s=8, c="0.75", label="bulk modes")
    if traps:
        drawn = axis.scatter(
            [m.jsd for m in traps],
            [m.change for m in traps],
            s=30,
            c=[np.log10(1 + m.excess) for m in traps],
            cmap="viridis",
            edgecolor="black",
            linewidth=0.5,
            label="traps",
        )
        figure.colorbar(drawn, ax=axis, label="log10 of λ/edge")
    axis.set(xlabel="J (nats)", xscale="log", ylabel="change of the test error (points)")
    axis.axhline(0, color="0.8", linewidth=1, zorder=0)
    axis.legend(frameon=False)
    return _saved(figure, path)


def draw_prototypes(path: Path, pictures: Mapping[str, NDArray[np.float64]]) -> Path | None:
    """What each layer's leading direction looks like in pixels; None without matplotlib or pictures."""
    if not pictures or importlib.util.find_spec("matplotlib") is None:
        return None
    from matplotlib.figure import Figure

    rows = -(-len(pictures) // 3)
    figure = Figure(figsize=(7, 2.4 * rows), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, 3)).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, (title, picture) in zip(axes, pictures.items(), strict=False):
        most = np.abs(picture).max()
        axis.imshow(picture, cmap="RdBu", vmin=-most, vmax=most)
        axis.set_title(title, fontsize=7)
    return _saved(figure, path)


def _saved(figure: object, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)  # type: ignore[attr-defined]  # matplotlib ships no types
    return path
