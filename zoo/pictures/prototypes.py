"""Directions of a network's input space as a grid of images: a line a layer, its singular vectors and its traps.

Takes arrays [channels, height, width]; returns a matplotlib Figure. One channel is drawn in blue and orange around
0, each image on its own scale; three are colours around grey; others are shown by their mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from zoo.pictures.drawing import BLUE, GREY, ORANGE, drawable, new_figure, set_title
from zoo.spectral.arrays import Doubles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Image = Float64[Doubles, "channels height width"]
Line = tuple[str, Sequence[tuple[str, Image]]]
"""What a line of the grid is called, and its images with their captions."""

_CELL, _GAP, _LEFT = 1.05, 0.14, 0.25
"""Inches: side of an image, space between two, left margin."""
_LABEL, _CAPTION, _TITLE, _FOOT = 0.30, 0.20, 0.42, 0.34
"""Inches: height of a line's label, of a caption, of the title, of the note below."""


def prototype_grid(lines: Sequence[Line], *, title: str) -> Figure:
    """The grid. Lines may have different numbers of images, and images different shapes."""
    widest = max((len(images) for _, images in lines), default=1)
    line_height = _LABEL + _CELL + _CAPTION
    width = max(5.0, 2 * _LEFT + widest * (_CELL + _GAP))
    height = _TITLE + _FOOT + max(1, len(lines)) * line_height
    figure = new_figure(width, height)
    top = height - _TITLE
    for label, images in lines:
        figure.text(
            _LEFT / width, (top - 0.20) / height, drawable(label),
            fontsize=9, parse_math=False, va="bottom",
        )  # fmt: skip
        for place, (caption, image) in enumerate(images):
            left = _LEFT + place * (_CELL + _GAP)
            bottom = top - _LABEL - _CELL
            axes = figure.add_axes((left / width, bottom / height, _CELL / width, _CELL / height))
            _draw(axes, image, is_trap=caption.startswith("trap"))
            axes.set_xlabel(drawable(caption), fontsize=7, labelpad=2, parse_math=False)
        top -= line_height
    figure.text(_LEFT / width, 0.10 / height, _note(lines), fontsize=7, color=GREY)
    set_title(figure, f"{title}: leading directions as inputs")
    return figure


def _note(lines: Sequence[Line]) -> str:
    """How to read the images that are there."""
    images = [image for _, of_line in lines for image in of_line]
    notes = ["v: right singular vectors", "each image on its own scale"]
    is_grey = any(image.shape[0] != 3 for _, image in images)
    notes.append("blue below 0, orange above" if is_grey else "grey is 0")
    if any(caption.startswith("trap") for caption, _ in images):
        notes.append("framed: modes of Correlation Traps")
    return "; ".join(notes)


def _draw(axes: Axes, image: Image, *, is_trap: bool) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    most = float(np.abs(image).max()) or 1.0
    if image.shape[0] == 3:
        axes.imshow(0.5 + 0.5 * image.transpose(1, 2, 0) / most, interpolation="nearest")
    else:
        around_zero = LinearSegmentedColormap.from_list("around_zero", [BLUE, "white", ORANGE])
        grey = image.mean(axis=0)
        most = float(np.abs(grey).max()) or 1.0
        axes.imshow(grey, cmap=around_zero, vmin=-most, vmax=most, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(ORANGE if is_trap else "0.8")
        spine.set_linewidth(1.6 if is_trap else 0.6)
