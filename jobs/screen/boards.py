"""Which columns of a leaderboard fit a terminal; csv and json always have all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from jobs.screen.output import print_rows
from jobs.screen.shown import AS_USUAL, Format, Shown

if TYPE_CHECKING:
    import duckdb

Board = Literal["traps", "alignment", "alpha"]
"""A leaderboard, as `catalog.read.boards` knows it."""

_SHOWN: dict[Board, tuple[str, ...]] = {
    "traps": (
        "rank", "model_id", "family", "step", "mean_traps", "total_traps", "num_layers_trapped",
        "num_layers_tested", "max_trap_excess", "total_traps_ww",
    ),
    "alignment": (
        "rank", "model_id", "family", "step", "mean_abs_erg_log_ratio", "num_layers_aligned",
        "mean_abs_alpha_minus_2", "num_layers_fitted", "spearman_alpha_erg_delta",
        "share_alpha_and_delta_low",
    ),
    "alpha": (
        "rank", "model_id", "family", "step", "mean_abs_alpha_minus_2", "mean_alpha",
        "share_alpha_2_6", "num_layers_fitted", "num_over_trained", "num_under_trained",
    ),
}  # fmt: skip
"""Columns of each leaderboard that fit a terminal."""


def print_board(
    con: duckdb.DuckDBPyConnection,
    board: Board,
    *,
    top: int,
    where: str | None,
    family: str | None,
    format: Format,
    shown: Shown = AS_USUAL,
    quiet: bool = False,
) -> None:
    """Print a leaderboard of the catalog behind `con`."""
    from catalog.read.boards import leaderboard

    answer = leaderboard(con, board, top=top, where=where, family=family)
    print_rows(
        answer.to_pylist(),
        columns=answer.column_names,
        usual=_SHOWN[board],
        first=("model_id", *_SHOWN[board]),
        format=format,
        quiet=quiet,
        shown=shown,
    )
