"""The pictures of the page "how to read this": drawn from the laws themselves, so that they show what is true."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Place = Callable[[float], float]
"""From a number to a place of the picture."""

_W, _H = 640, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 624, 18, 226


def anatomy_svg() -> str:
    """A spectrum with its parts named: bulk, edge, tail, xmin, and the shuffled twin with a trap."""
    low, high, floor, ceiling = math.log10(0.05), math.log10(60.0), -5.4, 0.4

    def x(value: float) -> float:
        return _LEFT + (math.log10(value) - low) / (high - low) * (_RIGHT - _LEFT)

    def y(density: float) -> float:
        at = (math.log10(max(density, 1e-9)) - floor) / (ceiling - floor)
        return _BOTTOM - min(max(at, 0.0), 1.0) * (_BOTTOM - _TOP)

    edge_low, edge = (1 - math.sqrt(0.4)) ** 2, (1 + math.sqrt(0.4)) ** 2
    grid = np.linspace(edge_low * 1.001, edge * 0.999, 160)
    bulk = np.sqrt((edge - grid) * (grid - edge_low)) / (2 * np.pi * 0.4 * grid)
    shuffled = _line(grid.tolist(), bulk.tolist(), x, y)
    heavy = [0.06 * 1.06**k for k in range(118)]
    xmin, alpha = 3.2, 2.4
    own = [
        0.42 * math.exp(-((math.log10(v) + 0.42) ** 2) / 0.22) if v < xmin else 0.0 for v in heavy
    ]
    joint = 0.42 * math.exp(-((math.log10(xmin) + 0.42) ** 2) / 0.22)
    own = [o if v < xmin else joint * (v / xmin) ** -alpha for v, o in zip(heavy, own, strict=True)]
    curve = _line([v for v in heavy if v <= 45], own[: sum(v <= 45 for v in heavy)], x, y)
    tail_end = joint * (45 / xmin) ** -alpha
    trap = 4.6
    parts = [
        f'<path class="axis" d="M{_LEFT} {_TOP}V{_BOTTOM}H{_RIGHT}"/>',
        f'<path class="rand" d="{shuffled}"/>',
        f'<path class="own" d="{curve}"/>',
        f'<path class="xmin" d="M{x(xmin):.0f} {_BOTTOM}V{_TOP + 40}"/>',
        f'<path class="tail" d="M{x(xmin):.1f} {y(joint):.1f}L{x(45):.1f} {y(tail_end):.1f}"/>',
        f'<path class="edge" d="M{x(edge):.0f} {_BOTTOM}V{_TOP + 10}"/>',
        f'<path class="trap" d="M{x(trap) - 7:.0f} {_BOTTOM - 24}h14l-7 14z"/>',
        _word(x(0.052), y(0.09) + 34, "the weights", "own"),
        _word(x(0.42), y(0.035) + 8, "their shuffled twin: noise,", "rand", anchor="middle"),
        _word(x(0.42), y(0.035) + 24, "which ends at an edge", "rand", anchor="middle"),
        _word(x(edge) + 6, _TOP + 12, "edge of noise", "edge"),
        _word(x(xmin) + 6, _TOP + 48, "xmin: here the tail starts", "xmin"),
        _word(x(11), y(joint * (11 / xmin) ** -alpha) - 14, "slope −alpha", "tail"),
        _word(x(trap) + 13, _BOTTOM - 12, "a trap: shuffled, and beyond the edge", "trap"),
        _word((_LEFT + _RIGHT) / 2, _BOTTOM + 30, "eigenvalue λ of WᵀW, logarithmic", "note", anchor="middle"),
    ]  # fmt: skip
    label = (
        "A spectrum with its parts: the bulk, the edge of noise, the tail from xmin on, and a trap"
    )
    return _svg(label, parts)


def alpha_svg() -> str:
    """What alpha says, on one line."""
    height = 110

    def x(value: float) -> float:
        return _LEFT + (value - 1) / 7 * (_RIGHT - _LEFT)

    bands = ((1, 2, "low", "below 2", "over-trained"), (2, 6, "fine", "2 to 6", "trained"),
             (6, 8, "high", "above 6", "hardly trained"))  # fmt: skip
    parts = []
    for start, end, kind, span, meaning in bands:
        parts.append(
            f'<rect class="band {kind}" x="{x(start):.0f}" y="24" width="{x(end) - x(start):.0f}" height="34"/>'
        )
        middle = (x(start) + x(end)) / 2
        parts.append(_word(middle, 46, meaning, "inband", anchor="middle"))
        parts.append(_word(middle, 16, span, "note", anchor="middle"))
    parts += [
        f'<path class="axis" d="M{x(v):.0f} 58v6"/>'
        + _word(x(v), 78, str(v), "note", anchor="middle")
        for v in range(1, 9)
    ]
    parts.append(f'<path class="tail" d="M{x(2):.0f} 20V62"/>')
    parts.append(_word(x(2), 100, "the ideal of HTSR: 2", "tail", anchor="middle"))
    return _svg(
        "The scale of alpha: below 2 over-trained, 2 to 6 trained, above 6 hardly trained",
        parts,
        height,
    )


def interval_svg() -> str:
    """Three models with intervals: two that cannot be told apart, one that can."""
    height = 130
    rows = (("model A", 0.8, 0.5, 1.15), ("model B", 1.0, 0.7, 1.4), ("model C", 2.4, 2.0, 2.9))

    def x(value: float) -> float:
        return 130 + value / 3.2 * (_RIGHT - 130)

    parts = []
    for number, (name, score, low, high) in enumerate(rows):
        y = 24 + 32 * number
        parts.append(_word(20, y + 4, f"{number + 1}  {name}", "name"))
        parts.append(f'<path class="own" d="M{x(low):.0f} {y}H{x(high):.0f}"/>')
        parts.append(f'<circle class="dot" cx="{x(score):.0f}" cy="{y}" r="5"/>')
    parts.append(_word(x(1.45), 40, "A and B overlap: their order may be chance", "note"))
    parts.append(_word(x(1.95), 110, "C stands apart", "note"))
    return _svg("Intervals of three models: A and B overlap, C stands apart", parts, height)


def _line(xs: list[float], ys: list[float], x: Place, y: Place) -> str:
    points = [f"{x(a):.1f} {y(b):.1f}" for a, b in zip(xs, ys, strict=True)]
    return "M" + "L".join(points)


def _word(x: float, y: float, words: str, kind: str, *, anchor: str = "start") -> str:
    return f'<text class="w-{kind}" x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{words}</text>'


def _svg(label: str, parts: list[str], height: int = _H) -> str:
    return (
        f'<svg class="lesson" viewBox="0 0 {_W} {height}" role="img" aria-label="{label}">'
        f"<title>{label}</title>{''.join(parts)}</svg>"
    )
