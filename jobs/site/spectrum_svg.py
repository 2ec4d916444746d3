"""The spectrum of one layer as a small SVG, drawn by hand: a page has dozens, and each takes microseconds.

Axes are logarithmic: λ over the layer's mean, and density. Colours come from the page's style, so that dark
and light are one picture; lines differ in their dashes as well. Knows nothing of catalogs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

from jobs.site.safe import text

Vector = npt.NDArray[np.float64]
"""Eigenvalues, ascending."""
Cells = Mapping[str, object]
"""A row of `layers`, by column."""

WIDTH, HEIGHT = 180, 104
"""Size in units of the picture."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 4, 176, 20, 92
_BINS = 34
_EDGES = np.arange(_BINS + 1.0)
_LOW = 1e-3
"""Smaller eigenvalues, in units of the mean, are not drawn."""


@dataclass(frozen=True, slots=True)
class Frame:
    """From numbers to places of one picture."""

    low: float
    """log10 of the left end, in units of the mean eigenvalue."""
    high: float
    """log10 of the right end."""
    floor: float
    """log10 of the smallest density."""
    ceiling: float
    """log10 of the largest density."""

    def x(self, value: float) -> float:
        """Place of an eigenvalue in units of the mean."""
        at = (math.log10(max(value, 1e-300)) - self.low) / (self.high - self.low)
        return _LEFT + min(max(at, 0.0), 1.0) * (_RIGHT - _LEFT)

    def y(self, density: float) -> float:
        """Place of a density."""
        at = (math.log10(max(density, 1e-300)) - self.floor) / (self.ceiling - self.floor)
        return _BOTTOM - min(max(at, 0.0), 1.0) * (_BOTTOM - _TOP)


def spectrum_svg(
    evals: Vector, rand_evals: Vector | None, layer: Cells, *, scale: float = 1.0
) -> str:
    """A picture of one layer, or nothing where it has no spectrum.

    `evals` times `scale` are λ. `rand_evals`: of the shuffled matrix, in units of its own.
    """
    mean = float(evals.mean()) if evals.size else 0.0
    if not mean > 0.0:
        return ""
    own = evals / mean
    rand = None
    if rand_evals is not None and rand_evals.size and rand_evals.mean() > 0.0:
        rand = rand_evals / rand_evals.mean()
    top = max(float(own[-1]), float(rand[-1]) if rand is not None else 0.0, 10.0)
    low, high = math.log10(_LOW), math.log10(top) + 0.15
    curves = [_density(own, low, high)]
    if rand is not None:
        curves.append(_density(rand, low, high))
    drawn = np.concatenate([curve[curve > 0.0] for curve in curves])
    if not drawn.size:
        return ""
    floor, ceiling = math.log10(drawn.min()) - 0.15, math.log10(drawn.max()) + 0.15
    frame = Frame(low, high, floor, max(ceiling, floor + 1.0))
    unit = mean * scale
    parts = [_axis(frame)]
    if rand is not None:
        parts.append(f'<path class="rand" d="{_stairs(curves[1], frame)}"/>')
    parts.append(f'<path class="own" d="{_stairs(curves[0], frame)}"/>')
    parts += _tail(frame, layer, unit, evals.size, float(own[-1]))
    parts += _edge(frame, layer, rand_evals)
    name = _name(layer)
    return (
        f'<svg class="esd" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{_words(layer, name)}">'
        f"<title>{_words(layer, name)}</title>{''.join(parts)}"
        f'<text class="name" x="{_LEFT}" y="8">{escape(_short(name))}</text>'
        f'<text class="fact" x="{_RIGHT}" y="18">{_facts(layer)}</text></svg>'
    )


def _density(values: Vector, low: float, high: float) -> Vector:
    """Share of the values a unit of λ in each bin; 0 where there is none."""
    places = (np.log10(np.maximum(values, 1e-300)) - low) * (_BINS / (high - low))
    counts = np.bincount(places[places >= 0.0].astype(np.intp), minlength=_BINS + 1)[:_BINS]
    edges = 10.0 ** (low + (high - low) / _BINS * _EDGES)
    return counts / (values.size * (edges[1:] - edges[:-1]))


