"""How sure the scores of a leaderboard are: the columns `low` and `high`, a bootstrap over layers."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from catalog.files.duck import put
from catalog.read.board_kinds import BOARDS, COMPOSED, Board
from catalog.read.intervals import bootstrap_interval
from catalog.read.query import ask_rows
from catalog.schema.keys import UNIT

Row = dict[str, Any]
"""A row of a board by column name."""
_Interval = tuple[float | None, float | None]


def add_intervals(
    con: duckdb.DuckDBPyConnection, board: Board, rows: Sequence[Row], every: Sequence[Row]
) -> None:
    """Fill in `low` and `high` of `rows`, the 95 % interval of the score; NULL for fewer than five layers.

    Of the composite, which is no mean over layers, they are where it would be with all three of its scores
    at their lower, or all at their upper ends, the other models (`every` one of the board) as they are.
    """
    scored = [row for row in rows if row["num_layers_behind"]]
    for row in rows:
        row["low"] = row["high"] = None
    if not scored:
        return
    if board.layer_value:
        for row, (low, high) in zip(scored, _intervals(con, board, scored), strict=True):
            # the linear part of a ratio can be negative, traps a million parameters cannot
            row["low"] = low if low is None or board.key != "traps_per_million" else max(low, 0.0)
            row["high"] = high
        return
    parts = [BOARDS[name] for name in COMPOSED]
    ranked = [row for row in every if row["standing"] == "ranked"]
    ends = zip(*(_intervals(con, part, scored) for part in parts), strict=True)
    for row, intervals in zip(scored, ends, strict=True):
        if row["standing"] != "ranked" or len(ranked) < 2:
            continue
        for end, name in enumerate(("low", "high")):
            bounds = [interval[end] for interval in intervals]
            known = [bound for bound in bounds if bound is not None]
            if len(known) == len(parts):
                shares = [
                    _share(bound, part, row, ranked)
                    for bound, part in zip(known, parts, strict=True)
                ]
                row[name] = sum(shares) / len(shares)


def _share(bound: float, part: Board, row: Row, ranked: Sequence[Row]) -> float:
    """Share of the other ranked models with a smaller score than `bound`."""
    others = sorted(other[part.score] for other in ranked if other is not row)
    return bisect_left(others, bound) / len(others)


def _intervals(
    con: duckdb.DuckDBPyConnection, board: Board, rows: Sequence[Row]
) -> list[_Interval]:
    # as a table that is joined, so that of sorted files the parts with these models alone are read
    put(con, "board_units", {name: [row[name] for row in rows] for name in UNIT})
    con.execute(
        "create or replace temp view few_units as "
        "from internal.shown_models semi join board_units using (model_id, revision, analysis_key)"
    )
    query = f"""
        select unit_id, list(number) as numbers
        from (
            select concat_ws(' ', model_id, revision, analysis_key) as unit_id,
                {board.layer_value} as number
            from internal.scored_layers_of('few_units')
            window unit as (partition by model_id, revision, analysis_key)
        )
        where number is not null
        group by unit_id
    """
    units = [_unit(row) for row in rows]
    answer = ask_rows(con, query)
    by_unit = {unit: bootstrap_interval(numbers) for unit, numbers in answer.rows}
    return [by_unit.get(unit) or (None, None) for unit in units]


def _unit(row: Mapping[str, Any]) -> str:
    return f"{row['model_id']} {row['revision']} {row['analysis_key']}"
