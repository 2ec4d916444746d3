"""`zoo rank BOARD CATALOG`"""

from __future__ import annotations

from catalog.read.boards import MIN_LAYERS, Dequantised, Within
from jobs.screen.shown import AS_USUAL, Format, Shown
from jobs.screen.typed import BoardName, Place


def rank(
    board: BoardName,
    catalog: Place,
    *,
    top: int = 20,
    where: str | None = None,
    family: str | None = None,
    within: Within | None = None,
    by: str | None = None,
    dequantised: Dequantised = "all",
    source: str | None = None,
    since: str | None = None,
    analysis: str | None = None,
    min_layers: int = MIN_LAYERS,
    against: str | None = None,
    format: Format = "table",
    shown: Shown = AS_USUAL,
    quiet: bool = False,
) -> int:
    """Print a leaderboard.

    Parameters
    ----------
    board
        Before or after the catalog. traps: by Correlation Traps. alignment: by how well alpha and the ERG
        condition align. alpha: by the distance of alpha from 2. alpha-hat, log-alpha-norm: by these, smallest
        first, for models of one family. traps-per-million: by traps a million parameters. active-traps: by
        those that a probe found active. composite: by the mean standing on traps, alpha and alignment.
    catalog
        Folder or URL of the catalog.
    top
        Rows of each ranking.
    where
        SQL condition on the columns of the board, such as "num_params > 1e9".
    family
        Only models of this family.
    within
        family, size, architecture: rank models among those of their family, size band or architecture alone,
        none: all together. By default a family with three or more models is a ranking of its own.
    by
        Rank models among those with the same value of this column of the board, such as author.
    dequantised
        Models with layers that were decoded from fewer bits: with the others, left out (none), or alone (only).
    source
        Only models whose source holds this text, or fits this glob.
    since
        Only models measured on this day (UTC) or later, such as 2026-11-27.
    analysis
        First digits of the key of the analysis to compare, as the column analysis shows it. By default the
        newest of the most complete ones. Models that were measured otherwise are listed below the board.
    min_layers
        Layers behind a score that a rank needs; models with fewer are listed below the board.
    against
        DATASET:METRIC of the model cards, such as "CIFAR-10:test_error": rank correlations of the scores
        with it, with their 95 % intervals and numbers of models, ranking by ranking.
    format
        How to print; csv and json have every column, and last the models without a rank, with the reason.
    quiet
        Nothing but rows and errors.
    """
    from catalog.errors import QueryError
    from catalog.read.boards import BOARDS, find_board, leaderboard, views_of_board
    from catalog.read.views import connect
    from jobs.screen.boards import print_board

    if find_board(board) is None:
        board, catalog = catalog, board
    chosen = find_board(board)
    if chosen is None:
        raise QueryError(
            f"got {catalog!r} and {board!r}; wanted one of {', '.join(BOARDS)}, and a catalog"
        )
    with connect(catalog, only=views_of_board(where, against=against)) as con:
        ranked = leaderboard(
            con, chosen, top=top, where=where, family=family, within=within, by=by,
            dequantised=dequantised, source=source, since=since, analysis=analysis,
            min_layers=min_layers, against=against,
        )  # fmt: skip
        print_board(ranked, format=format, shown=shown, quiet=quiet)
    return 0
