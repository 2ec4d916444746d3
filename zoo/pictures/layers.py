"""Pictures of a layer's spectrum and of a model's layers (matplotlib, extra `plot`).

Takes plain arrays and column mappings, returns matplotlib Figures; writes and shows nothing, and
keeps no global state (no pyplot). No meaning is carried by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from zoo.pictures.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    Cells,
    log_ticks,
    new_figure,
    number,
    set_title,
)
from zoo.pictures.overview import alpha_by_depth, funnel
from zoo.spectral.arrays import Vector
from zoo.spectral.mp import mp_pdf

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from zoo.spectral.spectrum import Spectrum

_MAX_BINS = 60
"""Most bins of a histogram of the whole spectrum, and twice those of the bulk."""
_MAX_BINS_OF_LONG_AXIS = 200
"""Most bins of a histogram in which the bulk is a small part of the axis."""
_SHOWN_DECADES = 4
"""Eigenvalues smaller than λ_max by more decades than this are counted in a note, not drawn."""
_MAX_LAYER_PICTURES = 64
"""Layers of one model that get a picture of their own."""


class Measured(Protocol):
    """What a layer's pictures need: its columns and, where kept, its spectra."""

    @property
    def columns(self) -> Cells: ...
    @property
    def spectrum(self) -> Spectrum | None: ...
    @property
    def rand_spectrum(self) -> Spectrum | None: ...


def report_figures(model_id: str, reports: Sequence[Measured]) -> dict[str, Figure]:
    """Every picture of one model by name: `alpha_by_depth`, `funnel` and one per measured layer.

    Layer pictures are named `layer_000`, … after `layer_index`; of a model with more than 64 layers
    those with most traps and with alpha furthest from 2 to 6 are drawn.
    """
    rows = [report.columns for report in reports]
    figures = {
        "alpha_by_depth": alpha_by_depth(rows, title=model_id),
        "funnel": funnel(rows, title=model_id),
    }
    measured = [r for r in reports if r.spectrum is not None and r.spectrum.evals[-1] > 0.0]
    ranked = sorted(range(len(measured)), key=lambda i: _interest(measured[i].columns))
    for index in sorted(ranked[-_MAX_LAYER_PICTURES:]):
        columns, spectrum = measured[index].columns, measured[index].spectrum
        rand = measured[index].rand_spectrum
        if spectrum is not None:
            figures[f"layer_{columns['layer_index']:03d}"] = layer_figure(
                spectrum.true_evals,
                None if rand is None else rand.true_evals,
                columns,
                title=layer_title(columns),
            )
    return figures


def _interest(columns: Cells) -> tuple[float, float]:
    """Sorting key: number of traps, then distance of ln alpha from the middle of 2 to 6."""
    alpha = number(columns, "alpha")
    distance = 0.0 if alpha is None else abs(math.log(alpha / math.sqrt(12.0)))
    return number(columns, "num_traps") or 0.0, distance


def layer_title(columns: Cells) -> str:
    """Tensor, part and expert as a reader would write them, with the shape."""
    names = [str(columns[k]) for k in ("tensor", "part") if columns.get(k) is not None]
    if columns.get("expert") is not None:
        names.append(f"expert {columns['expert']}")
    return f"{' · '.join(names)}  ({columns.get('num_rows')} × {columns.get('num_cols')})"


def layer_figure(evals: Vector, rand_evals: Vector | None, columns: Cells, *, title: str) -> Figure:
    """The spectrum with its tail fit, beside the shuffled spectrum where there is one."""
    figure = new_figure(12.0 if rand_evals is not None else 6.4, 4.6)
    if rand_evals is None:
        draw_esd(figure.add_subplot(), evals, columns)
    else:
        left, right = figure.subplots(1, 2)
        draw_esd(left, evals, columns)
        draw_shuffled(right, evals, rand_evals, columns)
    set_title(figure, title)
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
    alpha, xmin = number(columns, "alpha"), number(columns, "xmin")
    if alpha is not None and xmin is not None:
        num_tail, xmax = number(columns, "num_tail") or 0.0, number(columns, "xmax") or shown[-1]
        x = np.geomspace(xmin, xmax, 100)
        height = num_tail / evals.size * (alpha - 1.0) / xmin
        stderr = number(columns, "alpha_stderr")
        label = f"power law, α = {alpha:.2f}" + (f" ± {stderr:.2f}" if stderr is not None else "")
        axes.plot(x, height * (x / xmin) ** -alpha, color=RED, linewidth=2.2, label=label)
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
    _legend(axes, "lower left")


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
    axes.set_ylim(0.0, 1.35 * top if top > 0.0 else 1.0)  # room for the legend above the data
    log_ticks(axes.xaxis, low, high)
    _legend(axes, "best")


def _legend(axes: Axes, where: Literal["best", "lower left"]) -> None:
    """A legend that what is drawn below it shines through."""
    axes.legend(fontsize=8, frameon=True, framealpha=0.85, edgecolor="none", loc=where)


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
