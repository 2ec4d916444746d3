"""`zoo analyze SOURCE`: one source -> a report, a file, pictures. No cluster and no catalog."""

from __future__ import annotations

import importlib.util
import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from jobs.screen.shown import AS_USUAL, Shown
from jobs.screen.typed import Place

if TYPE_CHECKING:
    from zoo.options import AnalysisOptions
    from zoo.report import Report

COLUMNS = (
    "layer_index", "tensor", "part", "role", "n", "m", "alpha", "ks_distance", "num_tail",
    "num_traps", "erg_log_ratio", "stable_rank", "tail_warning", "status", "reason",
)  # fmt: skip
"""What the table shows; the other formats have every column."""
DELTA_COLUMNS = ("delta_base", "delta_relative", "delta_noise_share")
"""What it shows beside them where a base model is given."""
LONGEST = 8
"""Functions of a profile that are named."""
FIRST = (
    "tensor", "part", "delta_base", "alpha", "num_traps", "erg_log_ratio", "status", "tail_warning", "reason",
    "role", "delta_relative", "n", "m", "stable_rank", "num_tail", "ks_distance", "layer_index",
)  # fmt: skip
"""What a terminal has room for first."""


def analyze(
    source: Place,
    *,
    format: Literal["table", "csv", "json", "md", "parquet"] = "table",
    out: Annotated[Path | None, Parameter(name=("--out", "-o"))] = None,
    plot: Path | None = None,
    plot_layers: list[str] | None = None,
    base: str | None = None,
    metrics: Literal["all", "tail"] = "all",
    shuffle: Literal["auto", "full", "top", "none"] = "auto",
    seed: int = 0,
    threads: int = 1,
    profile: Path | None = None,
    shown: Shown = AS_USUAL,
    quiet: bool = False,
) -> int:
    """Measure one model here and print a row per layer.

    Exit codes: 0 done, 1 a layer failed or the model cannot be read, 2 bad use, such as a source that is not there.

    Parameters
    ----------
    source
        Folder, weight file (.safetensors, .bin, .gguf, .onnx, .keras, .h5, .npz), or Hub id, optionally `id@revision`.
    format
        table shows the main columns; csv, json, md and parquet have all of them.
    out
        File for `--format parquet` (default: layers.parquet).
    plot
        Folder for pictures: the spectra of all layers in one, alpha against depth, the (alpha, erg_delta) funnel.
    plot_layers
        Also a picture of each layer whose tensor fits this glob ("*": all), or of that layer_index; may be repeated.
    base
        The model that this one was trained from: folder, weight file or Hub id. Adds a row for each layer of
        W − W_base, with its id under delta_base.
    metrics
        all, or tail: norms and the power-law tail alone, the other columns stay empty; four times faster.
    shuffle
        full: whole shuffled spectrum. top: only what leaves the bulk. auto: full up to m = 2,048. none: no traps.
    seed
        Seed of the shuffles.
    threads
        Mathematics threads.
    profile
        File for a profile of the measurement (`python -m pstats FILE`); what took longest is said. The time of
        each layer is in the columns read_s, spectrum_s, shuffle_s and total_s.
    quiet
        Say nothing but errors.
    """
    import sys

    from jobs.screen.output import print_rows
    from jobs.screen.progress import Progress, hear_hub
    from zoo.errors import UseError
    from zoo.hub.offline import is_offline
    from zoo.io.addresses import address_of
    from zoo.io.left_out import in_one_line, set_aside_in_one_line
    from zoo.io.nearby import in_words
    from zoo.options import AnalysisOptions

    if out is not None and format != "parquet":
        raise UseError(
            "--out: got it without --format parquet; the other formats go to standard output"
        )
    if threads < 1:
        raise UseError(f"--threads: got {threads}; wanted 1 or more")
    if seed < 0:
        raise UseError(f"--seed: got {seed}; wanted 0 or more")
    progress = Progress(quiet=quiet)
    hear_hub(progress)
    if plot_layers and plot is None:
        raise UseError("--plot-layers: got it without --plot; wanted a folder for the pictures")
    check_outputs(out if format == "parquet" else None, plot)  # before minutes of work
    for place in filter(None, (source, base)):
        if address_of(place, folder="").kind == "hub":
            asking = "looking in the Hub's cache" if is_offline() else "asking the Hub"
            progress.say(f"{place}: no such file or folder here; {asking}{in_words(place)}")
    options = AnalysisOptions(metrics=metrics, shuffle=shuffle, seed=seed)
    with profiled(profile, progress.say):
        report = analyse_source(source, base=base, options=options, threads=threads)
    rows = report.layers + report.deltas
    progress.say(summary(report))
    if report.left_out:
        progress.say(f"{report.model_id}: {in_one_line(report.left_out)}")
    if twins := set_aside_in_one_line(Counter(entry.reason or "" for entry in report.entries)):
        progress.say(f"{report.model_id}: {twins}")
    if format == "parquet":
        write_parquet(rows, out or Path("layers.parquet"))
        progress.say(f"wrote {out or 'layers.parquet'}")
    else:
        every = list(rows[0]) if rows else COLUMNS
        usual: tuple[str, ...] | None = COLUMNS if format == "table" else None
        if usual and base is not None:
            usual = (*COLUMNS[:4], *DELTA_COLUMNS, *COLUMNS[4:])
        print_rows(
            rows, columns=every, usual=usual, first=FIRST, format=format, shown=shown, quiet=quiet
        )
    if plot is not None:
        for path in report.plot(plot, layers=plot_layers or ()).values():
            progress.say(f"wrote {path}")
    sys.stdout.flush()
    return 1 if any(row["status"] == "failed" for row in rows) else 0


