"""Pictures of a whole model: alpha of every layer by depth, and the (alpha, erg_delta) funnel.

Takes column mappings, returns matplotlib Figures; writes and shows nothing. No meaning is carried by
colour alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from zoo.pictures.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    Cells,
    new_figure,
    number,
    set_title,
)
from zoo.spectral.arrays import Vector

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PALETTE = (BLUE, ORANGE, GREEN, RED, "#CC79A7", "#56B4E9", "#000000", "#B0A000")
"""Colours of the roles, in turn; their number and that of the markers have no common divisor but 2,
so that 40 roles differ in one or the other."""
_MARKERS = "osD^vP*X<>"
"""Markers of the roles, in turn."""
_ALPHA_TICKS = (1, 1.5, 2, 3, 4, 6, 8, 12, 20, 40)
"""Values of alpha that get a label, where the axis reaches them."""


def alpha_by_depth(rows: Iterable[Cells], *, title: str) -> Figure:
    """alpha of every fitted layer against its block, one marker a role, with standard errors.

    Layers outside any block stand at either end; of a model without blocks the layers stand in the
    order of the checkpoint. Experts of a block stand side by side.
    """
    rows = list(rows)
    fitted = [row for row in rows if number(row, "alpha") is not None]
    figure = new_figure(8.0, 4.6)
    axes = figure.add_subplot()
    axes.axhspan(2.0, 6.0, color=GREEN, alpha=0.10, linewidth=0, label="2 to 6, well trained")
    axes.axhline(2.0, color=GREEN, linewidth=1.0)
    axes.axhline(6.0, color=GREEN, linewidth=1.0)
    depth, ticks = _depths(fitted)
    has_blocks = bool(ticks)
    roles = list(dict.fromkeys(str(row.get("role")) for row in fitted))  # in the model's order
    for index, role in enumerate(roles):
        chosen = [i for i, row in enumerate(fitted) if str(row.get("role")) == role]
        at = np.array([depth[i] for i in chosen], dtype=float)
        if has_blocks:  # roles side by side within a block, and what shares block and role as well
            slot = 0.6 / len(roles)
            at += slot * (index - 0.5 * (len(roles) - 1)) + 0.8 * slot * _spread(at)
        alpha = np.array([number(fitted[i], "alpha") for i in chosen], dtype=float)
        stderr = np.array([number(fitted[i], "alpha_stderr") or 0.0 for i in chosen], dtype=float)
        axes.errorbar(
            at, alpha,
            yerr=np.minimum(stderr, 0.9 * alpha), fmt=_MARKERS[index % len(_MARKERS)],
            color=_PALETTE[index % len(_PALETTE)], markersize=5, elinewidth=0.7, label=role,
        )  # fmt: skip
    _alpha_scale(axes, fitted, "y")
    label = "block" if has_blocks else "fitted layer, in the order of the checkpoint"
    axes.set(xlabel=label, ylabel="tail exponent α")
    if has_blocks:
        axes.set_xticks(list(ticks), list(ticks.values()))
    else:
        _count_axis(axes, len(fitted))
    if not fitted:
        _say_why(axes, rows)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    set_title(figure, title)
    return figure


def funnel(rows: Iterable[Cells], *, title: str) -> Figure:
    """(alpha, erg_delta) of every fitted layer; the ideal layer sits at (2, 0)."""
    rows = list(rows)
    fitted = [
        row
        for row in rows
        if number(row, "alpha") is not None and number(row, "erg_delta") is not None
    ]
    figure = new_figure(6.4, 4.8)
    axes = figure.add_subplot()
    axes.axvline(2.0, color=GREY, linewidth=1.0)
    axes.axhline(0.0, color=GREY, linewidth=1.0)
    alpha = np.array([number(row, "alpha") for row in fitted], dtype=float)
    delta = np.array([number(row, "erg_delta") for row in fitted], dtype=float)
    depth, _ = _depths(fitted)
    points = axes.scatter(
        alpha, delta, c=depth, cmap="viridis", s=32, edgecolors="white", linewidths=0.6
    )
    axes.plot(2.0, 0.0, "+", color=RED, markersize=16, markeredgewidth=2.0)
    axes.annotate("ideal (2, 0)", (2.0, 0.0), (8, -14), textcoords="offset points", fontsize=8)
    if len(set(depth)) > 1:
        bar = figure.colorbar(points, ax=axes, label="depth: first to last layer", ticks=[])
        bar.outline.set_visible(False)
    _alpha_scale(axes, fitted, "x")
    if delta.size and float(np.abs(delta).max()) > 20.0:
        axes.set_yscale("symlog", linthresh=1.0)
    axes.margins(y=0.12)  # the word at (2, 0) hangs below the lowest point
    if not fitted:
        axes.set_ylim(-1.0, 1.0)
        _say_why(axes, rows)
    axes.set(xlabel="tail exponent α", ylabel="erg_delta = xmin − λ_min(ERG), mean-1 units")
    set_title(figure, f"{title}  ({len(fitted)} fitted layers)")
    return figure


def _depths(rows: Sequence[Cells]) -> tuple[list[float], dict[float, str]]:
    """An x for every row (its block; embeddings before, heads after), and tick labels."""
    blocks = [number(row, "block") for row in rows]
    known = [i for i, block in enumerate(blocks) if block is not None]
    if not known:
        return [float(i) for i in range(len(rows))], {}
    numbers = [block for block in blocks if block is not None]
    depth: list[float] = []
    for i, block in enumerate(blocks):
        outside = min(numbers) - 1.0 if i < known[0] else max(numbers) + 1.0
        depth.append(block if block is not None else outside)
    step = max(1, math.ceil((max(numbers) - min(numbers) + 1) / 16))
    ticks = {b: f"{b:.0f}" for b in np.arange(min(numbers), max(numbers) + 1, step).tolist()}
    if min(depth) < min(numbers):
        ticks = {min(depth): "before"} | ticks
    if max(depth) > max(numbers):
        ticks |= {max(depth): "after"}
    return depth, ticks


def _spread(at: Vector) -> Vector:
    """Offsets in [−½, ½] that set apart the layers which stand at one x, in their order."""
    offsets = np.zeros(at.size)
    for x in np.unique(at):
        (same,) = (at == x).nonzero()
        offsets[same] = (np.arange(same.size) + 0.5) / same.size - 0.5
    return offsets


def _count_axis(axes: Axes, count: int) -> None:
    """An x axis that counts layers: whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(-0.5, max(count, 1) - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if not count:
        axes.set_xticks([])


def _say_why(axes: Axes, rows: Sequence[Cells]) -> None:
    """Writes into a picture without points how many layers there are, and why none has a fit."""
    reasons = Counter(str(row.get("tail_status") or row.get("status") or "no fit") for row in rows)
    counts = "\n".join(f"{count} {reason}" for reason, count in reasons.most_common(6))
    text = f"no layer has a power-law fit\n{counts}" if rows else "no layers"
    axes.text(0.5, 0.75, text, transform=axes.transAxes, ha="center", va="center", color=GREY)


def _alpha_scale(axes: Axes, rows: Sequence[Cells], which: str) -> None:
    """A logarithmic alpha axis with round ticks that covers every layer."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    values = [v for row in rows if (v := number(row, "alpha")) is not None]
    tops = [v + (number(row, "alpha_stderr") or 0.0) for v, row in zip(values, rows, strict=True)]
    bars = tops if which == "y" else values  # the error bars belong to the picture
    low, high = min([*values, 1.8]) / 1.08, max([*bars, 6.5]) * 1.08
    ticks = [t for t in _ALPHA_TICKS if low <= t <= high]
    axis = axes.xaxis if which == "x" else axes.yaxis
    if which == "x":
        axes.set_xscale("log")
        axes.set_xlim(low, high)
    else:
        axes.set_yscale("log")
        axes.set_ylim(low, high)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
