"""Pictures of a layer's spectrum and of a model's layers (matplotlib, extra `plot`).

Takes plain arrays and column mappings, returns matplotlib Figures; writes and shows nothing, and
keeps no global state (no pyplot). Colours are Okabe and Ito's, which survive colour blindness; no
meaning is carried by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from zoo.spectral.mp import mp_pdf

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from zoo.spectral.spectrum import Spectrum

Vector = NDArray[np.float64]
Columns = Mapping[str, object]

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666"
_PALETTE = (BLUE, ORANGE, GREEN, RED, "#CC79A7", "#56B4E9", "#000000", "#B0A000")
_MARKERS = "osD^vP*X<>"
_NUM_BINS = 60
_DECADES = 4
"""Eigenvalues further below the largest are counted in a note, not drawn."""
_MAX_LAYER_PICTURES = 64
_ALPHA_TICKS = (1, 1.5, 2, 3, 4, 6, 8, 12, 20, 40)


class Measured(Protocol):
    """What a layer's pictures need: its columns and, where kept, its spectra."""

    @property
    def columns(self) -> Columns: ...
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


def _interest(columns: Columns) -> tuple[float, float]:
    """Sorting key: number of traps, then distance of ln alpha from the middle of 2 to 6."""
    alpha = _number(columns, "alpha")
    distance = 0.0 if alpha is None else abs(math.log(alpha / math.sqrt(12.0)))
    return _number(columns, "num_traps") or 0.0, distance


def layer_title(columns: Columns) -> str:
    """Tensor, part and expert as a reader would write them, with the shape."""
    names = [str(columns[k]) for k in ("tensor", "part", "expert") if columns.get(k) is not None]
    return f"{' · '.join(names)}  ({columns.get('num_rows')} × {columns.get('num_cols')})"


def layer_figure(
    evals: Vector, rand_evals: Vector | None, columns: Columns, *, title: str
) -> Figure:
    """The spectrum with its tail fit, beside the shuffled spectrum where there is one."""
    figure = _figure(12.0 if rand_evals is not None else 6.4, 4.6)
    if rand_evals is None:
        draw_esd(figure.add_subplot(), evals, columns)
    else:
        left, right = figure.subplots(1, 2)
        draw_esd(left, evals, columns)
        draw_shuffled(right, evals, rand_evals, columns)
    figure.suptitle(title, fontsize=11)
    return figure


def esd_figure(evals: Vector, columns: Columns, *, title: str) -> Figure:
    """Spectral density in log-log with the power-law fit, xmin and the ERG threshold."""
    figure = _figure(6.4, 4.6)
    draw_esd(figure.add_subplot(), evals, columns)
    figure.suptitle(title, fontsize=11)
    return figure


def shuffled_figure(evals: Vector, rand_evals: Vector, columns: Columns, *, title: str) -> Figure:
    """Spectral density against the shuffled one, the Marchenko-Pastur law and the traps."""
    figure = _figure(6.4, 4.6)
    draw_shuffled(figure.add_subplot(), evals, rand_evals, columns)
    figure.suptitle(title, fontsize=11)
    return figure


