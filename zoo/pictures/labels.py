"""Names of layers beside their points: which points are outliers, and where their labels find room.

Labels are placed by estimated sizes in points, without drawing; one that finds no room is left out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from zoo.pictures.drawing import GREY, Cells, drawable
from zoo.spectral.arrays import Vector

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_LABELS: Final = 8
"""Most points of a picture that get a label."""
_FENCE: Final = 1.5
"""A value is an outlier when it lies so many quartile distances beyond the quartiles (Tukey)."""
_POINTS: Final = 7.0
"""Size of a label's letters."""
_WIDTH_OF_A_LETTER: Final = 0.6
"""Mean width of a letter over its size."""
_BESIDE: Final = tuple(
    (sign * reach, dy, "left" if sign > 0.0 else "right")
    for reach in (7.0, 16.0, 28.0)
    for sign in (1.0, -1.0)
    for dy in (0.0, reach, -reach)
)
"""Where a label may stand to the right or left of its point, in points, and which end it is tied by."""
_ABOVE: Final = tuple(
    (dx, dy, end)
    for dy in (9.0, -9.0, 18.0, -18.0, 32.0, 50.0)
    for dx, end in ((0.0, "center"), (4.0, "right"), (-4.0, "left"))
)
"""Where it may stand above or below."""
_MAX_LETTERS: Final = 26


class _Box(NamedTuple):
    """A rectangle on the picture, in points."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: _Box) -> bool:
        """True when both share a place."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )


def short_name(columns: Cells, most: int = _MAX_LETTERS, *, pieces: int | None = None) -> str:
    """The end of a tensor's name, with part and expert: what tells it from its neighbours.

    `pieces`: no more than so many of the words between the dots.
    """
    name = str(columns.get("tensor")).removesuffix(".weight")
    if pieces is not None:
        name = ".".join(name.split(".")[-pieces:])
    more = [str(columns[key]) for key in ("part", "expert") if columns.get(key) is not None]
    text = drawable(" ".join([name, *more]))
    return text if len(text) <= most else f"…{text[-(most - 1) :]}"


def outliers(values: Sequence[float]) -> list[int]:
    """Which values lie outside Tukey's fences, the furthest first; `MAX_LABELS` at most."""
    if len(values) < 4:
        return []
    data = np.asarray(values)
    low, middle, high = np.quantile(data, (0.25, 0.5, 0.75))
    reach = _FENCE * (high - low)
    beyond = [i for i, x in enumerate(values) if x < low - reach or x > high + reach]
    return sorted(beyond, key=lambda i: -abs(values[i] - middle))[:MAX_LABELS]


class Block(NamedTuple):
    """A rectangle of the data that no label may cover, and so many points around it."""

    x0: float
    y0: float
    x1: float
    y1: float
    left: float = 2.0
    bottom: float = 2.0
    right: float = 2.0
    top: float = 2.0


def label_points(
    axes: Axes,
    x: Vector,
    y: Vector,
    names: Sequence[tuple[int, str]],
    *,
    avoid: Iterable[Block] = (),
    above: bool = False,
) -> None:
    """Write names beside some of the points (x, y), where no point, no label, no edge and nothing of
    `avoid` is met; `above` and below first, where the data lie to the sides.

    Call it when the limits and scales of the axes are final.
    """
    figure = axes.figure
    to_points = 72.0 / figure.dpi
    to_places = axes.transData.transform
    places = to_places(np.column_stack([x, y])) * to_points
    frame = axes.get_window_extent()
    inside = _Box(*(float(v) * to_points for v in (frame.x0, frame.y0, frame.x1, frame.y1)))
    taken = [_Box(px - 3.0, py - 3.0, px + 3.0, py + 3.0) for px, py in places.tolist()]
    for block in avoid:
        corners = np.array([(block.x0, block.y0), (block.x1, block.y1)])
        (x0, y0), (x1, y1) = (to_places(corners) * to_points).tolist()
        taken.append(_Box(x0 - block.left, y0 - block.bottom, x1 + block.right, y1 + block.top))
    nearest = sorted((*_BESIDE, *_ABOVE), key=lambda o: math.hypot(o[0], o[1]))
    offsets = [*_ABOVE, *_BESIDE] if above else nearest
    for index, name in names:
        px, py = places[index].tolist()
        width, height = _WIDTH_OF_A_LETTER * _POINTS * len(name), 1.25 * _POINTS
        for dx, dy, end in offsets:
            left = px + dx - {"left": 0.0, "center": 0.5, "right": 1.0}[end] * width
            box = _Box(left, py + dy - 0.5 * height, left + width, py + dy + 0.5 * height)
            if not _is_inside(box, inside) or any(box.meets(other) for other in taken):
                continue
            taken.append(box)
            is_far = math.hypot(dx, dy) > 12.0
            axes.annotate(
                name, (float(x[index]), float(y[index])), (dx, dy), textcoords="offset points",
                ha=end, va="center", fontsize=_POINTS, color="#333333", parse_math=False,
                arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5} if is_far else None,
            )  # fmt: skip
            break


def _is_inside(box: _Box, frame: _Box) -> bool:
    corners = itertools.product((box.left, box.right), (box.bottom, box.top))
    return all(
        frame.left <= a <= frame.right and frame.bottom <= b <= frame.top for a, b in corners
    )
