"""The picture of one layer: its spectrum with the tail's fit, and the shuffled one with its traps.

Takes plain arrays and column mappings, returns matplotlib Figures; writes and shows nothing, and
keeps no global state (no pyplot). No meaning is carried by colour alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from zoo.pictures.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    Cells,
    legend_above,
    log_ticks,
    new_figure,
    number,
    set_title,
)
from zoo.pictures.labels import Block, label_points
from zoo.spectral.arrays import Vector
from zoo.spectral.mp import mp_pdf

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAX_BINS = 60
"""Most bins of a histogram of the whole spectrum, and twice those of the bulk."""
_MAX_BINS_OF_LONG_AXIS = 200
"""Most bins of a histogram in which the bulk is a small part of the axis."""
_MAX_NAMED_TRAPS = 5
"""Traps that are labelled with their eigenvalue, the largest."""
_SHOWN_DECADES = 4
"""Eigenvalues smaller than λ_max by more decades than this are counted in a note, not drawn."""


def layer_title(columns: Cells) -> str:
    """Tensor, part and expert as a reader would write them, with the shape."""
    names = [str(columns[k]) for k in ("tensor", "part") if columns.get(k) is not None]
    if columns.get("expert") is not None:
        names.append(f"expert {columns['expert']}")
    return f"{' · '.join(names)}  ({columns.get('num_rows')} × {columns.get('num_cols')})"


def layer_figure(
    evals: Vector, rand_evals: Vector | None, columns: Cells, *, title: str, model: str = ""
) -> Figure:
    """The spectrum with its tail fit, beside the shuffled spectrum where there is one."""
    figure = new_figure(12.0 if rand_evals is not None else 6.8, 5.2)
    bottom, height = 0.10, 0.645  # above: the title in two lines, and three lines of legend
    if rand_evals is None:
        draw_esd(figure.add_axes((0.12, bottom, 0.85, height)), evals, columns)
    else:
        draw_esd(figure.add_axes((0.065, bottom, 0.42, height)), evals, columns)
        right = figure.add_axes((0.56, bottom, 0.42, height))
        draw_shuffled(right, evals, rand_evals, columns)
    set_title(figure, title, over=model)
    return figure


def draw_esd(axes: Axes, evals: Vector, columns: Cells) -> None:
    """Draw one layer's spectrum; uses `alpha, alpha_stderr, ks_distance, xmin, num_tail,
    erg_lambda_min` where they are not None.
    """
    shown, hidden = _visible(evals)
    edges = _log_bins(shown)
    counts = np.histogram(shown, edges)[0]
    density = counts / (evals.size * np.diff(edges))
    axes.stairs(
        np.where(density > 0, density, np.nan), edges, baseline=None, color=BLUE, linewidth=1.3,
        label=_counted(evals.size, hidden),
    )  # fmt: skip
    floor = 0.5 * float(density[density > 0].min())
    axes.stairs(
        np.maximum(density, floor), edges, baseline=floor, fill=True, color=BLUE, alpha=0.18
    )
    drawn = [Block(a, floor, b, d) for a, b, d in zip(edges, edges[1:], density, strict=False) if d]
    alpha, xmin = number(columns, "alpha"), number(columns, "xmin")
    if alpha is not None and xmin is not None:
        num_tail, xmax = number(columns, "num_tail") or 0.0, number(columns, "xmax") or shown[-1]
        x = np.geomspace(xmin, xmax, 100)
        height = num_tail / evals.size * (alpha - 1.0) / xmin
        stderr = number(columns, "alpha_stderr")
        label = f"power law, α = {alpha:.2f}" + (f" ± {stderr:.2f}" if stderr is not None else "")
        law = height * (x / xmin) ** -alpha
        axes.plot(x, law, color=RED, linewidth=2.2, label=label)
        drawn += [Block(a, b, a, b) for a, b in zip(x, law, strict=True) if b > floor]
        distance = number(columns, "ks_distance")
        note = "" if distance is None else f", D = {distance:.3f}"
        axes.axvline(
            xmin, color=RED, linestyle="--", linewidth=1.2,
            label=f"xmin ({num_tail:.0f} in the tail{note})",
        )  # fmt: skip
    erg_min = number(columns, "erg_lambda_min")
    if erg_min is not None and erg_min > 0.0:
        erg_num = number(columns, "erg_num") or 0.0
        axes.axvline(
            erg_min * float(evals.mean()), color=GREEN, linestyle=":", linewidth=2.0,
            label=f"ERG threshold, det = 1 ({erg_num:.0f} above)",
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="eigenvalue λ of WᵀW", ylabel="density")
    axes.set_ylim(bottom=floor)
    log_ticks(axes.xaxis, *axes.get_xlim())
    log_ticks(axes.yaxis, *axes.get_ylim())
    largest = np.array([shown[-1]]), np.array([density[density > 0][-1]])
    label_points(axes, *largest, [(0, f"λ_max = {shown[-1]:.4g}")], avoid=drawn, above=True)
    legend_above(axes, columns=1)


def draw_shuffled(axes: Axes, evals: Vector, rand_evals: Vector, columns: Cells) -> None:
    """Draw the spectrum and the shuffled one on one scale; uses `rand_mp_sigma, q,
    trap_threshold, trap_counts` where they are not None.
    """
    low = 0.9 * min(float(np.quantile(rand_evals, 0.01)), float(np.quantile(evals, 0.01)))
    low = max(low, 1e-3 * float(min(evals[-1], rand_evals[-1])))
    high = 1.3 * float(max(evals[-1], rand_evals[-1]))
    edges = _common_bins(rand_evals, low, high)
    top = 0.0
    for values, colour, label, fill in (
        (evals, BLUE, "weights", True),
        (rand_evals, ORANGE, "weights, entries shuffled", False),
    ):
        density = np.histogram(values, edges)[0] / (values.size * np.diff(np.log(edges)))
        top = max(top, float(density.max()))
        if fill:
            axes.stairs(density, edges, fill=True, color=colour, alpha=0.35, label=label)
        else:
            axes.stairs(density, edges, color=colour, linewidth=1.8, label=label)
    sigma, q = number(columns, "rand_mp_sigma"), number(columns, "q")
    if sigma is not None and q is not None:
        mean = float(rand_evals.mean())
        x = np.geomspace(low, high, 800)
        law = mp_pdf(x / mean, sigma=sigma, gamma=1.0 / q) * x / mean  # density per unit of ln λ
        axes.plot(x, law, color="black", linewidth=1.3, label="Marchenko-Pastur law")
        top = max(top, float(law.max()))
    threshold = number(columns, "trap_threshold")
    traps = np.zeros(0)
    if threshold is not None:
        axes.axvline(threshold, color=GREY, linestyle="--", linewidth=1.2, label="trap threshold")
        traps = _traps(rand_evals, columns, threshold)
        if traps.size:
            axes.plot(
                traps, np.full(traps.size, 0.04), "v", color=RED, markersize=9,
                transform=axes.get_xaxis_transform(), clip_on=False, zorder=5,
                label=f"{traps.size} trap{'s' if traps.size > 1 else ''}",
            )  # fmt: skip
    axes.set(xscale="log", xlabel="eigenvalue λ of WᵀW", ylabel="density per unit of ln λ")
    axes.set_xlim(low, high)
    axes.set_ylim(0.0, 1.08 * top if top > 0.0 else 1.0)
    log_ticks(axes.xaxis, low, high)
    legend_above(axes)
    names = [(i, f"{traps[i]:.4g}") for i in range(traps.size - 1, -1, -1)][:_MAX_NAMED_TRAPS]
    label_points(axes, traps, np.full(traps.size, 0.04 * axes.get_ylim()[1]), names)


def _common_bins(rand_evals: Vector, low: float, high: float) -> Vector:
    """Bins in ln λ from low to high, as wide as suits the bulk of the shuffled spectrum."""
    first, last = np.quantile(rand_evals, (0.02, 0.98))
    bulk = math.log(last / first) if first > 0.0 else 0.0
    bins_of_bulk = float(np.clip(1.5 * math.sqrt(rand_evals.size), 6, _MAX_BINS // 2))
    whole = math.log(high / low)
    bins = whole / bulk * bins_of_bulk if bulk > 0.01 * whole else bins_of_bulk
    return np.geomspace(low, high, int(np.clip(bins, 12, _MAX_BINS_OF_LONG_AXIS)) + 1)


def _traps(rand_evals: Vector, columns: Cells, threshold: float) -> Vector:
    """The eigenvalues counted as traps of the first shuffle: `trap_counts` where it is there.

    More may lie beyond the threshold: at most half of a slice are traps, and each slice of a kernel
    has a threshold of its own.
    """
    counts = columns.get("trap_counts")
    if isinstance(counts, list | tuple) and counts:
        return rand_evals[rand_evals.size - int(counts[0]) :]
    return rand_evals[rand_evals > threshold]


def _counted(count: int, hidden: int) -> str:
    """How many eigenvalues there are, and how many of them are not drawn, for the legend."""
    note = f", {hidden} below 1e-{_SHOWN_DECADES}·λ_max not shown" if hidden else ""
    return f"{count} eigenvalue{'s' if count != 1 else ''}{note}"


def _visible(evals: Vector) -> tuple[Vector, int]:
    """The eigenvalues within `_SHOWN_DECADES` of the largest, and how many are not."""
    start = int(np.searchsorted(evals, float(evals[-1]) * 10.0**-_SHOWN_DECADES, side="left"))
    return evals[start:], start


def _log_bins(shown: Vector) -> Vector:
    """Bins of equal width in ln λ over the eigenvalues."""
    low, high = float(shown[0]), float(shown[-1])
    if low == high:
        low, high = 0.9 * low, 1.1 * high
    bins = int(np.clip(3 * math.sqrt(shown.size), 12, _MAX_BINS))
    edges = np.geomspace(low, high, bins)
    edges[0], edges[-1] = low, high  # geomspace may round inwards
    return edges
