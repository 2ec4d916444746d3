"""The leaderboards, as rows with what is needed to read them rightly. SQL: sql/50_leaderboards.sql."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import duckdb

from catalog.errors import QueryError
from catalog.read import analyses
from catalog.read.definitions import views_of
from catalog.read.intervals import bootstrap_interval
from catalog.read.query import ask_rows, condition
from catalog.read.verdict import verdict

BoardName = Literal["traps", "alignment", "alpha", "alpha-hat", "log-alpha-norm"]
"""Boards as they are called."""
Within = Literal["family", "none"]
"""Whether models are ranked among those of their family alone."""
MIN_LAYERS = 5
"""Layers behind a score that a rank needs, as in the views."""
MIN_FAMILY = 3
"""Models of a family that make a ranking of its own."""

_MODEL = ("rank", "model_id", "family", "step", "num_params")
_ORIGIN = (
    "layers_failed",
    "num_revisions",
    "architecture",
    "author",
    "base_model",
    "analysis",
    "revision",
)

Row = dict[str, Any]
"""A row by column name."""


@dataclass(frozen=True, slots=True)
class Board:
    """What a leaderboard ranks by, and how to read it."""

    name: BoardName
    score: str
    """The column it ranks by: a mean over layers."""
    layer_value: str
    """What it is the mean of, in `internal.scored_layers`."""
    num_layers: str
    """The column with the number of layers behind it."""
    title: str
    direction: str
    """What rank 1 means."""
    figures: tuple[str, ...]
    """Columns of the view between those of the model and those of its origin: score, error, evidence."""

    @property
    def key(self) -> str:
        """Its name in SQL."""
        return self.name.replace("-", "_")

    @property
    def view_columns(self) -> tuple[str, ...]:
        """The columns of the view `leaderboard_<key>`; kept here so that no view has to be bound."""
        return (*_MODEL, *self.figures, *_ORIGIN)


BOARDS: dict[str, Board] = {
    board.name: board
    for board in (
        Board(
            "traps", "mean_traps", "num_traps", "num_layers_tested",
            "Correlation Traps a layer",
            "rank 1 has the most, which is bad: traps are a sign of over-fitting",
            (
                "mean_traps", "mean_traps_stderr", "total_traps",
                "num_layers_tested", "num_layers_trapped", "num_layers_p01",
                "max_trap_excess", "min_trap_p_value", "total_traps_tw",
                "total_traps_mean", "total_traps_entries", "total_traps_ww",
            ),
        ),
        Board(
            "alignment", "mean_abs_erg_log_ratio", "erg_distance", "num_layers_aligned",
            "Alignment of the power-law tail with the ERG condition, mean |ln(xmin / erg_lambda_min)|",
            "rank 1 is nearest to 0, which is good: there alpha means what SETOL says it means",
            (
                "mean_abs_erg_log_ratio", "mean_abs_erg_log_ratio_stderr",
                "num_layers_aligned", "mean_abs_alpha_minus_2", "num_layers_fitted",
                "spearman_alpha_erg_delta", "num_layers_ranked",
                "share_alpha_and_delta_low", "mean_erg_delta",
            ),
        ),
        Board(
            "alpha", "mean_abs_alpha_minus_2", "alpha_distance", "num_layers_fitted",
            "Distance of alpha from 2, mean |alpha - 2|",
            "rank 1 is nearest to 2, which is good: the ideal of HTSR",
            (
                "mean_abs_alpha_minus_2", "mean_abs_alpha_minus_2_stderr",
                "mean_alpha", "weighted_alpha", "median_alpha", "std_alpha",
                "share_alpha_2_6", "num_layers_fitted", "num_over_trained",
                "num_under_trained", "mean_alpha_hat", "mean_ks_distance",
            ),
        ),
        Board(
            "alpha-hat", "mean_alpha_hat", "alpha_hat", "num_layers_fitted",
            "Mean alpha_hat = alpha·log10(lambda_max)",
            "rank 1 is the smallest, which is good among models of one family; from family to family it "
            "follows the scale of the weights",
            (
                "mean_alpha_hat", "mean_alpha_hat_stderr", "mean_alpha",
                "mean_log_spectral_norm", "num_layers_fitted",
            ),
        ),
        Board(
            "log-alpha-norm", "mean_log_alpha_norm", "log_alpha_norm", "num_layers_fitted",
            "Mean log_alpha_norm = log10 Σ lambda^alpha",
            "rank 1 is the smallest, which is good among models of one family; from family to family it "
            "follows the scale of the weights",
            (
                "mean_log_alpha_norm", "mean_log_alpha_norm_stderr", "mean_alpha",
                "mean_log_spectral_norm", "num_layers_fitted",
            ),
        ),
    )
}  # fmt: skip
"""Boards by name."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Models ranked among each other, best or worst first."""

    within: str | None
    """Their family; None: every model that is in no family of its own ranking."""
    num_models: int
    """How many there are; `rows` may be fewer."""
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """A board of a catalog, and what it is about."""

    board: Board
    rankings: tuple[Ranking, ...]
    """By family, those of no family of their own last."""
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

    @property
    def num_models(self) -> int:
        """How many models have a rank."""
        return sum(ranking.num_models for ranking in self.rankings)

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every row: ranking after ranking, then the models without a rank."""
        return (*(row for ranking in self.rankings for row in ranking.rows), *self.below)


def find_board(name: str) -> Board | None:
    """The board called `name`, with - or _."""
    return BOARDS.get(name.replace("_", "-"))


def views_of_board(where: str | None = None) -> frozenset[str] | None:
    """The views that `leaderboard` asks, as `views.connect` takes them."""
    named = views_of(f"from board where {where or 'true'}")
    return None if named is None else named | analyses.VIEWS | {"board", "scored_layers"}


def leaderboard(
    con: duckdb.DuckDBPyConnection,
    board: Board,
    *,
    top: int | None,
    where: str | None = None,
    family: str | None = None,
    within: Within | None = None,
    analysis: str | None = None,
    min_layers: int = MIN_LAYERS,
) -> Leaderboard:
    """The first `top` rows of every ranking of a board, and of the models below the line.

    `where` is an SQL condition on the board's columns, `family` a family of architectures; models are
    ranked anew among those that are left. `within`: `family`, in their family alone; None: where three
    or more are of it. `analysis`: the first digits of the key of the analysis to compare.
    QueryError for what there is not, a bad number, or a condition DuckDB does not understand.
    """
    for option, number in (("--top", top), ("--min-layers", min_layers)):
        if number is not None and number < 1:
            raise QueryError(f"{option}: got {number}, wanted at least 1")
    if within is not None and within not in get_args(Within):
        raise QueryError(f"--within: got {within!r}, wanted family or none")
    wanted = None if analysis is None else analyses.resolve(con, analysis)
    chosen = "true" if where is None else condition(con, where)
    values = {"family": family, "top": top, "least": min_layers, "wanted": wanted}
    try:
        answer = ask_rows(con, _query(board, chosen, within), values)
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
    _add_intervals(con, board, rows)
    for row in rows:
        said = verdict(row)
        row["verdict"], row["evidence"] = said.label, said.evidence
        row["reason"] = _reason(row, board, min_layers)
    ranked = [row for row in rows if row["standing"] == "ranked"]
    below = [row for row in rows if row["standing"] != "ranked"]
    return Leaderboard(
        board=board,
        rankings=_rankings(ranked),
        below=tuple(below),
        num_below=below[0]["num_beside"] if below else 0,
        column_names=_columns(board.view_columns, board),
        analyses=tuple(ranked[0]["analyses"] if ranked else ()),
        newest=max((row["newest"] for row in ranked), default=None),
        min_layers=min_layers,
    )


def _query(board: Board, chosen: str, within: Within | None) -> str:
    is_own = {
        "family": "family is not null",
        "none": "false",
        None: f"family is not null and family_size >= {MIN_FAMILY}",
    }[within]
    return f"""
        with kept as (
            select * replace (epoch_us(committed_at) as committed_at)
            from (
                from internal.board('{board.key}', $least, $wanted)
                where ($family is null or family = $family) and {chosen}
            )
        ),
        sized as (
            select *, standing = 'ranked' as is_ranked,
                count(*) over (partition by standing = 'ranked', family) as family_size
            from kept
        ),
        grouped as (
            select *, case when is_ranked and {is_own} then family end as within,
            from sized
        ),
        placed as (
            select * exclude (rank),
                row_number() over (
                    partition by is_ranked, within
                    order by rank nulls last, standing, model_id) as place,
                count(*) over (partition by is_ranked, within) as num_beside,
                max(committed_at) over (partition by is_ranked) as newest
            from grouped
        ),
        keys as (
            select list(analysis order by num desc, analysis) as analyses
            from (select analysis, count(*) as num from kept where standing = 'ranked' group by 1)
        )
        select case when is_ranked then place end as rank, * exclude (is_ranked, family_size),
        from placed cross join keys
        where $top is null or place <= $top
        order by is_ranked desc, within nulls last, place
    """


def _rankings(rows: Sequence[Row]) -> tuple[Ranking, ...]:
    names = list(dict.fromkeys(row["within"] for row in rows))
    groups = [(name, tuple(row for row in rows if row["within"] == name)) for name in names]
    return tuple(Ranking(name, group[0]["num_beside"], group) for name, group in groups)


def _columns(names: Sequence[str], board: Board) -> tuple[str, ...]:
    """The columns of the view, with those that are added here at their places."""
    after = {"rank": ("within",), f"{board.score}_stderr": ("low", "high")}
    placed = [name for column in names for name in (column, *after.get(column, ()))]
    return (*placed, "verdict", "evidence", "reason")


def _add_intervals(con: duckdb.DuckDBPyConnection, board: Board, rows: Sequence[Row]) -> None:
    """Fill in `low` and `high`, the 95 % bootstrap interval of the score over the layers."""
    scored = {_unit(row): row for row in rows if row["num_layers_behind"]}
    query = f"""
        select concat_ws(' ', model_id, revision, analysis_key) as unit,
            list({board.layer_value}) as numbers
        from internal.scored_layers($units)
        where {board.layer_value} is not null
        group by unit
    """
    for row in rows:
        row["low"] = row["high"] = None
    if not scored:
        return
    for unit, numbers in ask_rows(con, query, {"units": list(scored)}).rows:
        row = scored[unit]
        row["low"], row["high"] = bootstrap_interval(numbers) or (None, None)


def _unit(row: Mapping[str, Any]) -> str:
    return f"{row['model_id']} {row['revision']} {row['analysis_key']}"


def _reason(row: Mapping[str, Any], board: Board, min_layers: int) -> str | None:
    """Why a model has no rank; None when it has one."""
    behind, what = row["num_layers_behind"], board.num_layers.removeprefix("num_layers_")
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
