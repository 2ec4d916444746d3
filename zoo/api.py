"""`zoo.analyze`: one model in this process, as a report that can become a table or pictures.

The Python face of the measuring half. Writes nothing; knows no catalog.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from zoo.errors import MissingPathError, SourceError, TransientError, UseError
from zoo.hub.greeting import briefly
from zoo.io.addresses import Address, address_of
from zoo.io.memory import memory_checkpoint
from zoo.io.nearby import in_words
from zoo.io.store import Location, reading
from zoo.measure.base import BaseModel, base_of, open_base
from zoo.measure.model import Model, measure, model_of, on_base, open_model
from zoo.options import AnalysisOptions, LayerSelection
from zoo.report import Report

if TYPE_CHECKING:
    import torch

MEMORY_REVISION = "memory"
"""Stands for the revision of a model that is not stored."""


def analyze(
    source: str | os.PathLike[str] | Mapping[str, torch.Tensor] | torch.nn.Module,
    *,
    options: AnalysisOptions | None = None,
    selection: LayerSelection | None = None,
    config: Mapping[str, object] | None = None,
    base: str | os.PathLike[str] | Mapping[str, torch.Tensor] | torch.nn.Module | None = None,
) -> Report:
    """Measure every layer of one model.

    `source` is a folder, a weight file, a Hub id (`owner/name` or `owner/name@revision`), an fsspec URL, a
    state dict or a torch module (neither is changed). `options` says what is computed, `selection` which
    tensors become layers. `config` is the model's config.json for sources that carry none; it tells heads
    and experts. The number of mathematics threads is the caller's (`zoo.machine.threads.set_threads`).

        options = zoo.AnalysisOptions(seed=7, alternatives=True)
        report = zoo.analyze(model, options=options, selection=zoo.LayerSelection(include=("*.mlp.*",)))

    `base` is the model that this one was trained from, of the kinds that `source` may be: `Report.deltas` are
    then the layers of W − W_base, tensor by tensor.

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
    if base is not None:
        selection = replace(selection, deltas=True)
    elif selection.deltas:
        raise UseError(
            "selection: got deltas without a base; wanted base=..., a path, Hub id or model"
        )
    with _opened(source, selection, config) as (model_id, model):
        if base is None:
            return _report(model_id, model, options)
        with _opened_base(base, selection) as base_model:
            return _report(model_id, on_base(model, base_model), options)


@contextmanager
def _opened(
    source: str | os.PathLike[str] | Mapping[str, torch.Tensor] | torch.nn.Module,
    selection: LayerSelection,
    config: Mapping[str, object] | None,
) -> Iterator[tuple[str, Model]]:
    """(model id, model) of whatever `analyze` takes, headers read; closed on leaving."""
    if isinstance(source, str | os.PathLike):
        with open_source(source, selection) as opened:
            yield opened
    else:
        checkpoint = memory_checkpoint(source, config)
        yield (
            type(source).__name__,
            model_of(checkpoint, selection, revision=MEMORY_REVISION),
        )


@contextmanager
def _opened_base(
    source: str | os.PathLike[str] | Mapping[str, torch.Tensor] | torch.nn.Module,
    selection: LayerSelection,
) -> Iterator[BaseModel]:
    """The base model behind `source`, headers read; closed on leaving."""
    if isinstance(source, str | os.PathLike):
        with reading(locate(source)) as store:
            _ = store.revision  # as in `open_source`
            yield open_base(store, selection)
    else:
        checkpoint = memory_checkpoint(source)
        name = type(source).__name__
        yield base_of(checkpoint, selection, model_id=name, revision=MEMORY_REVISION)


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
    base = model.base
    return Report(
        model_id,
        model.revision,
        tuple(reports),
        model.entries,
        model.left_out,
        base.model_id if base else None,
        base.revision if base else None,
    )
