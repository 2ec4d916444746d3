"""Results that model cards claim, as something to hold a board against: `DATASET:METRIC`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import duckdb

from catalog.errors import QueryError
from catalog.read.query import ask_rows

VIEWS = frozenset({"evaluations"})
"""What is asked here."""
_KNOWN = """
select coalesce(dataset, '') as dataset, metric, count(distinct model_id) as num_models
from evaluations
where value is not null and metric is not null
group by all
order by num_models desc, dataset, metric
"""
_VALUES = """
select model_id, revision, list(distinct value) as numbers
from evaluations
where value is not null and coalesce(dataset, '') = $dataset and metric = $metric
group by all
"""
_LOW = re.compile(r"err|loss|perplex|ppl|wer\b|cer\b|rmse|mse|mae\b|fid\b|bpb|bits", re.IGNORECASE)
_HIGH = re.compile(
    r"acc|f1|auc|bleu|rouge|exact|\bem\b|\bmap\b|mrr|ndcg|recall|precision|pass@", re.I
)
"""Metrics of which less, or more, is better; of any other the name does not tell."""


@dataclass(frozen=True, slots=True)
class Results:
    """Claimed results of one metric on one dataset."""

    name: str
    """`DATASET:METRIC`, as the cards spell it."""
    better: Literal["low", "high"] | None
    """Which end is better, as far as the name tells."""
    values: Mapping[tuple[str, str], float]
    """By (model_id, revision)."""
    several: frozenset[tuple[str, str]]
    """Models with more than one such result, none of which is taken."""


def results(con: duckdb.DuckDBPyConnection, wanted: str) -> Results:
    """The results called `wanted`; of the dataset's name a piece will do, or nothing, where it is the only one.

    QueryError, listing what there is, when the name fits none or several.
    """
    dataset, colon, metric = wanted.rpartition(":")
    known = ask_rows(con, _KNOWN).rows
    of_metric = [row for row in known if row[1].lower() == metric.lower()]
    fitting = [row for row in of_metric if not colon or row[0].lower() == dataset.lower()]
    fitting = fitting or [row for row in of_metric if dataset.lower() in row[0].lower()]
    if len(fitting) != 1:
        there = ", ".join(f"{d}:{m} ({num})" for d, m, num in (fitting or known)[:20]) or "none"
        fault = "several fit" if fitting else "no card has it"
        raise QueryError(
            f"--against {wanted!r:.100}: {fault}; wanted DATASET:METRIC. There are (with their numbers of "
            f"models) {there}"
        )
    ((dataset, metric, _),) = fitting
    rows = ask_rows(con, _VALUES, {"dataset": dataset, "metric": metric}).rows
    better: Literal["low", "high"] | None = None
    if _LOW.search(metric):
        better = "low"
    elif _HIGH.search(metric):
        better = "high"
    return Results(
        f"{dataset}:{metric}",
        better,
        {(model, revision): numbers[0] for model, revision, numbers in rows if len(numbers) == 1},
        frozenset((model, revision) for model, revision, numbers in rows if len(numbers) > 1),
    )
