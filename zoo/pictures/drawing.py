"""What pictures share: figures, colours, titles of any length and script, logarithmic axes of any span.

Knows matplotlib and nothing of layers. No global state (no pyplot). Colours are Okabe and Ito's,
which survive colour blindness. What matplotlib does by itself: takes `$` in a tensor's name
for mathematics, lets a long title run out of the picture, draws boxes and warns for scripts that its
font lacks, and prints the labels of a short logarithmic axis over one another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Okabe and Ito's colours, and a grey for what is not data
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666"

DPI = 120
"""Dots an inch of a figure."""
Cells = Mapping[str, object]
"""One row of `layers`: its values by column."""

_TITLE_POINTS = 11
"""Size of a title."""
_LETTERS_AN_INCH = 10.5
"""Letters of a title that fit an inch, in the widest mix seen in names of tensors."""


def new_figure(width: float, height: float) -> Figure:
    """A figure of its own, drawn by Agg when saved; matplotlib is loaded here and not before.

    Whoever draws says where its axes stand: matplotlib's own layouts draw everything twice.
    """
    from matplotlib.figure import Figure as New

    return New(figsize=(width, height), dpi=DPI)


def number(columns: Cells, name: str) -> float | None:
    """A column as a finite number, or None."""
    value = columns.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def set_title(figure: Figure, text: str, *, over: str = "") -> None:
    """The title, as it is written: no mathematics, each line cut in the middle where too long.

    `over` is a line above it: the model, of a picture of one layer.
    """
    most = int(figure.get_figwidth() * _LETTERS_AN_INCH)
    lines = [_cut(drawable(line), most) for line in (over, text) if line]
    top = 1.0 - 0.07 / figure.get_figheight()
    figure.suptitle("\n".join(lines), y=top, va="top", fontsize=_TITLE_POINTS, parse_math=False)


def legend_above(axes: Axes, *, columns: int = 2) -> None:
    """A legend on top of the axes, where no data are."""
    axes.legend(
        fontsize=8, frameon=False, ncols=columns, loc="lower left", bbox_to_anchor=(-0.01, 1.0),
        borderaxespad=0.2, handlelength=1.6, columnspacing=1.4, labelspacing=0.3,
    )  # fmt: skip


def _cut(text: str, most: int) -> str:
    """At most `most` letters: both ends tell more of a tensor's name than its middle does."""
    if len(text) <= most:
        return text
    tail = most // 2
    return f"{text[: most - tail - 1]}…{text[-tail:]}"


def drawable(text: str) -> str:
    """`text` with letters that no configured font has, and control characters, as `\\uXXXX`."""
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties, findfont, get_font

    if text.isascii() and text.isprintable():
        return text
    fonts = [get_font(findfont(FontProperties(family=[name]))) for name in rcParams["font.family"]]

    def is_known(letter: str) -> bool:
        return letter.isprintable() and any(font.get_char_index(ord(letter)) for font in fonts)

    return "".join(c if is_known(c) else c.encode("unicode_escape").decode() for c in text)


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Labels for a logarithmic axis from low > 0 to high that do not run into one another."""
    from matplotlib.ticker import (
        FixedLocator,
        FuncFormatter,
        LogLocator,
        MaxNLocator,
        NullFormatter,
    )

    if high > 100.0 * low:  # whole decades: matplotlib's own labels
        # two small ticks between them: the usual eight take half of the time that a picture takes
        axis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
        axis.set_minor_formatter(NullFormatter())
        return
    if high > 6.0 * low:
        decades = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
        ticks = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
    else:
        ticks = list(MaxNLocator(nbins=4).tick_values(low, high))
    axis.set_major_locator(FixedLocator([t for t in ticks if low <= t <= high]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