@contextmanager
def profiled(path: Path | None, say: Callable[[str], None]) -> Iterator[None]:
    """Write a profile of the block to `path`, and say which functions took longest; nothing without a path."""
    if path is None:
        yield
        return
    import cProfile
    import pstats

    from zoo.errors import UseError

    if not path.parent.is_dir() or path.is_dir():
        raise UseError(f"--profile: got {str(path)!r}; wanted a file in a folder that is there")
    with cProfile.Profile() as profile:
        yield
    profile.dump_stats(path)
    timed = pstats.Stats(profile).get_stats_profile()
    longest = sorted(timed.func_profiles.items(), key=lambda item: -item[1].tottime)[:LONGEST]
    say(f"wrote {path}; {timed.total_tt:.1f} s, of which the longest, by themselves:")
    for name, function in longest:
        say(
            f"  {function.tottime:8.2f} s  {function.ncalls:>9} calls  {name} ({function.file_name})"
        )


def summary(report: Report) -> str:
    """One line for people: layers by status, stored tensors by fate, traps."""
    status = Counter(str(row["status"]) for row in report.layers)
    fates = Counter(entry.fate for entry in report.entries)
    layers = ", ".join(f"{n} {s}" for s, n in sorted(status.items())) or "none"
    tensors = ", ".join(f"{n} {f}" for f, n in sorted(fates.items())) or "none"
    text = (
        f"{report.model_id}@{report.revision[:12]}: layers: {layers}; stored tensors: {tensors}; "
        f"{report.num_traps:g} traps"
    )
    if report.base_id is None:
        return text
    deltas = Counter(_kind(row) for row in report.deltas)
    kinds = ", ".join(f"{n} {s}" for s, n in sorted(deltas.items())) or "none"
    return f"{text}\nminus {report.base_id}@{(report.base_revision or '')[:12]}: layers: {kinds}"


def _kind(row: dict[str, object]) -> str:
    """How a layer of W − W_base came out: its status, or that nothing was changed in it."""
    from zoo.layers.deltas import EQUAL

    return EQUAL if row["reason"] == EQUAL else str(row["status"])


def write_parquet(layers: list[dict[str, object]], path: Path) -> None:
    """All columns, with the schema of the table `layers` without the common keys."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from catalog.schema.arrow_types import arrow_schema
    from zoo.errors import UseError

    names = list(layers[0]) if layers else []
    known = {field.name: field for field in arrow_schema("layers")}
    schema = pa.schema([known[name] for name in names])
    try:
        pq.write_table(pa.Table.from_pylist(layers, schema=schema), path)
    except OSError as error:
        raise UseError(f"--out: cannot write {str(path)!r}: {error}") from error


def check_outputs(parquet: Path | None, pictures: Path | None) -> None:
    """UseError for files that could not be written, said before anything is measured."""
    from zoo.errors import UseError

    if parquet is not None and (parquet.is_dir() or not parquet.parent.is_dir()):
        raise UseError(f"--out: got {str(parquet)!r}; wanted a file in a folder that is there")
    if pictures is None:
        return
    if importlib.util.find_spec("matplotlib") is None:
        raise UseError("--plot needs matplotlib: pip install 'spectral-zoo[plot]'")
    try:
        pictures.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UseError(
            f"--plot: got {str(pictures)!r}: {error.strerror}; wanted a folder to write to"
        ) from error


def analyse_source(
    source: str, *, options: AnalysisOptions, threads: int, base: str | None = None
) -> Report:
    """Measure the model behind a path or Hub id, and what distinguishes it from `base`."""
    from zoo.api import analyze as measure
    from zoo.errors import NotFoundError, UseError
    from zoo.machine.heap import return_large_arrays
    from zoo.machine.threads import set_threads

    set_threads(threads)
    return_large_arrays()
    try:
        from_base = None if base is None else locate_one(base)
        return measure(locate_one(source), options=options, base=from_base)
    except (
        NotFoundError
    ) as error:  # a name that was typed names nothing; in a sweep a model is missing
        raise UseError(str(error)) from error


def locate_one(source: str) -> str:
    """`source`, or the one model below it; UseError for a folder that holds several.

    Of a repository in the Hub's cache its `main` is meant: see `zoo.io.local`.
    """
    from jobs.sources.folders import models_at
    from zoo.errors import UseError
    from zoo.io.file_names import shown
    from zoo.io.hub_cache import repo_id_of, snapshot_at

    folder = Path(source).expanduser().absolute() if source else None
    if folder is None or not folder.is_dir() or repo_id_of(folder) is not None:
        return source
    models = models_at([folder], lambda text: None)
    if len(models) > 1:
        snapshots = [snapshot_at(model) for model in models]
        names = [
            f"{s.repo_id}@{s.commit[:12]}" if s else f"local/{shown(model.name)}"
            for s, model in zip(snapshots, models, strict=True)
        ]
        raise UseError(
            f"{source} holds {len(models)} models ({', '.join(names[:3])}, ...); wanted one: name its folder, or "
            f"measure them all:\n  zoo sweep {shlex.quote(source)} --out results"
        )
    return source if snapshot_at(models[0]) is None else str(models[0])
