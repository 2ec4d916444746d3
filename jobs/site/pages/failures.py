"""The page of failures: what is not there, and why. Nothing that a sweep listed vanishes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from catalog.read.query import ask_rows
from catalog.read.status import status
from jobs.site.gather import Row
from jobs.site.pages.model import when
from jobs.site.safe import columnar, text, without_paths
from jobs.site.words import meanings_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from catalog.read.lacking import Lack

MISSING = """select sweep_name, model_id, revision, step, coalesce(cause, 'not done yet') as cause, reason,
    attempts, epoch_us(failed_at) as failed_at, epoch_us(listed_at) as listed_at
from missing order by all"""
"""Units that a sweep listed and that are not there."""
OPEN = """select s.name as sweep_name, f.model_id, f.revision, null::bigint as step, f.cause,
    concat(f.cause, ': ', f.message) as reason, f.attempts, epoch_us(f.failed_at) as failed_at,
    null::bigint as listed_at
from failures_open as f left join sweeps as s using (sweep_id)
where (f.model_id, f.revision, f.analysis_key) not in
    (select (model_id, revision, analysis_key) from missing)
order by all"""
"""Open failures of units that no sweep lists now."""
LAYERS = """select l.model_id, l.tensor, l.part, l.expert, l.status, l.reason
from current_rows('layers') as l
where l.status = 'failed' and l.delta_base is null
order by all limit 5000"""
"""Layers that failed in models that are there."""
_MEANING = {
    "data": "The files of the model are wrong or of no known format; the message says which.",
    "hub_permanent": "The Hub refuses: gated, gone or private.",
    "hub_transient": "The Hub was not reachable; the next sweep tries again.",
    "resource": "Not enough memory, even on a larger worker.",
    "poison": "The worker died on it twice.",
    "infra": "The machine or the cluster failed, not the model; the next sweep tries again.",
    "changed": "The files changed while they were read; the next sweep reads the new ones.",
    "bug": "A fault of this program; please report it.",
    "not done yet": "Listed, and not reached: the sweep was stopped or is running.",
    "rows lost": "Finished once; rows of it were deleted or damaged since. The next sweep measures it again.",
}


def failures(con: duckdb.DuckDBPyConnection, lacks: Sequence[Lack]) -> dict[str, Any]:
    """The data of the page, and what its template says: facts, causes with their counts."""
    rows = [*ask_rows(con, MISSING).to_pylist(), *ask_rows(con, OPEN).to_pylist()]
    rows += [
        {"model_id": lack.key.model_id, "revision": lack.key.revision, "cause": "rows lost",
         "reason": _MEANING["rows lost"]}
        for lack in lacks
    ]  # fmt: skip
    for row in rows:
        row["reason"] = without_paths(row["reason"])
        for name in ("failed_at", "listed_at"):
            row[name] = when(row[name]) if row.get(name) else None
    layers: list[Row] = ask_rows(con, LAYERS).to_pylist()
    for row in layers:
        row["reason"] = row["reason"] and without_paths(row["reason"])
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["cause"]] = counts.get(row["cause"], 0) + 1
    names = [
        "model_id",
        "cause",
        "reason",
        "attempts",
        "failed_at",
        "listed_at",
        "sweep_name",
        "step",
        "revision",
    ]
    of_layers = ["model_id", "tensor", "part", "expert", "status", "reason"]
    return {
        "data": {
            "failures": {
                **columnar(rows, names),
                "meanings": meanings_of(names),
                "shown": names[:7],
            },
            "layers": {
                **columnar(layers, of_layers),
                "meanings": meanings_of(of_layers),
                "shown": of_layers,
            },
        },
        "facts": [
            {**row, "item": text(row["item"])}
            for row in status(con, lacks).to_pylist()
            if row["topic"] in ("units", "catalog", "layers")
        ],
        "causes": [
            {"cause": cause, "num": num, "meaning": _MEANING.get(cause, "")}
            for cause, num in sorted(counts.items(), key=lambda c: (-c[1], c[0]))
        ],
        "num_failed": len(rows),
        "num_layers": len(layers),
    }
