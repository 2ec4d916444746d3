"""`zoo.analyze`: one model in this process, as a report that can become a table or pictures.

The Python face of the measuring half. Writes nothing; knows no catalog.
"""

from __future__ import annotations

import importlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.cells import cells
from zoo.columns import names_of
from zoo.errors import MissingPathError, SourceError, TransientError, UseError
from zoo.formats.weight import Entry
from zoo.hub.greeting import briefly
from zoo.io.addresses import Address, address_of
from zoo.io.left_out import LeftOut
from zoo.io.memory import memory_checkpoint
from zoo.io.nearby import in_words
from zoo.io.store import Location, reading
from zoo.measure.model import LayerReport, Model, measure, model_of, open_model
from zoo.measure.row import LayerRow
from zoo.options import AnalysisOptions, LayerSelection

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

MEMORY_REVISION = "memory"
"""Stands for the revision of a model that is not stored."""


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """Every layer of one model, measured.

    `layers` and `traps` are plain mappings, named as the columns of the tables of the same name
    (docs/tables.md says what each means); `to_pandas`, `to_arrow` and `plot` make more of them.
    """

    model_id: str
    revision: str
    reports: tuple[LayerReport, ...]
    entries: tuple[Entry, ...]
    """The fate of every stored tensor."""
    left_out: tuple[LeftOut, ...] = ()
    """Files that could hold weights and are not read, each with its reason."""

    def __repr__(self) -> str:
        status = Counter(report.row.measured.outcome.status for report in self.reports)
        layers = ", ".join(f"{count} {name}" for name, count in sorted(status.items())) or "none"
        return f"<Report {self.model_id}@{self.revision[:12]}: layers: {layers}; {self.num_traps:g} traps>"

    @property
    def layers(self) -> list[dict[str, object]]:
        """One mapping per layer, column name to value; None where there is no number."""
        return [report.columns for report in self.reports]

    @property
    def num_traps(self) -> float:
        """Correlation Traps of all layers: the sum of `num_traps`, as leaderboards count them."""
        counts = (row["num_traps"] for row in self.layers)
        return sum(count for count in counts if isinstance(count, float))

    @property
    def traps(self) -> list[dict[str, object]]:
        """One mapping per trap, with the tensor it was found in."""
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
        if not self.reports:
            return arrow.table({name: arrow.nulls(0) for name in names_of(LayerRow)})
        return arrow.Table.from_pylist(self.layers)

    def plot(self, folder: str | os.PathLike[str] | None = None) -> dict[str, Figure]:
        """Matplotlib figures by name; also written as PNG files when `folder` is given.

        `alpha_by_depth`, `funnel`, and `layer_000`, … after `layer_index`: the layers that have an
        eigenvalue, of more than 64 those with most traps and with alpha furthest from 2 to 6. Raises
        UseError when matplotlib is not installed, or `folder` cannot be written to.
        """
        _peer("matplotlib")
        from zoo.pictures.layers import report_figures

        figures = report_figures(self.model_id, self.reports)
        if folder is not None:
            root = Path(folder)
            try:
                root.mkdir(parents=True, exist_ok=True)
                for name, figure in figures.items():
                    figure.savefig(root / f"{name}.png", dpi=120)
            except OSError as error:
                raise UseError(
                    f"got {os.fspath(folder)!r} for pictures: {error.strerror}; wanted a folder to write to"
                ) from error
        return figures


