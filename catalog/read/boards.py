"""The leaderboards, as rows. What each ranks by is said in sql/50_leaderboards.sql."""

from __future__ import annotations

import duckdb

from catalog.errors import QueryError
from catalog.read.definitions import views_of
from catalog.read.query import Answer, ask_rows, columns, condition

BOARDS = ("traps", "alignment", "alpha")
"""Boards by name; each is the view `leaderboard_<name>`."""


def views_of_board(board: str, where: str | None) -> frozenset[str] | None:
    """The views that the rows of a board depend on, as `views.connect` takes them."""
    return views_of(f"from leaderboard_{board} where {where or 'true'}")


def leaderboard(
    con: duckdb.DuckDBPyConnection,
    board: str,
    *,
    top: int | None,
    where: str | None,
    family: str | None,
) -> Answer:
    """The best `top` rows of a board, ranked from 1 among the models that are left.

    `where` is an SQL condition on the board's columns, `family` a family of architectures.
    QueryError for an unknown board, a bad `top`, or a condition DuckDB does not understand.
    """
    if board not in BOARDS:
        raise QueryError(f"no leaderboard {board!r}; there are {', '.join(BOARDS)}")
    if top is not None and top < 1:
        raise QueryError(f"--top: got {top}, wanted at least 1")
    view = f"leaderboard_{board}"
    chosen = "true" if where is None else condition(con, where)
    query = f"""
        select row_number() over (order by rank) as rank, * exclude (rank)
        from {view}
        where ($family is null or family = $family) and {chosen}
        order by rank
        limit $top
    """
    values = {"family": family, "top": top}
    try:
        answer = ask_rows(con, query, values)
    except QueryError as error:
        if where is None:
            raise
        raise QueryError(
            f"--where {where!r:.200}: {error.__cause__}; the columns are "
            f"{', '.join(columns(con, view))}"
        ) from error
    if family is not None and not answer.rows:
        _check_family(con, view, family)
    return answer


def _check_family(con: duckdb.DuckDBPyConnection, view: str, family: str) -> None:
    """QueryError, naming the nearest ones, when no model of the board is of `family`."""
    families = [
        str(name)
        for (name,) in ask_rows(
            con,
            f"select distinct family from {view} where family is not null "
            "order by jaro_winkler_similarity(lower(family), lower($name)) desc, family",
            {"name": family},
        ).rows
    ]
    if family not in families:
        near = ", ".join(families[:3]) or "none"
        raise QueryError(f"--family: no model of family {family!r:.100}; the nearest: {near}")
