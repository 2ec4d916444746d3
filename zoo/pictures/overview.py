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
from zoo.pictures.labels import MAX_LABELS, Block, label_points, outliers, short_name
from zoo.spectral.arrays import NDArray, Vector

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PALETTE = (BLUE, ORANGE, GREEN, RED, "#CC79A7", "#56B4E9", "#000000", "#B0A000")
"""Colours of the roles, in turn; their number and that of the markers have no common divisor but 2,
so that 40 roles differ in one or the other."""
_MARKERS = "osD^vP*X<>"
"""Markers of the roles, in turn."""
_ROLES_A_COLUMN = 22
"""Roles that a column of the legend has room for."""
_ALPHA_TICKS = (1, 1.5, 2, 3, 4, 6, 8, 12, 20, 40)
"""Values of alpha that get a label, where the axis reaches them."""


def alpha_by_depth(rows: Iterable[Cells], *, title: str) -> Figure:
    """alpha of every fitted layer against its block, one marker a role, with standard errors.

    Layers outside any block stand at either end; of a model without blocks the layers stand in the
    order of the checkpoint. Experts of a block stand side by side.
    """
    rows = list(rows)
    fitted = [row for row in rows if number(row, "alpha") is not None]
    figure = new_figure(9.6, 4.8)
    axes = figure.add_axes((0.07, 0.11, 0.66, 0.80))
    axes.axhspan(2.0, 6.0, color=GREEN, alpha=0.10, linewidth=0, label="2 to 6, well trained")
    axes.axhline(2.0, color=GREEN, linewidth=1.0)
    axes.axhline(6.0, color=GREEN, linewidth=1.0)
    depth, ticks = _depths(fitted)
    has_blocks = bool(ticks)
    places = np.zeros((len(fitted), 2))
    bars: list[Block] = []
    roles = list(dict.fromkeys(str(row.get("role")) for row in fitted))  # in the model's order
    for index, role in enumerate(roles):
        chosen = [i for i, row in enumerate(fitted) if str(row.get("role")) == role]
        at = np.array([depth[i] for i in chosen], dtype=float)
        if has_blocks:  # roles side by side within a block, and what shares block and role as well
            slot = 0.6 / len(roles)
            at += slot * (index - 0.5 * (len(roles) - 1)) + 0.8 * slot * _spread(at)
        alpha = np.array([number(fitted[i], "alpha") for i in chosen], dtype=float)
        stderr = np.array([number(fitted[i], "alpha_stderr") or 0.0 for i in chosen], dtype=float)
        places[chosen] = np.column_stack([at, alpha])
        stderr = np.minimum(stderr, 0.9 * alpha)
        bars += map(Block, at, alpha - stderr, at, alpha + stderr)
        axes.errorbar(
            at, alpha,
            yerr=stderr, fmt=_MARKERS[index % len(_MARKERS)],
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
    axes.legend(
        fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5),
        ncols=1 + len(roles) // _ROLES_A_COLUMN, columnspacing=1.0,
    )  # fmt: skip
    _name_outliers(axes, fitted, places, [], avoid=bars, pieces=2 if has_blocks else None)
    set_title(figure, f"{title}: alpha by depth")
    return figure


def funnel(rows: Iterable[Cells], *, title: str) -> Figure:
    """(alpha, erg_delta) of every fitted layer; the ideal layer sits at (2, 0)."""
    rows = list(rows)
    fitted = [
        row
        for row in rows
        if number(row, "alpha") is not None and number(row, "erg_delta") is not None
    ]
    figure = new_figure(7.2, 5.0)
    axes = figure.add_axes((0.10, 0.10, 0.74, 0.81))
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
        beside = figure.add_axes((0.87, 0.10, 0.025, 0.81))
        bar = figure.colorbar(points, cax=beside, label="depth: first to last layer", ticks=[])
        bar.outline.set_visible(False)
    _alpha_scale(axes, fitted, "x")
    if delta.size and float(np.abs(delta).max()) > 20.0:
        axes.set_yscale("symlog", linthresh=1.0)
    axes.margins(y=0.12)  # the word at (2, 0) hangs below the lowest point
    if not fitted:
        axes.set_ylim(-1.0, 1.0)
        _say_why(axes, rows)
    axes.set(xlabel="tail exponent α", ylabel="erg_delta = xmin − λ_min(ERG), mean-1 units")
    ideal = Block(2.0, 0.0, 2.0, 0.0, left=11.0, bottom=20.0, right=62.0, top=11.0)
    _name_outliers(axes, fitted, np.column_stack([alpha, delta]), [delta], avoid=[ideal])
    set_title(figure, f"{title}: the (alpha, erg_delta) funnel of {len(fitted)} fitted layers")
    return figure


def _name_outliers(
    axes: Axes,
    rows: Sequence[Cells],
    places: NDArray[np.float64],
    measures: Iterable[Vector],
    *,
    avoid: Iterable[Block],
    pieces: int | None = None,
) -> None:
    """Names beside the layers that lie apart from the others, by alpha or by one of the measures, and
    beside those with alpha outside 2 to 6; the furthest first. `pieces`: see `short_name`."""
    if not rows:
        return
    alpha = [number(row, "alpha") or 2.0 for row in rows]
    apart = [i for values in measures for i in outliers(values.tolist())]
    apart += outliers([math.log(value) for value in alpha])
    outside = [i for i, value in enumerate(alpha) if not 2.0 <= value <= 6.0]
    apart += sorted(outside, key=lambda i: -abs(math.log(alpha[i] / math.sqrt(12.0))))
    names = [
        (i, short_name(rows[i], pieces=pieces)) for i in list(dict.fromkeys(apart))[:MAX_LABELS]
    ]
    label_points(axes, places[:, 0], places[:, 1], names, avoid=avoid)


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
