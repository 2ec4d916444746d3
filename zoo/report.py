"""A measured model as an object: tables, a summary, pictures, and what a notebook shows of it.

Writes nothing but pictures; knows no catalog.
"""

from __future__ import annotations

import importlib
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from zoo.cells import cells
from zoo.columns import names_of
from zoo.errors import UseError
from zoo.formats.weight import Entry
from zoo.io.left_out import LeftOut, in_one_line
from zoo.measure.reports import LayerReport
from zoo.measure.row import LayerRow
from zoo.summary import Summary, summary_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from zoo.pictures.album import Picture, Wanted

_NOTEBOOK_COLUMNS: Final = (
    "tensor", "part", "expert", "role", "n", "m", "alpha", "num_tail", "num_traps",
    "trap_excess_max", "erg_log_ratio", "tail_warning", "status", "reason",
)  # fmt: skip
"""What a notebook shows of a layer; columns that are empty in all layers are left out."""
_NOTEBOOK_ROWS: Final = 60
"""Most layers that a notebook shows."""


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """Every layer of one model, measured.

    `layers` and `traps` are plain mappings, named as the columns of the tables of the same name
    (docs/tables.md says what each means); `to_pandas`, `to_arrow` and `plot` make more of them. They are of
    the model's own weights; `deltas` are the layers of W − W_base.
    """

    model_id: str
    revision: str
    reports: tuple[LayerReport, ...]
    entries: tuple[Entry, ...]
    """The fate of every stored tensor."""
    left_out: tuple[LeftOut, ...] = ()
    """Files that could hold weights and are not read, each with its reason."""
    base_id: str | None = None
    """The base model whose weights are subtracted in `deltas`; None without one."""
    base_revision: str | None = None
    """Its commit, or fingerprint of its contents."""

    def __repr__(self) -> str:
        status = Counter(str(row["status"]) for row in self.layers)
        layers = ", ".join(f"{count} {name}" for name, count in sorted(status.items())) or "none"
        return f"<Report {self.model_id}@{self.revision[:12]}: layers: {layers}; {self.num_traps:g} traps>"

    @property
    def layers(self) -> list[dict[str, object]]:
        """One mapping per layer, column name to value; None where there is no number."""
        return [report.columns for report in self._own]

    @property
    def deltas(self) -> list[dict[str, object]]:
        """One mapping per layer of W − W_base; empty where no base was given."""
        return [r.columns for r in self.reports if r.row.name.delta_base is not None]

    @property
    def _own(self) -> tuple[LayerReport, ...]:
        """The layers of the model's own weights."""
        return tuple(r for r in self.reports if r.row.name.delta_base is None)

    def _repr_html_(self) -> str:
        """What a notebook shows: the summary, and the main columns of the layers."""
        rows = self.layers
        names = [n for n in _NOTEBOOK_COLUMNS if any(row[n] is not None for row in rows)]
        parts = [f"<pre>{escape(str(self.summary()))}</pre>"]
        if self.left_out:
            parts.append(f"<p>{escape(in_one_line(self.left_out))}</p>")
        parts.append(f"<table><thead><tr>{_tags('th', names)}</tr></thead><tbody>")
        parts += [
            f"<tr>{_tags('td', (_shown(row[n]) for n in names))}</tr>"
            for row in rows[:_NOTEBOOK_ROWS]
        ]
        parts.append("</tbody></table>")
        if len(rows) > _NOTEBOOK_ROWS:
            parts.append(
                f"<p>{_NOTEBOOK_ROWS} of {len(rows)} layers; <code>to_pandas()</code> has all of them</p>"
            )
        return "".join(parts)

    def summary(self) -> Summary:
        """The model in a few numbers, those of the leaderboards; printed as a few lines."""
        return summary_of(self.model_id, self.revision, self.layers)

    @property
    def num_traps(self) -> float:
        """Correlation Traps of all layers: the sum of `num_traps`, as leaderboards count them."""
        return self.summary().total_traps or 0.0

    @property
    def traps(self) -> list[dict[str, object]]:
        """One mapping per trap, with the tensor it was found in; those of `deltas` have a `delta_base`."""
        return [cells(trap) for report in self.reports for trap in report.traps]

    def to_pandas(self) -> Any:
        """The layers as a pandas DataFrame, one row each; UseError when pandas is not installed.

        What is None in `layers` is pandas' own missing value: NaN among numbers.
        """
        return _peer("pandas").DataFrame(self.layers, columns=list(names_of(LayerRow)))

    def to_arrow(self) -> Any:
        """The layers as a pyarrow Table, one row each; UseError when pyarrow is not installed.

        A column without any value has the type null: join tables of several models with
        `pyarrow.concat_tables(tables, promote_options="permissive")`.
        """
        arrow = _peer("pyarrow")
        if not self._own:
            return arrow.table({name: arrow.nulls(0) for name in names_of(LayerRow)})
        return arrow.Table.from_pylist(self.layers)

    def figures(self, layers: Wanted = ()) -> dict[str, Figure]:
        """Matplotlib figures by name: `all_layers`, `alpha_by_depth`, `funnel`.

        `layers`: globs on tensor names, or values of `layer_index`, of layers that get a figure of their own
        (`layer_007_<tensor>`); `"*"`: every one. UseError when matplotlib is not installed, or for
        what fits no measured layer.
        """
        return {picture.name: picture.draw() for picture in self._album(layers)}

    def plot(self, folder: str | os.PathLike[str], layers: Wanted = ()) -> dict[str, Path]:
        """Write the pictures of `figures` as PNG files, drawn in processes of their own; files by name.

        UseError also when `folder` cannot be written to.
        """
        from zoo.pictures.press import print_pictures

        return print_pictures(self._album(layers), folder)

    def _album(self, layers: Wanted) -> tuple[Picture, ...]:
        _peer("matplotlib")
        from zoo.pictures.album import album

        return album(self.model_id, self._own, layers)


def _tags(tag: str, texts: Iterable[str]) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _peer(name: str) -> Any:
    """A table library of the caller's choice, imported only when asked for."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        instead = "" if name == "matplotlib" else ", or use `report.layers`"
        raise UseError(f"{name} is not installed; `pip install {name}`{instead}") from error
