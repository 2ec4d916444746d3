"""The first page: every leaderboard of the catalog, each in a script of data that is loaded when it is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from catalog.read.board_kinds import BOARDS, Board
from catalog.read.boards import MIN_LAYERS, Leaderboard, leaderboard
from jobs.screen.boards import SHOWN
from jobs.site.safe import columnar, slug
from jobs.site.words import meanings_of

if TYPE_CHECKING:
    import duckdb

_LEFT_OUT = frozenset({"within", "evidence", "revision", "author"})
"""Columns of a board that the page has no room for; a model's own page has them."""


@dataclass(frozen=True, slots=True)
class BoardData:
    """A leaderboard as the page loads it."""

    board: Board
    data: dict[str, Any]
    """What its script holds."""
    num_ranked: int


def board_data(con: duckdb.DuckDBPyConnection, board: Board) -> BoardData:
    """A board over all models; the place within the family is a column of its own."""
    found = leaderboard(con, board, top=None, within="none")
    _add_family_ranks(found)
    names = [name for name in found.column_names if name not in _LEFT_OUT]
    names.insert(1, "family_rank")
    if not any(row["step"] is not None for row in found.rows):
        names.remove("step")
    data = {
        "name": board.name,
        "title": board.title,
        "direction": board.direction,
        "score": board.score,
        "analyses": list(found.analyses),
        "newest": found.newest and found.newest // 1000,
        "numRanked": found.num_models,
        "numBelow": found.num_below,
        "minLayers": MIN_LAYERS,
        "shown": _shown(
            names,
            board,
            has_reason=found.num_below > 0,
            has_moved=any(row["moved"] not in (None, "=") for row in found.rows),
        ),
        "meanings": meanings_of(names),
        "slugs": [slug(row["model_id"]) for row in found.rows],
        **columnar(found.rows, names),
    }
    return BoardData(board, data, found.num_models)


def every_board(con: duckdb.DuckDBPyConnection) -> list[BoardData]:
    """All boards, in the order in which they are offered."""
    return [board_data(con, board) for board in BOARDS.values()]


def _shown(names: Sequence[str], board: Board, *, has_reason: bool, has_moved: bool) -> list[str]:
    """Columns to begin with: the verdict and those of the terminal; 13 at most, as a table bears 15."""
    score, low, high, *others = SHOWN[board.name]
    reason = ["reason"] if has_reason else []
    moved = ["moved"] if has_moved else []
    chosen = [
        "rank",
        *moved,
        "model_id",
        score,
        low,
        high,
        "verdict",
        *reason,
        "family",
        "step",
        "num_params",
        *others,
    ]
    return [name for name in dict.fromkeys(chosen) if name in names][:13]


def _add_family_ranks(found: Leaderboard) -> None:
    """Fill in `family_rank`: the place among the ranked models of the family."""
    places: dict[str, int] = {}
    for row in found.rows:
        row["family_rank"] = None
        family = row["family"]
        if row["rank"] is not None and family is not None:
            places[family] = row["family_rank"] = places.get(family, 0) + 1
