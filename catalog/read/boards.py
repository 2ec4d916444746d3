"""The leaderboards, as rows with what is needed to read them rightly. SQL: sql/50_leaderboards.sql."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from catalog.errors import QueryError
from catalog.read import analyses, evaluations
from catalog.read.agreement import Correlation, kendall, spearman
from catalog.read.board_choice import MIN_FAMILY, Choice, Dequantised, Within, ranking_query
from catalog.read.board_kinds import BOARDS, Board, find_board
from catalog.read.board_movement import BEFORE, add_movement
from catalog.read.board_scores import add_intervals
from catalog.read.definitions import views_of
from catalog.read.evaluations import Results, results
from catalog.read.query import ask_rows, condition
from catalog.read.verdict import verdict

MIN_LAYERS = 5
"""Layers behind a score that a rank needs, as in the views."""

__all__ = [
    "BOARDS",
    "MIN_FAMILY",
    "MIN_LAYERS",
    "Board",
    "Dequantised",
    "Leaderboard",
    "Ranking",
    "Within",
    "find_board",
    "leaderboard",
]

Row = dict[str, Any]
"""A row by column name."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How the scores of a ranking go with claimed results."""

    num_models: int
    """Models of the ranking that have a result."""
    num_several: int
    """Models left out because their card has several such results."""
    spearman: Correlation | None
    kendall: Correlation | None
    """Of score and result; None where all scores or all results are equal."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Models ranked among each other, best or worst first."""

    within: str | None
    """What they share: their family, size band, ...; None: every model that is in no ranking of its own."""
    num_models: int
    """How many there are; `rows` may be fewer."""
    rows: tuple[Row, ...]
    agreement: Agreement | None = None
    """With the results that the board is held against."""


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """A board of a catalog, and what it is about."""

    board: Board
    rankings: tuple[Ranking, ...]
    """By family, or what the board was asked for, those of no ranking of their own last."""
    below: tuple[Row, ...]
    """Models without a rank, the reason in the column `reason`."""
    num_below: int
    """How many there are; `below` may be fewer."""
    column_names: tuple[str, ...]
    """Every column of the rows, in order."""
    analyses: tuple[str, ...]
    """Short keys of the analysis that is compared, the commonest first; several where adapters stand on
    other base models, or decoders have other versions."""
    newest: int | None
    """When the newest of the ranked models was measured, in microseconds since 1970; None without one."""
    min_layers: int
    within: str = "Family"
    """What the rankings are of."""
    last_sweep: int | None = None
    """When the last sweep listed its models, in microseconds since 1970: what the column `moved` is since.
    None where there was no sweep before it."""
    against: Results | None = None
    """What it is held against."""

    @property
    def num_models(self) -> int:
        """How many models have a rank."""
        return sum(ranking.num_models for ranking in self.rankings)

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every row: ranking after ranking, then the models without a rank."""
        return (*(row for ranking in self.rankings for row in ranking.rows), *self.below)


def views_of_board(
    where: str | None = None, *, against: str | None = None
) -> frozenset[str] | None:
    """The views that `leaderboard` asks, as `views.connect` takes them."""
    named = views_of(f"from board where {where or 'true'}")
    if named is None:
        return None
    held = frozenset() if against is None else evaluations.VIEWS
    return named | analyses.VIEWS | held | {"board", "scored_layers_of", "listing"}


def leaderboard(
    con: duckdb.DuckDBPyConnection,
    board: Board,
    *,
    top: int | None,
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
) -> Leaderboard:
    """The first `top` rows of every ranking of a board, and of the models below the line.

    `where` is an SQL condition on the board's columns, `family` a family of architectures; models are
    ranked anew among those that are left (`composite` keeps its scores). `within`: `family`, `size` or
    `architecture`: among those of the same alone; None: a family of three or more. `by`: among those
    with the same value of a column. `dequantised`, `source`, `since`: see `Choice`. `analysis`: the first
    digits of the key of the analysis to compare. `against`: a `DATASET:METRIC` of model cards that scores
    are correlated with, ranking by ranking.
    QueryError for what there is not, a bad number, or a condition DuckDB does not understand.
    """
    for option, number in (("--top", top), ("--min-layers", min_layers)):
        if number is not None and number < 1:
            raise QueryError(f"{option}: got {number}, wanted at least 1")
    choice = Choice(family, within, by, dequantised, source, since)
    wanted = None if analysis is None else analyses.resolve(con, analysis)
    chosen = "true" if where is None else condition(con, where)
    held = None if against is None else results(con, against)
    # agreement is of whole rankings, and a composite of all models, also where the first rows are printed alone
    limit = top if held is None and board.layer_value else None
    query = ranking_query(
        "internal.final_scores", board.key, chosen=chosen, choice=choice, columns=board.view_columns
    )
    values = {**choice.values, "top": limit, "least": min_layers, "wanted": wanted}
    try:
        answer = ask_rows(con, query, values)
    except QueryError as error:
        if where is None:
            raise
        raise QueryError(
            f"--where {where!r:.200}: {error.__cause__}; the columns are "
            f"{', '.join(board.view_columns)}"
        ) from error
    rows = answer.to_pylist()
    if family is not None and not rows:
        _check_family(con, family)
    agreements = {} if held is None else _hold_against(held, rows)
    asked = rows[0]["board_asked"] if rows else None
    last_sweep = add_movement(
        con,
        rows,
        query.replace("internal.final_scores", BEFORE, 1),
        {**values, "top": None, "wanted": asked},
    )
    every = rows
    rows = [row for row in rows if top is None or row["place"] <= top]
    add_intervals(con, board, rows, every)
    for row in rows:
        said = verdict(row)
        row["verdict"], row["evidence"] = said.label, said.evidence
        row["reason"] = _reason(row, board, min_layers)
    ranked = [row for row in rows if row["standing"] == "ranked"]
    below = [row for row in rows if row["standing"] != "ranked"]
    return Leaderboard(
        board=board,
        rankings=_rankings(ranked, agreements),
        below=tuple(below),
        num_below=below[0]["num_beside"] if below else 0,
        column_names=_columns(board.view_columns, board, held is not None),
        analyses=tuple(ranked[0]["analyses"] if ranked else ()),
        newest=max((row["newest"] for row in ranked), default=None),
        min_layers=min_layers,
        within=choice.name,
        last_sweep=last_sweep,
        against=held,
    )


def _rankings(
    rows: Sequence[Row], agreements: Mapping[str | None, Agreement]
) -> tuple[Ranking, ...]:
    names = list(dict.fromkeys(row["within"] for row in rows))
    groups = [(name, tuple(row for row in rows if row["within"] == name)) for name in names]
    return tuple(
        Ranking(name, group[0]["num_beside"], group, agreements.get(name)) for name, group in groups
    )


_AGREEMENT = (
    "against", "spearman", "spearman_low", "spearman_high", "kendall", "kendall_low", "kendall_high",
    "num_against",
)  # fmt: skip
"""Columns of a board that is held against results; all but the first are of the whole ranking."""


def _columns(names: Sequence[str], board: Board, is_held: bool) -> tuple[str, ...]:
    """The columns of the view, with those that are added here at their places."""
    stderr = f"{board.score}_stderr"
    after_score = stderr if stderr in names else board.score
    after = {
        "rank": ("within", "moved", "rank_before"),
        after_score: ("low", "high", *(_AGREEMENT if is_held else ())),
    }
    placed = [name for column in names for name in (column, *after.get(column, ()))]
    return (*placed, "verdict", "evidence", "reason")


def _hold_against(held: Results, rows: Sequence[Row]) -> dict[str | None, Agreement]:
    """The agreement of every ranking; fills in the columns of `_AGREEMENT`."""
    for row in rows:
        row |= dict.fromkeys(_AGREEMENT)
        row["against"] = held.values.get((row["model_id"], row["revision"]))
    agreements: dict[str | None, Agreement] = {}
    ranked = [row for row in rows if row["standing"] == "ranked"]
    for name in dict.fromkeys(row["within"] for row in ranked):
        group = [row for row in ranked if row["within"] == name]
        valued = [row for row in group if row["against"] is not None]
        scores, values = [[row[c] for row in valued] for c in ("score", "against")]
        agreement = Agreement(
            len(valued),
            sum((row["model_id"], row["revision"]) in held.several for row in group),
            spearman(scores, values),
            kendall(scores, values),
        )
        agreements[name] = agreement
        told: Row = {"num_against": agreement.num_models}
        for kind, found in (("spearman", agreement.spearman), ("kendall", agreement.kendall)):
            if found is not None:
                told |= {kind: found.value, f"{kind}_low": found.low, f"{kind}_high": found.high}
        for row in group:
            row |= told
    return agreements


def _reason(row: Mapping[str, Any], board: Board, min_layers: int) -> str | None:
    """Why a model has no rank; None when it has one."""
    behind, what = row["num_layers_behind"], board.num_layers.removeprefix("num_layers_")
    if row["standing"] == "no_layers" and what == "probed" and row["total_traps"]:
        return "traps not probed, or not all of them: run `zoo probe`"
    if row["standing"] == "no_layers":
        return f"no layer {what}, of {row['num_layers_scored']} measured"
    if row["standing"] == "few_layers":
        return f"{behind} {'layer' if behind == 1 else 'layers'} {what}, fewer than {min_layers}"
    if row["standing"] == "otherwise":
        how = analyses.differences(row["compared_as"], row["board_asked"])
        return f"measured otherwise: analysis {row['analysis']}{how and f', {how}'}"
    return None


def _check_family(con: duckdb.DuckDBPyConnection, family: str) -> None:
    """QueryError, naming the nearest ones, when no model of the catalog is of `family`."""
    families = [
        str(name)
        for (name,) in ask_rows(
            con,
            "select distinct family from models where family is not null "
            "order by jaro_winkler_similarity(lower(family), lower($name)) desc, family",
            {"name": family},
        ).rows
    ]
    if family not in families:
        near = ", ".join(families[:3]) or "none"
        raise QueryError(f"--family: no model of family {family!r:.100}; the nearest: {near}")
