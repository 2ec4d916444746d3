"""Which pictures a model gets, and what each is called.

By default three: all layers in one, alpha by depth, the funnel; pictures of single layers on request.
A picture is a small value that draws itself in whichever process is told to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from math import log, sqrt
from typing import TYPE_CHECKING, Protocol

from zoo.errors import UseError
from zoo.pictures.drawing import Cells, number
from zoo.pictures.layers import layer_figure, layer_title
from zoo.pictures.overview import alpha_by_depth, funnel
from zoo.pictures.panels import MAX_PANELS, Panel, all_layers
from zoo.pictures.prototypes import Line, prototype_grid
from zoo.pictures.trajectory import trajectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from zoo.spectral.spectrum import Spectrum

Wanted = Iterable[str | int]
"""Layers that get a picture of their own: globs on tensor names, or values of `layer_index`."""
_MAX_NAME = 120
"""Letters of a tensor's name that a file's name keeps, the last ones."""


class Measured(Protocol):
    """What a layer's pictures need: its columns and, where kept, its spectra."""

    @property
    def columns(self) -> Cells: ...
    @property
    def spectrum(self) -> Spectrum | None: ...
    @property
    def rand_spectrum(self) -> Spectrum | None: ...


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that is not drawn yet; picklable."""

    name: str
    """Of its file, without ending: letters, digits, `_`, `.` and `-`."""
    draw: Callable[[], Figure]


def album(model_id: str, reports: Sequence[Measured], layers: Wanted = ()) -> tuple[Picture, ...]:
    """The pictures of one model: `all_layers`, `alpha_by_depth`, `funnel`, and one per layer asked for.

    Of more than 160 layers `all_layers` shows those with most traps and with alpha furthest from 2 to 6. A
    picture of one layer is called `layer_007_<tensor>`. UseError for a glob or a number that no measured
    layer fits.
    """
    rows = [report.columns for report in reports]
    panels = [panel for report in reports if (panel := _panel(report)) is not None]
    ranked = sorted(range(len(panels)), key=lambda i: _interest(panels[i].columns))
    shown = [panels[i] for i in sorted(ranked[-MAX_PANELS:])]
    pictures = [
        Picture("all_layers", partial(all_layers, shown, title=model_id, num_layers=len(panels))),
        Picture("alpha_by_depth", partial(alpha_by_depth, rows, title=model_id)),
        Picture("funnel", partial(funnel, rows, title=model_id)),
    ]
    return (*pictures, *(_single(model_id, panel) for panel in _asked_for(panels, layers)))


def over_steps(model_id: str, rows: Sequence[Cells]) -> tuple[Picture, ...]:
    """`trajectory`, of a model with two steps or more; `rows` of the view `trajectories`."""
    if len(rows) < 2:
        return ()
    return (Picture("trajectory", partial(trajectory, rows, title=model_id)),)


def of_prototypes(title: str, lines: Sequence[Line]) -> tuple[Picture, ...]:
    """`prototypes`, of a model whose input is an image; nothing without lines."""
    return (Picture("prototypes", partial(prototype_grid, lines, title=title)),) if lines else ()


def layer_name(columns: Cells) -> str:
    """What the picture of a layer is called: `layer_007_h.0.attn.weight_q`, whatever the tensor's name."""
    tensor = str(columns.get("tensor"))[-_MAX_NAME:]
    more = [str(columns[key]) for key in ("part",) if columns.get(key) is not None]
    if columns.get("expert") is not None:
        more.append(f"expert{columns['expert']}")
    text = "_".join([f"layer_{columns['layer_index']:03d}", tensor, *more])
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text)


def _single(model_id: str, panel: Panel) -> Picture:
    draw = partial(
        layer_figure,
        panel.evals,
        panel.rand_evals,
        panel.columns,
        title=layer_title(panel.columns),
        model=model_id,
    )
    return Picture(layer_name(panel.columns), draw)


def _panel(report: Measured) -> Panel | None:
    """A layer that has an eigenvalue above 0."""
    spectrum, rand = report.spectrum, report.rand_spectrum
    if spectrum is None or not spectrum.evals.size or spectrum.evals[-1] <= 0.0:
        return None
    return Panel(report.columns, spectrum.true_evals, None if rand is None else rand.true_evals)


def _asked_for(panels: Sequence[Panel], layers: Wanted) -> list[Panel]:
    wanted = [layers] if isinstance(layers, str) else list(layers)
    chosen: dict[int, Panel] = {}
    for one in wanted:
        fitting = [i for i, panel in enumerate(panels) if _fits(panel.columns, one)]
        if not fitting:
            some = ", ".join(str(panel.columns.get("tensor")) for panel in panels[:3]) or "none"
            raise UseError(
                f"pictures of layers: got {one!r}, which fits no measured layer; wanted a glob on the names of "
                f"tensors ({some}, ...) or a layer_index"
            )
        chosen |= {i: panels[i] for i in fitting}
    return [chosen[i] for i in sorted(chosen)]


def _fits(columns: Cells, wanted: str | int) -> bool:
    if isinstance(wanted, int) or wanted.isdigit():
        return columns.get("layer_index") == int(wanted)
    return fnmatchcase(str(columns.get("tensor")), wanted)


def _interest(columns: Cells) -> tuple[float, float]:
    """Sorting key: number of traps, then distance of ln alpha from the middle of 2 to 6."""
    alpha = number(columns, "alpha")
    distance = 0.0 if alpha is None else abs(log(alpha / sqrt(12.0)))
    return number(columns, "num_traps") or 0.0, distance
