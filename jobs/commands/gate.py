"""`zoo gate SOURCE|CATALOG`"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.screen.shown import AS_USUAL, Format, Shown
from jobs.screen.typed import Place

if TYPE_CHECKING:
    from catalog.read.gate import Verdict

FIRST = ("model", "tensor", "why", "part", "expert", "check", "value", "limit", "baseline")
"""What a terminal has room for first."""


def gate(
    source: Place,
    *models: str,
    max_traps: float | None = None,
    alpha: str | None = None,
    max_alignment: float | None = None,
    baseline: str | None = None,
    json: Path | None = None,
    junit: Path | None = None,
    threads: int = 1,
    seed: int = 0,
    format: Format = "table",
    shown: Shown = AS_USUAL,
    quiet: bool = False,
) -> int:
    """Check every layer against limits, before a release: exit 1 with the layers that break them, and why.

    Parameters
    ----------
    source
        A model to measure now (folder, weight file, Hub id), or a catalog.
    models
        Of a catalog, only these; without them the newest revision of each. Else more models to measure.
    max_traps
        Correlation Traps that a layer may have.
    alpha
        LO:HI, the range of alpha.
    max_alignment
        Largest |ln(xmin / erg_lambda_min)|.
    baseline
        A model (of the catalog, or to measure) whose layers may break limits as far: what was there before is let
        pass, what is new or worse is not.
    json
        File for the outcome, as JSON.
    junit
        File for the outcome, as JUnit XML: a test case a layer.
    threads
        Mathematics threads, of a model measured now.
    seed
        Seed of the shuffles, of a model measured now.
    format
        How to print the layers that break a limit.
    quiet
        Nothing but rows and errors.
    """
    from catalog.read.gate import BREACH_COLUMNS, Limits, judge
    from jobs.screen.gate_files import write_json, write_junit
    from jobs.screen.output import print_rows
    from jobs.screen.progress import Progress
    from jobs.screen.text import printable

    limits = Limits(max_traps, None if alpha is None else parse_range(alpha), max_alignment)
    if is_catalog(source):
        measured, before = _stored(source, models, baseline)
    else:
        measured, before = _measured(source, models, baseline, threads, seed)
    verdicts = [judge(name, layers, limits, baseline=before) for name, layers in measured]
    rows = [breach.to_row() for verdict in verdicts for breach in verdict.breaches]
    if rows or format != "table":
        print_rows(
            rows, columns=BREACH_COLUMNS, first=FIRST, format=format, shown=shown, quiet=quiet
        )
    progress = Progress(quiet=quiet)
    for verdict in verdicts:
        progress.say(printable(in_words(verdict)))
    asked = {
        "max_traps": max_traps, "alpha": limits.alpha, "max_alignment": max_alignment,
        "baseline": baseline,
    }  # fmt: skip
    if json is not None:
        write_json(verdicts, dict(asked), json)
    if junit is not None:
        write_junit(verdicts, junit)
    return 0 if all(verdict.passed for verdict in verdicts) else 1


def parse_range(text: str) -> tuple[float, float]:
    """`2:6` -> (2, 6); an end that is left out has no limit. UseError for anything else."""
    from zoo.errors import UseError

    low, colon, high = text.partition(":")
    try:
        if not colon or not (low or high):
            raise ValueError
        return float(low or "-inf"), float(high or "inf")
    except ValueError as error:
        raise UseError(f"--alpha: got {text!r:.40}; wanted LO:HI, such as 2:6") from error


def is_catalog(source: str) -> bool:
    """True when a catalog is there."""
    from catalog.files.folder import Folder
    from catalog.files.layout import marker_name

    return ("://" in source or Path(source).is_dir()) and marker_name(
        Folder.parse(source)
    ) is not None


def in_words(verdict: Verdict) -> str:
    """One line a model."""
    outcome = "passed" if verdict.passed else f"FAILED: {len(verdict.breaches)} limits broken"
    if len(verdict.breaches) == 1:
        outcome = "FAILED: 1 limit broken"
    known = f", {verdict.num_known} as in the baseline" if verdict.num_known else ""
    unjudged = (
        f"; {verdict.num_unjudged} numbers not there to judge" if verdict.num_unjudged else ""
    )
    return f"{verdict.model}: {outcome}{known} ({verdict.num_layers} layers{unjudged})"


_Layers = list[dict[str, Any]]


def _stored(
    catalog: str, models: Sequence[str], baseline: str | None
) -> tuple[list[tuple[str, _Layers]], _Layers | None]:
    """(model, its layers) of a catalog, and the layers of the baseline."""
    from catalog.errors import QueryError
    from catalog.read.gate import COLUMNS
    from catalog.read.model_page import VIEWS, find_model, layers_of
    from catalog.read.query import ask_rows
    from catalog.read.views import connect

    with connect(catalog, only=VIEWS) as con:
        wanted = list(models) or [
            str(name)
            for (name,) in ask_rows(
                con, "select model_id from models_latest where is_final order by model_id"
            ).rows
        ]
        if not wanted:
            raise QueryError(f"{catalog}: no model to check; wanted one that was measured")
        refs = [find_model(con, name) for name in wanted]
        found = [f"{ref.model_id}@{ref.revision}" for ref in refs]
        layers = [(name, layers_of(con, name, COLUMNS).to_pylist()) for name in found]
        before = None if baseline is None else layers_of(con, baseline, COLUMNS).to_pylist()
    return layers, before


def _measured(
    source: str, models: Sequence[str], baseline: str | None, threads: int, seed: int
) -> tuple[list[tuple[str, _Layers]], _Layers | None]:
    """(model, its layers), measured here, and those of the baseline."""
    from jobs.commands.analyze import analyse_source
    from zoo.options import AnalysisOptions

    options = AnalysisOptions(seed=seed)
    reports = [analyse_source(name, options=options, threads=threads) for name in (source, *models)]
    layers = [(f"{report.model_id}@{report.revision}", list(report.layers)) for report in reports]
    if baseline is None:
        return layers, None
    return layers, list(analyse_source(baseline, options=options, threads=threads).layers)