def _stairs(density: Vector, frame: Frame) -> str:
    """The outline of a histogram; it ends where there is nothing, and begins anew."""
    step = (_RIGHT - _LEFT) / _BINS
    span = frame.ceiling - frame.floor
    heights = _BOTTOM - (np.log10(np.maximum(density, 1e-300)) - frame.floor) / span * (
        _BOTTOM - _TOP
    )
    words: list[str] = []
    is_open = False
    for index, (full, y) in enumerate(zip((density > 0.0).tolist(), heights.tolist(), strict=True)):
        if full:
            start = "" if is_open else f"M{_LEFT + index * step:.0f} {y:.0f}"
            words.append(f"{start}V{y:.0f}H{_LEFT + (index + 1) * step:.0f}")
        is_open = full
    return "".join(words)


def _axis(frame: Frame) -> str:
    decades = range(math.ceil(frame.low), math.floor(frame.high) + 1)
    ticks = "".join(f"M{frame.x(10.0**d):.0f} {_BOTTOM}v3" for d in decades)
    one = frame.x(1.0)
    return (
        f'<path class="axis" d="M{_LEFT} {_BOTTOM}H{_RIGHT}{ticks}"/>'
        f'<text class="tick" x="{one:.0f}" y="102">mean λ</text>'
    )


def _tail(frame: Frame, layer: Cells, unit: float, count: int, last: float) -> list[str]:
    """The fitted power law from xmin on, and where it begins."""
    alpha, xmin = _number(layer, "alpha"), _number(layer, "xmin")
    if alpha is None or xmin is None or unit <= 0.0:
        return []
    start = xmin / unit
    end = max((_number(layer, "xmax") or 0.0) / unit or last, start * 1.01)
    height = (_number(layer, "num_tail") or 1.0) / count * (alpha - 1.0) / start
    x0, y0 = frame.x(start), frame.y(height)
    x1, y1 = frame.x(end), frame.y(height * (end / start) ** -alpha)
    return [
        f'<path class="xmin" d="M{x0:.0f} {_BOTTOM}V{_TOP}"/>',
        f'<path class="tail" d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}"/>',
    ]


def _edge(frame: Frame, layer: Cells, rand_evals: Vector | None) -> list[str]:
    """Where noise ends, and a triangle at the largest shuffled eigenvalue when it is a trap."""
    edge, largest = _number(layer, "rand_mp_edge_upper"), _number(layer, "rand_lambda_max")
    if (
        edge is None
        or rand_evals is None
        or not rand_evals.size
        or largest is None
        or largest <= 0.0
    ):
        return []
    unit = largest / float(rand_evals[-1] / rand_evals.mean()) if rand_evals[-1] > 0.0 else 0.0
    if unit <= 0.0:
        return []
    drawn = [f'<path class="edge" d="M{frame.x(edge / unit):.0f} {_BOTTOM}V{_TOP + 12}"/>']
    if _number(layer, "num_traps"):
        x = frame.x(largest / unit)
        drawn.append(f'<path class="trap" d="M{x - 4:.0f} {_BOTTOM - 14}h8l-4 8z"/>')
    return drawn


def _name(layer: Cells) -> str:
    more = [str(layer[key]) for key in ("part", "expert") if layer.get(key) is not None]
    return text(" ".join([str(layer.get("tensor")).removesuffix(".weight"), *more]))


def _short(name: str) -> str:
    return name if len(name) <= 36 else f"…{name[-35:]}"


def _facts(layer: Cells) -> str:
    alpha, traps = _number(layer, "alpha"), _number(layer, "num_traps")
    words = f"α {alpha:.2f}" if alpha is not None else "no α"
    return words + (f" ▼ {traps:g}" if traps else "")


def _words(layer: Cells, name: str) -> str:
    """The picture in words, for those who cannot see it."""
    alpha, traps = _number(layer, "alpha"), _number(layer, "num_traps")
    said = [f"Layer {layer.get('layer_index')}, {name}"]
    said.append("no power-law fit" if alpha is None else f"alpha {alpha:.3g}")
    said.append("traps not measured" if traps is None else f"{traps:g} traps")
    return escape(": ".join((said[0], ", ".join(said[1:]))), quote=True)


def _number(layer: Cells, name: str) -> float | None:
    value = layer.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
