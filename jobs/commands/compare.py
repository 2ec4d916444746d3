"""`zoo compare CATALOG A B`"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.screen.shown import AS_USUAL, Format, Shown
from jobs.screen.typed import ModelName, Place


def compare(
    catalog: Place,
    a: ModelName,
    b: ModelName,
    *,
    format: Format = "table",
    shown: Shown = AS_USUAL,
    quiet: bool = False,
) -> int:
    """Two models side by side, layer by layer: base against fine-tune, step against step.

    A table leads with the layers that differ most, by the largest relative change of any of its numbers.

    Parameters
    ----------
    catalog
        Folder or URL of the catalog.
    a
        Model id, optionally `id@revision` or `id@stepN`.
    b
        The other model.
    format
        How to print.
    quiet
        Nothing but rows and errors.
    """
    from catalog.read.model_page import METRICS, VIEWS
    from catalog.read.model_page import compare as compare_models
    from catalog.read.views import connect
    from jobs.screen.output import print_rows
    from jobs.screen.progress import Progress

    with connect(catalog, only=VIEWS) as con:
        answer = compare_models(con, a, b)
    rows = answer.to_pylist()
    moved = [metric for metric in METRICS if any(_change(row, metric) for row in rows)]
    if format in ("table", "md"):  # the others keep the order of the layers
        rows.sort(key=_largest_change, reverse=True)
    print_rows(
        rows,
        columns=answer.column_names,
        format=format,
        quiet=quiet,
        shown=shown,
        first=("tensor", "part", "expert", "presence", *_of_metrics(moved)),
    )
    Progress(quiet=quiet).say(_summary(rows, moved))
    return 0


def _change(row: Mapping[str, Any], metric: str) -> float:
    """How far `metric` of the second model is from the first's, relative to the larger of both; infinite
    where one of them alone has it."""
    a, b = row[f"{metric}_a"], row[f"{metric}_b"]
    if a is None or b is None:
        return 0.0 if a is b else math.inf
    return abs(b - a) / max(abs(a), abs(b)) if a != b else 0.0


def _largest_change(row: Mapping[str, Any]) -> tuple[bool, float]:
    from catalog.read.model_page import METRICS

    return row["presence"] != "both", max(_change(row, metric) for metric in METRICS)


def _of_metrics(moved: Sequence[str]) -> list[str]:
    """Columns by importance: the first number that moved of both models, how far the others did, then what
    they are."""
    sides = [f"{metric}_{side}" for metric in moved[:1] for side in ("delta", "a", "b")]
    sides += [f"{metric}_delta" for metric in moved[1:]]
    return [*sides, *(f"{metric}_{side}" for metric in moved[1:] for side in ("a", "b"))]


def _summary(rows: Sequence[Mapping[str, Any]], moved: Sequence[str]) -> str:
    """How many layers differ, and in what."""
    both = [row for row in rows if row["presence"] == "both"]
    differing = sum(_largest_change(row)[1] > 0 for row in both)
    alone = [f"{sum(row['presence'] == s for row in rows)} in {s} alone" for s in ("a", "b")]
    said = f"{differing} of {len(both)} layers of both differ; {', '.join(alone)}"
    return f"{said}; numbers that differ: {', '.join(moved) or 'none'}"
