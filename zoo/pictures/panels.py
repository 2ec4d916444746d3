"""All layers of a model in one picture: a small spectrum each, in the order of the checkpoint.

Every panel has the same axis of eigenvalues, in units of the layer's mean, so that tails can be
compared at a glance. No meaning is carried by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from zoo.pictures.drawing import BLUE, GREY, ORANGE, RED, Cells, new_figure, number, set_title
from zoo.pictures.labels import short_name
from zoo.spectral.arrays import Vector

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PANELS: Final = 160
"""Most layers in one picture."""
_WIDTH, _HEIGHT = 2.15, 1.6
"""Inches of a panel with what stands around it."""
_HEAD, _FOOT, _SIDE = 0.72, 0.50, 0.18
"""Inches above, below and beside the panels."""
_LOW: Final = 1e-3
"""Smaller eigenvalues, in units of the mean, are not drawn."""
_BINS: Final = 40
_FEW: Final = 12
"""Spectra of fewer eigenvalues are drawn as points too."""
_NAME_LETTERS: Final = 34


@dataclass(frozen=True, slots=True)
class Panel:
    """A layer as its panel shows it."""

    columns: Cells
    evals: Vector
    """Ascending, of any scale, the last one above 0."""
    rand_evals: Vector | None
    """Of the shuffled matrix, where all of them were computed."""


def all_layers(panels: Sequence[Panel], *, title: str, num_layers: int) -> Figure:
    """A panel a layer: density, fit, alpha and traps; `num_layers` is how many the model has."""
    num_columns = min(12, max(1, math.ceil(math.sqrt(1.4 * len(panels)))))
    num_rows = max(1, math.ceil(len(panels) / num_columns))
    width = max(num_columns * _WIDTH + 2 * _SIDE, 6.0)
    height = num_rows * _HEIGHT + _HEAD + _FOOT
    figure = new_figure(width, height)
    high = max((float(p.evals[-1] / p.evals.mean()) for p in panels), default=10.0) * 1.3
    edges = np.geomspace(_LOW, max(high, 10.0), _BINS + 1)
    cell = (width - 2 * _SIDE) / num_columns
    for index, panel in enumerate(panels):
        row, column = divmod(index, num_columns)
        left = _SIDE + column * cell + 0.06
        bottom = height - _HEAD - (row + 1) * _HEIGHT + 0.10
        place = (left / width, bottom / height, (cell - 0.12) / width, (_HEIGHT - 0.38) / height)
        axes = figure.add_axes(place)
        is_lowest = index + num_columns >= len(panels)
        _draw(axes, panel, edges, has_labels=is_lowest)
    _legend(figure, height)
    count = f"{num_layers} layers" if len(panels) == num_layers else (
        f"{len(panels)} of {num_layers} layers"
    )  # fmt: skip
    set_title(figure, f"{title}: spectra of {count}")
    figure.text(
        0.5, 0.1 / height, "eigenvalue λ of WᵀW over the layer's mean; upwards: density, logarithmic",
        ha="center", va="bottom", fontsize=9,
    )  # fmt: skip
    if not panels:
        figure.text(0.5, 0.5, "no layer was measured", ha="center", va="center", color=GREY)
    return figure


def _draw(axes: Axes, panel: Panel, edges: Vector, *, has_labels: bool) -> None:
    mean = float(panel.evals.mean())
    axes.set(xscale="log", yscale="log")
    lowest, highest = math.inf, 0.0
    if panel.rand_evals is not None:
        density = _density(panel.rand_evals / float(panel.rand_evals.mean()), edges)
        axes.stairs(density, edges, baseline=None, color=ORANGE, linewidth=0.8, linestyle=":")
        highest = max(highest, _most(density))
    density = _density(panel.evals / mean, edges)
    axes.stairs(density, edges, baseline=None, color=BLUE, linewidth=1.0)
    if panel.evals.size < _FEW:  # a bin of its own each: a dash that is easily missed
        middle = np.sqrt(edges[:-1] * edges[1:])
        axes.plot(middle, density, "o", color=BLUE, markersize=3)
    if np.isfinite(density).any():
        lowest, highest = float(np.nanmin(density)), max(highest, _most(density))
    else:
        lowest, highest = 0.1, 1.0
    columns = panel.columns
    alpha, xmin = number(columns, "alpha"), number(columns, "xmin")
    if alpha is not None and xmin is not None:
        share = (number(columns, "num_tail") or 0.0) / panel.evals.size
        start, end = xmin / mean, (number(columns, "xmax") or float(panel.evals[-1])) / mean
        x = np.array([start, end])
        axes.plot(
            x, share * (alpha - 1.0) / start * (x / start) ** -alpha, color=RED, linewidth=1.4
        )
        axes.axvline(start, 0.0, 0.72, color=RED, linewidth=0.6, linestyle="--")
    axes.set_xlim(edges[0], edges[-1])
    # the words stand in the upper third, above the curve
    low, high = 0.5 * lowest, 1.5 * highest
    axes.set_ylim(low, high * (high / low) ** 0.4)
    axes.text(
        0.97, 0.95, _words(columns), transform=axes.transAxes, ha="right", va="top", fontsize=7,
    )  # fmt: skip
    axes.text(
        0.0, 1.03, f"{columns.get('layer_index')}  {short_name(columns, _NAME_LETTERS)}",
        transform=axes.transAxes, ha="left", va="bottom", fontsize=6.5, parse_math=False,
    )  # fmt: skip
    _plain_axes(axes, edges, has_labels=has_labels)


def _words(columns: Cells) -> str:
    """alpha and traps of a layer; ▼ marks traps, as in the picture of one layer."""
    alpha, traps = number(columns, "alpha"), number(columns, "num_traps")
    status = columns.get("tail_status") or "no fit"
    words = [f"α {alpha:.2f}" if alpha is not None else f"no α: {status}"]
    if traps:
        words.append(f"▼ {traps:g} trap{'s' if traps != 1 else ''}")
    return "\n".join(words)


def _plain_axes(axes: Axes, edges: Vector, *, has_labels: bool) -> None:
    """Decades on the one axis, nothing on the other."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    # none at the very left, where it would run into the panel beside
    decades = range(math.floor(math.log10(edges[0])) + 1, math.floor(math.log10(edges[-1])) + 1)
    step = max(1, math.ceil(len(decades) / 5))
    axes.xaxis.set_major_locator(FixedLocator([10.0**d for d in decades if d % step == 0]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.tick_params(labelsize=6.5, length=2, pad=1)
    label = FuncFormatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_formatter(label if has_labels else NullFormatter())
    for spine in ("top", "right"):
        axes.spines[spine].set_visible(False)


def _legend(figure: Figure, height: float) -> None:
    """What the lines are, once for all panels."""
    from matplotlib.lines import Line2D

    lines = (
        Line2D([], [], color=BLUE, linewidth=1.2, label="weights"),
        Line2D(
            [], [], color=ORANGE, linewidth=1.0, linestyle=":", label="weights, entries shuffled"
        ),
        Line2D([], [], color=RED, linewidth=1.4, label="power law of the tail"),
        Line2D([], [], color=RED, linewidth=0.6, linestyle="--", label="xmin"),
    )
    figure.legend(
        handles=lines, loc="upper center", bbox_to_anchor=(0.5, 1.0 - 0.34 / height), ncols=4,
        fontsize=8, frameon=False, borderaxespad=0.0,
    )  # fmt: skip


def _density(values: Vector, edges: Vector) -> Vector:
    """Share of the values per unit of λ in each bin; NaN, which is not drawn, where there is none."""
    counts = np.histogram(values, edges)[0]
    density = counts / (values.size * np.diff(edges))
    return np.where(counts > 0, density, np.nan)


def _most(density: Vector) -> float:
    return float(np.nanmax(density)) if np.isfinite(density).any() else 0.0
