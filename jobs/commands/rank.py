"""`zoo rank traps|alignment|alpha CATALOG`"""

from __future__ import annotations

from jobs.screen.boards import Board
from jobs.screen.shown import AS_USUAL, Format, Shown
from jobs.screen.typed import BoardName, Place


def rank(
    board: BoardName,
    catalog: Place,
    *,
    top: int = 20,
    where: str | None = None,
    family: str | None = None,
    format: Format = "table",
    shown: Shown = AS_USUAL,
    quiet: bool = False,
) -> int:
    """Print a leaderboard.

    Parameters
    ----------
    board
        Before or after the catalog. traps: by Correlation Traps. alignment: by how well alpha and the ERG
        condition align.
        alpha: by the distance of alpha from 2.
    catalog
        Folder or URL of the catalog.
    top
        Number of rows.
    where
        SQL condition on the columns of the board, such as "num_params > 1e9".
    family
        Only models of this family.
    format
        How to print; csv and json have every column.
    quiet
        Nothing but rows and errors.
    """
    from typing import cast, get_args

    from catalog.errors import QueryError
    from catalog.read.boards import views_of_board
    from catalog.read.views import connect
    from jobs.screen.boards import print_board

    boards = get_args(Board)
    if board not in boards:
        board, catalog = catalog, board
    if board not in boards:
        raise QueryError(
            f"got {catalog!r} and {board!r}; wanted one of {', '.join(boards)}, and a catalog"
        )
    with connect(catalog, only=views_of_board(board, where)) as con:
        print_board(
            con,
            cast(Board, board),
            top=top,
            where=where,
            family=family,
            format=format,
            shown=shown,
            quiet=quiet,
        )
    return 0
