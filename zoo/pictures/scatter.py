"""One numeric column by another, as points: the picture of an answer. Knows no tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zoo.pictures.drawing import BLUE, Cells, drawable, new_figure, number, set_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_LABELS = 12
"""More points than this get no names: they would be printed over one another."""
_DECADES = 1000.0
"""An axis whose positive values span more than this is logarithmic."""


def scatter(
    rows: Sequence[Cells], *, y: str, x: str, title: str, label: str | None = None
) -> Figure:
    """A point for each row that has both `y` and `x`; the title says how many have not.

    `label`: the column that names the points, where they are few.
    """
    pairs = [(number(row, x), number(row, y), row) for row in rows]
    points = [(a, b, row) for a, b, row in pairs if a is not None and b is not None]
    figure = new_figure(8.0, 5.0)
    axes = figure.add_axes((0.11, 0.13, 0.85, 0.74))
    left_out = len(rows) - len(points)
    note = (
        f" ({left_out} of {len(rows)} rows left out: no number in one of them)" if left_out else ""
    )
    set_title(figure, f"{y} by {x}{note}", over=title)
    across, up = [a for a, _, _ in points], [b for _, b, _ in points]
    axes.scatter(
        across, up, s=16, alpha=0.8 if len(points) < 500 else 0.35, color=BLUE, linewidths=0
    )
    axes.set_xlabel(drawable(x), parse_math=False)
    axes.set_ylabel(drawable(y), parse_math=False)
    if _is_wide(across):
        axes.set_xscale("log")
    if _is_wide(up):
        axes.set_yscale("log")
    axes.grid(alpha=0.25, linewidth=0.6)
    if label is not None and len(points) <= _MOST_LABELS:
        for a, b, row in points:
            name = drawable(str(row.get(label)).rpartition("/")[2][-32:])
            axes.annotate(
                name,
                (a, b),
                xytext=(4, 3),
                textcoords="offset points",
                fontsize=8,
                parse_math=False,
            )
    return figure


def _is_wide(values: Sequence[float]) -> bool:
    return bool(values) and min(values) > 0.0 and max(values) > _DECADES * min(values)
