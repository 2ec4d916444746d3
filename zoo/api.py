"""`zoo.analyze`: one model in this process, as a report that can become a table or pictures.

The Python face of the measuring half. Writes nothing; knows no catalog.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import NotFoundError, UseError
from zoo.formats.weight import Entry
from zoo.io.memory import memory_checkpoint
from zoo.io.store import open_store
from zoo.model import LayerReport, Model, measure, model_of, open_model
from zoo.options import AnalysisOptions, LayerSelection

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

MEMORY_REVISION = "memory"
"""Stands for the revision of a model that is not stored; enters the seeds of its shuffles."""


@dataclass(frozen=True, slots=True)
class Report:
    """Every layer of one model, measured."""

    model_id: str
    revision: str
    reports: tuple[LayerReport, ...]
    entries: tuple[Entry, ...]
    """The fate of every stored tensor."""

    @property
    def layers(self) -> list[dict[str, object]]:
        """One mapping per layer, column name to value; None where there is no number."""
        return [dict(report.columns) for report in self.reports]

    @property
    def traps(self) -> list[dict[str, object]]:
        """One mapping per trap, with the tensor it was found in."""
        names = ("layer_index", "tensor", "part", "expert")
        return [
            {**{n: report.columns[n] for n in names}, **trap}
            for report in self.reports
            for trap in report.traps
        ]

    def to_pandas(self) -> Any:
        """The layers as a pandas DataFrame (pandas must be installed)."""
        return _peer("pandas").DataFrame(self.layers)

    def to_arrow(self) -> Any:
        """The layers as a pyarrow Table (pyarrow must be installed)."""
        return _peer("pyarrow").Table.from_pylist(self.layers)

    def plot(self, folder: str | os.PathLike[str] | None = None) -> dict[str, Figure]:
        """Pictures by name; also written as PNG files when `folder` is given."""
        from zoo.plots import report_figures

        figures = report_figures(self.model_id, self.reports)
        if folder is not None:
            root = Path(folder)
            root.mkdir(parents=True, exist_ok=True)
            for name, figure in figures.items():
                figure.savefig(root / f"{name}.png", dpi=120)
        return figures


def analyze(
    source: str | os.PathLike[str] | Mapping[str, torch.Tensor] | torch.nn.Module,
    *,
    options: AnalysisOptions | None = None,
    selection: LayerSelection | None = None,
    config: Mapping[str, object] | None = None,
) -> Report:
    """Measure every layer of one model.

    `source` is a folder, a weight file, a Hub id (`owner/name` or `owner/name@revision`), a state dict or a
    torch module. `config` is the model's config.json for sources that carry none; it tells heads and experts.
    The number of mathematics threads is the caller's (`zoo.threads.set_threads`).

    Raises CheckpointError when the checkpoint cannot be read, SourceError when it cannot be reached.
    """
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
    store = open_store(locate(source))
    try:
        yield store.model_id, open_model(store, selection)
    finally:
        store.close()


_WEIGHT_FILES = (".safetensors", ".gguf", ".bin", ".pt", ".pth", ".ckpt")


def locate(source: str | os.PathLike[str]) -> object:
    """The location of a path, URL or Hub id; what exists on disk wins. Raises UseError, SourceError."""
    from zoo.io.local import LocalLocation

    text = os.fspath(source)
    if "://" in text:
        from zoo.io.remote import FsspecLocation

        return FsspecLocation(text)
    if os.path.exists(text):
        return LocalLocation.of(text)
    repo, _, revision = text.partition("@")
    is_path = repo.startswith((".", "/", "~")) or repo.endswith(_WEIGHT_FILES)
    if repo.count("/") > 1 or is_path or not repo:
        raise NotFoundError(f"got {text!r}: no such folder or file, and no Hub id (owner/name)")
    import zoo.hub.register  # noqa: F401  `open_store` takes a HubLocation from here on
    from zoo.hub.listing import resolve_model
    from zoo.hub.location import HubLocation
    from zoo.hub.session import process_client

    return HubLocation(repo, resolve_model(process_client(), repo, revision or "main").sha)


def _report(model_id: str, model: Model, options: AnalysisOptions) -> Report:
    reports = tuple(
        sorted(measure(model, options), key=lambda r: int(str(r.columns["layer_index"])))
    )
    return Report(model_id, model.revision, reports, model.entries)


def _peer(name: str) -> Any:
    """A table library of the caller's choice, imported only when asked for."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UseError(
            f"{name} is not installed; `pip install {name}`, or use `report.layers`"
        ) from error