def draw_esd(axes: Axes, evals: Vector, columns: Columns) -> None:
    """Draw one layer's spectrum; uses `alpha, alpha_stderr, ks_distance, xmin, num_tail,
    erg_lambda_min` where they are not None.
    """
    shown, hidden = _visible(evals)
    edges = _log_bins(shown)
    counts = np.histogram(shown, edges)[0]
    density = counts / (evals.size * np.diff(edges))
    axes.stairs(
        np.where(density > 0, density, np.nan), edges, baseline=None, color=BLUE, linewidth=1.3,
        label=f"{evals.size} eigenvalues" + (f", {hidden} below 1e-{_DECADES}·λ_max not shown" if hidden else ""),
    )  # fmt: skip
    floor = 0.5 * float(density[density > 0].min())
    axes.stairs(
        np.maximum(density, floor), edges, baseline=floor, fill=True, color=BLUE, alpha=0.18
    )
    alpha, xmin = _number(columns, "alpha"), _number(columns, "xmin")
    if alpha is not None and xmin is not None:
        num_tail, xmax = _number(columns, "num_tail") or 0.0, _number(columns, "xmax") or shown[-1]
        x = np.geomspace(xmin, xmax, 100)
        height = num_tail / evals.size * (alpha - 1.0) / xmin
        stderr = _number(columns, "alpha_stderr")
        label = f"power law, α = {alpha:.2f}" + (f" ± {stderr:.2f}" if stderr is not None else "")
        axes.plot(x, height * (x / xmin) ** -alpha, color=RED, linewidth=2.2, label=label)
        distance = _number(columns, "ks_distance")
        note = "" if distance is None else f", D = {distance:.3f}"
        axes.axvline(
            xmin, color=RED, linestyle="--", linewidth=1.2,
            label=f"xmin ({num_tail:.0f} in the tail{note})",
        )  # fmt: skip
    erg_min = _number(columns, "erg_lambda_min")
    if erg_min is not None and erg_min > 0.0:
        erg_num = _number(columns, "erg_num") or 0.0
        axes.axvline(
            erg_min * float(evals.mean()), color=GREEN, linestyle=":", linewidth=2.0,
            label=f"ERG threshold, det = 1 ({erg_num:.0f} above)",
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="eigenvalue λ of WᵀW", ylabel="density")
    axes.set_ylim(bottom=floor)
    _legend(axes, "lower left")


def draw_shuffled(axes: Axes, evals: Vector, rand_evals: Vector, columns: Columns) -> None:
    """Draw the spectrum and the shuffled one on one scale; uses `rand_mp_sigma, q,
    rand_mp_edge_upper, trap_threshold` where they are not None.
    """
    low = 0.9 * min(float(np.quantile(rand_evals, 0.01)), float(np.quantile(evals, 0.01)))
    low = max(low, 1e-3 * float(min(evals[-1], rand_evals[-1])))
    high = 1.3 * float(max(evals[-1], rand_evals[-1]))
    edges = np.geomspace(low, high, _NUM_BINS)
    for values, colour, label, fill in (
        (evals, BLUE, "weights", True),
        (rand_evals, ORANGE, "weights, entries shuffled", False),
    ):
        density = np.histogram(values, edges)[0] / (values.size * np.diff(np.log(edges)))
        if fill:
            axes.stairs(density, edges, fill=True, color=colour, alpha=0.35, label=label)
        else:
            axes.stairs(density, edges, color=colour, linewidth=1.8, label=label)
    sigma, q = _number(columns, "rand_mp_sigma"), _number(columns, "q")
    if sigma is not None and q is not None:
        mean = float(rand_evals.mean())
        x = np.geomspace(low, high, 800)
        law = mp_pdf(x / mean, sigma=sigma, gamma=1.0 / q) * x / mean  # density per unit of ln λ
        axes.plot(x, law, color="black", linewidth=1.3, label="Marchenko-Pastur law")
    threshold = _number(columns, "trap_threshold")
    if threshold is not None:
        axes.axvline(threshold, color=GREY, linestyle="--", linewidth=1.2, label="trap threshold")
        traps = rand_evals[rand_evals > threshold]
        if traps.size:
            axes.plot(
                traps, np.full(traps.size, 0.04), "v", color=RED, markersize=9,
                transform=axes.get_xaxis_transform(), clip_on=False, zorder=5,
                label=f"{traps.size} trap{'s' if traps.size > 1 else ''}",
            )  # fmt: skip
    axes.set(xscale="log", xlabel="eigenvalue λ of WᵀW", ylabel="density per unit of ln λ")
    axes.set_xlim(low, high)
    axes.set_ylim(bottom=0.0)
    _legend(axes, "best")


