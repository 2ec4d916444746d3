"""What moved on a leaderboard since the last sweep: the columns `moved` and `rank_before`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from catalog.read.query import ask_rows
from catalog.read.views import define

BEFORE = "internal.final_scores_before"
"""The scores as they were before the last sweep (sql/50_leaderboards.sql)."""
_SWEEPS = "select count(distinct sweep_id) as num, epoch_us(max(listed_at)) as newest from listing"


def add_movement(
    con: duckdb.DuckDBPyConnection,
    rows: Sequence[dict[str, Any]],
    query: str,
    values: Mapping[str, object],
) -> int | None:
    """Fill in `moved` (▲2, ▼1, =, new, gone) and `rank_before`; the time of the last sweep.

    `query` is that of the board over BEFORE: the same models, options and analysis, of the revisions that
    a sweep before the last one listed. Of a model without a rank that had one `moved` is gone. All is NULL,
    and the time None, where there was no sweep before the last one.
    """
    for row in rows:
        row["moved"] = row["rank_before"] = None
    ((num_sweeps, newest),) = ask_rows(con, _SWEEPS).rows
    if num_sweeps < 2 or not rows:
        return None
    define(con, only=(BEFORE.partition(".")[2],))  # few catalogs need it: defining takes its time
    before = {
        row["model_id"]: (row["within"], row["rank"])
        for row in ask_rows(con, query, values).to_pylist()
        if row["standing"] == "ranked"
    }
    for row in rows:
        within, rank = before.get(row["model_id"], (None, None))
        if row["standing"] != "ranked":
            row["moved"] = None if rank is None else "gone"
        elif rank is None or within != row["within"]:
            row["moved"] = "new"
        else:
            row["rank_before"] = rank
            up = rank - row["rank"]
            row["moved"] = f"▲{up}" if up > 0 else f"▼{-up}" if up < 0 else "="
    return int(newest)