def analyze(
    source: str | os.PathLike[str] | Mapping[str, torch.Tensor] | torch.nn.Module,
    *,
    options: AnalysisOptions | None = None,
    selection: LayerSelection | None = None,
    config: Mapping[str, object] | None = None,
) -> Report:
    """Measure every layer of one model.

    `source` is a folder, a weight file, a Hub id (`owner/name` or `owner/name@revision`), an fsspec URL, a
    state dict or a torch module (neither is changed). `options` says what is computed, `selection` which
    tensors become layers. `config` is the model's config.json for sources that carry none; it tells heads
    and experts. The number of mathematics threads is the caller's (`zoo.machine.threads.set_threads`).

        options = zoo.AnalysisOptions(seed=7, alternatives=True)
        report = zoo.analyze(model, options=options, selection=zoo.LayerSelection(include=("*.mlp.*",)))

    A layer that cannot be measured (NaN, an unknown format) is a row of status `failed` with its reason.
    Raises UseError for a source of another kind, CheckpointError when the checkpoint cannot be read,
    SourceError when it cannot be reached.
    """
    if not isinstance(options, AnalysisOptions | None):
        raise UseError(f"options: got a {type(options).__name__}; wanted zoo.AnalysisOptions(...)")
    if not isinstance(selection, LayerSelection | None):
        raise UseError(
            f"selection: got a {type(selection).__name__}; wanted zoo.LayerSelection(...)"
        )
    if isinstance(source, str | os.PathLike) and config is not None:
        raise UseError(
            "config: got it with a path, which has its own; wanted it with a state dict or module"
        )
    options, selection = options or AnalysisOptions(), selection or LayerSelection()
    if isinstance(source, str | os.PathLike):
        with open_source(source, selection) as (model_id, model):
            return _report(model_id, model, options)
    checkpoint = memory_checkpoint(source, config)
    name = type(source).__name__
    return _report(name, model_of(checkpoint, selection, revision=MEMORY_REVISION), options)


@contextmanager
def open_source(
    source: str | os.PathLike[str], selection: LayerSelection
) -> Iterator[tuple[str, Model]]:
    """(model id, model) behind a path or Hub id, headers read; closed on leaving."""
    with reading(locate(source)) as store:
        _ = store.revision  # known before anything is read, so that every byte is held against it
        yield store.model_id, open_model(store, selection)


def locate(source: str | os.PathLike[str]) -> Location:
    """The location of a path, URL or Hub id; what exists on disk wins. Raises UseError, SourceError."""
    from zoo.io.local import LocalLocation

    text = os.fspath(source)
    if not text:
        raise UseError("got an empty path; wanted a folder, a weight file or a Hub id (owner/name)")
    address = address_of(text, folder="")
    if address.kind == "url":
        from zoo.io.fsspec_store import FsspecLocation

        return FsspecLocation(text)
    if address.kind == "path":
        if not os.path.lexists(address.place):
            raise MissingPathError(
                f"got {text!r}: no such folder or file, and no Hub id (owner/name){in_words(text)}"
            )
        return LocalLocation.of(address.place)
    return _on_the_hub(text, address)


def _on_the_hub(text: str, address: Address) -> Location:
    """The location of a repository, at the commit that its revision names now; in the cache, if offline.

    Somebody waits: an endpoint that cannot be reached is given up after one try, and the error names
    folders here that have the name.
    """
    from zoo.hub.listing import resolve_model
    from zoo.hub.location import HubLocation
    from zoo.hub.offline import cache_folder, cached_models, is_cached, is_offline
    from zoo.hub.session import process_client
    from zoo.io.local import LocalLocation

    repo_id, revision = address.place, address.revision or "main"
    try:
        if is_offline():
            return LocalLocation.of(cached_models(repo_id, revision)[0][1].folder)
        with briefly():
            model = resolve_model(process_client(), repo_id, revision)
    except SourceError as error:
        words = in_words(text)
        if isinstance(error, TransientError) and is_cached(repo_id, revision):
            words = f". HF_HUB_OFFLINE=1 reads it from the cache at {cache_folder()}{words}"
        if not words:
            raise
        raise type(error)(f"{error}{words}") from error
    return HubLocation(address.place, model.sha)


def _report(model_id: str, model: Model, options: AnalysisOptions) -> Report:
    reports = sorted(measure(model, options), key=lambda report: report.row.name.layer_index)
    return Report(model_id, model.revision, tuple(reports), model.entries, model.left_out)


def _peer(name: str) -> Any:
    """A table library of the caller's choice, imported only when asked for."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        instead = "" if name == "matplotlib" else ", or use `report.layers`"
        raise UseError(f"{name} is not installed; `pip install {name}`{instead}") from error