def alpha_by_depth(rows: Iterable[Columns], *, title: str) -> Figure:
    """alpha of every fitted layer against its block, one marker a role, with standard errors.

    Layers outside any block stand at either end, in the order of the checkpoint.
    """
    fitted = [row for row in rows if _number(row, "alpha") is not None]
    figure = _figure(8.0, 4.6)
    axes = figure.add_subplot()
    axes.axhspan(2.0, 6.0, color=GREEN, alpha=0.10, linewidth=0, label="2 to 6, well trained")
    axes.axhline(2.0, color=GREEN, linewidth=1.0)
    axes.axhline(6.0, color=GREEN, linewidth=1.0)
    depth, ticks = _depths(fitted)
    roles = list(dict.fromkeys(str(row.get("role")) for row in fitted))  # in the model's order
    for index, role in enumerate(roles):
        chosen = [i for i, row in enumerate(fitted) if str(row.get("role")) == role]
        shift = 0.5 * (index / max(len(roles) - 1, 1) - 0.5)  # side by side within a block
        alpha = np.array([_number(fitted[i], "alpha") for i in chosen], dtype=float)
        stderr = np.array([_number(fitted[i], "alpha_stderr") or 0.0 for i in chosen], dtype=float)
        axes.errorbar(
            np.array([depth[i] for i in chosen]) + shift, alpha,
            yerr=np.minimum(stderr, 0.9 * alpha), fmt=_MARKERS[index % len(_MARKERS)],
            color=_PALETTE[index % len(_PALETTE)], markersize=5, elinewidth=0.7, label=role,
        )  # fmt: skip
    _alpha_scale(axes, fitted, "y")
    axes.set(xlabel="block", ylabel="tail exponent α")
    if ticks:
        axes.set_xticks(list(ticks), list(ticks.values()))
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.suptitle(title, fontsize=11)
    return figure


def funnel(rows: Iterable[Columns], *, title: str) -> Figure:
    """(alpha, erg_delta) of every fitted layer; the ideal layer sits at (2, 0)."""
    fitted = [
        row
        for row in rows
        if _number(row, "alpha") is not None and _number(row, "erg_delta") is not None
    ]
    figure = _figure(6.4, 4.8)
    axes = figure.add_subplot()
    axes.axvline(2.0, color=GREY, linewidth=1.0)
    axes.axhline(0.0, color=GREY, linewidth=1.0)
    alpha = np.array([_number(row, "alpha") for row in fitted], dtype=float)
    delta = np.array([_number(row, "erg_delta") for row in fitted], dtype=float)
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
    axes.set(xlabel="tail exponent α", ylabel="erg_delta = xmin − λ_min(ERG), mean-1 units")
    figure.suptitle(f"{title}  ({len(fitted)} fitted layers)", fontsize=11)
    return figure


def _figure(width: float, height: float) -> Figure:
    """A figure of its own, drawn by Agg when saved; matplotlib is loaded here and not before."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def _legend(axes: Axes, where: Literal["best", "lower left"]) -> None:
    axes.legend(fontsize=8, frameon=True, framealpha=0.85, edgecolor="none", loc=where)


def _number(columns: Columns, name: str) -> float | None:
    value = columns.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _visible(evals: Vector) -> tuple[Vector, int]:
    """The eigenvalues within `_DECADES` of the largest, and how many are not."""
    start = int(np.searchsorted(evals, float(evals[-1]) * 10.0**-_DECADES, side="left"))
    return evals[start:], start


def _log_bins(shown: Vector) -> Vector:
    low, high = float(shown[0]), float(shown[-1])
    if low == high:
        low, high = 0.9 * low, 1.1 * high
    bins = int(np.clip(3 * math.sqrt(shown.size), 12, _NUM_BINS))
    edges = np.geomspace(low, high, bins)
    edges[0], edges[-1] = low, high  # geomspace may round inwards
    return edges


def _depths(rows: Sequence[Columns]) -> tuple[list[float], dict[float, str]]:
    """An x for every row (its block; embeddings before, heads after), and tick labels."""
    blocks = [_number(row, "block") for row in rows]
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


def _alpha_scale(axes: Axes, rows: Sequence[Columns], which: str) -> None:
    """A logarithmic alpha axis with round ticks that covers every layer."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    values = [v for row in rows if (v := _number(row, "alpha")) is not None] or [2.0, 6.0]
    low, high = min([*values, 1.8]) / 1.08, max([*values, 6.5]) * 1.08
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
