"""Leaderboards, status, one model, two models: what a user asks for by name."""

from __future__ import annotations

from pathlib import Path
from statistics import pstdev

import duckdb
import pytest

from catalog.errors import QueryError
from catalog.read.boards import BOARDS, Board, Leaderboard, Row, find_board, leaderboard
from catalog.read.evaluations import results
from catalog.read.intervals import bootstrap_interval
from catalog.read.model_page import compare, find_model, layers_of
from catalog.read.query import columns
from catalog.read.status import status
from catalog.read.views import connect
from catalog.write.commits import record_failure
from tests.catalogs import NOON, commit, keys, sweep


@pytest.fixture
def con(tmp_path: Path) -> duckdb.DuckDBPyConnection:
    """Three models in two families; `c` is first on every board, `a` and `b` tie."""
    root = str(tmp_path / "cat")
    tie = {"alpha": 4.0, "num_traps": 1.0, "erg_log_ratio": -0.6, "alpha_hat": 5.0,
           "log_alpha_norm": 6.0, "num_params": 10**6, "num_active_traps": 1.0}  # fmt: skip
    commit(root, "org/b", family="bert", num_params=100, layers=[tie] * 5)
    commit(root, "org/a", family="bert", num_params=300, layers=[tie] * 6)
    first = {"alpha": 2.1, "num_traps": 3.0, "erg_log_ratio": 0.1, "alpha_hat": 1.0,
             "log_alpha_norm": 2.0, "num_params": 10**6, "num_active_traps": 2.0}  # fmt: skip
    commit(root, "org/c", family="llama", num_params=200, layers=[first] * 5)
    return connect(root)


def ranked(con: duckdb.DuckDBPyConnection, board: str, **options: object) -> Leaderboard:
    return leaderboard(con, BOARDS[board], **{"top": None, **options})  # type: ignore[arg-type]


def order(con: duckdb.DuckDBPyConnection, board: str, **options: object) -> list[object]:
    """Models of the one ranking there is."""
    (ranking,) = ranked(con, board, **options).rankings
    assert [row["rank"] for row in ranking.rows] == list(range(1, len(ranking.rows) + 1))
    return [row["model_id"] for row in ranking.rows]


def reasons(found: Leaderboard) -> dict[str, str]:
    return {row["model_id"]: row["reason"] for row in found.below}


@pytest.mark.parametrize("board", [name for name in BOARDS if name != "composite"])
def test_the_first_of_each_board_is_first_and_ties_go_by_model_id(
    con: duckdb.DuckDBPyConnection, board: str
) -> None:
    assert order(con, board) == ["org/c", "org/a", "org/b"]


@pytest.mark.parametrize("board", BOARDS.values(), ids=lambda board: board.name)
def test_the_columns_of_a_board_are_those_of_its_view(
    con: duckdb.DuckDBPyConnection, board: Board
) -> None:
    assert columns(con, f"leaderboard_{board.key}") == board.view_columns
    (ranking,) = ranked(con, board.name).rankings
    assert set(ranked(con, board.name).column_names) <= set(ranking.rows[0])


def test_top_family_and_where_choose_and_rank_anew(con: duckdb.DuckDBPyConnection) -> None:
    assert order(con, "alpha", top=1) == ["org/c"]
    assert order(con, "alpha", family="bert") == ["org/a", "org/b"]
    assert order(con, "alpha", where="num_params < 300 -- not a") == ["org/c", "org/b"]
    assert order(con, "alpha", where="model_id like '%/a' or rank = 3") == ["org/a", "org/b"]
    with pytest.raises(QueryError, match="the nearest: "):
        order(con, "alpha", family="x' or '1'='1")


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("num_params <", "wanted an SQL condition such as"),
        ("1=1) or (2=2", "wanted an SQL condition such as"),
        ("1=1); select (1", "wanted an SQL condition such as"),
        ("true; select 1", "wanted an SQL condition such as"),
        ("nosuch > 1", "the columns are rank, model_id"),
        ("", "wanted an SQL condition such as"),
    ],
)
def test_a_condition_that_is_none_says_what_was_wanted(
    con: duckdb.DuckDBPyConnection, where: str, message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        order(con, "alpha", where=where)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 0}, "--top: got 0, wanted at least 1"),
        ({"min_layers": 0}, "--min-layers: got 0, wanted at least 1"),
        ({"within": "tribe"}, "--within: got 'tribe', wanted family, size, architecture or none"),
        ({"analysis": "zz"}, r"no analysis 'zz'; the catalog has k1 \(3 models, 2026-11-23\)"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_bad_option_is_refused(
    con: duckdb.DuckDBPyConnection, options: dict[str, object], message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        ranked(con, "alpha", **options)


def test_a_board_is_found_by_either_spelling_of_its_name() -> None:
    assert find_board("log_alpha_norm") is BOARDS["log-alpha-norm"]
    assert find_board("beauty") is None


def test_a_board_shows_the_newest_revision_of_a_model(tmp_path: Path) -> None:
    root = str(tmp_path)
    for step in (3, 10, 2):
        commit(root, revision=f"{step:040d}", step=step, layers=[{"alpha": float(step)}] * 5)
    with connect(root) as con:
        ((row,),) = (ranking.rows for ranking in ranked(con, "alpha").rankings)
    assert (row["step"], row["mean_alpha"], row["num_revisions"]) == (10, 10.0, 3)


TAIL = [{"alpha": 9.0, "num_traps": None, "erg_log_ratio": None, "erg_delta": None}] * 5
"""Layers of an analysis of tails alone."""


@pytest.fixture
def reanalysed(tmp_path: Path) -> str:
    """Two models measured in full; one of them and a third one later by their tails alone."""
    root = str(tmp_path)
    for model in ("org/a", "org/b"):
        commit(root, model, layers=[{}] * 5, asked='{"options":{"metrics":"all"}}')
    for model in ("org/a", "org/tail"):
        commit(root, model, minute=5, analysis_key="k2", layers=TAIL,
               asked='{"options":{"metrics":"tail"}}')  # fmt: skip
    return root


def test_a_later_analysis_of_less_takes_nothing_off_a_board(reanalysed: str) -> None:
    """The catalog in which four networks vanished from the board of traps."""
    with connect(reanalysed) as con:
        assert order(con, "traps") == ["org/a", "org/b"]
        found = ranked(con, "alpha")
        assert [(row["model_id"], row["mean_alpha"]) for row in found.rankings[0].rows] == [
            ("org/a", 3.0), ("org/b", 3.0),
        ]  # fmt: skip
        assert found.analyses == ("k1",)
        assert reasons(found) == {
            "org/tail": "measured otherwise: analysis k2, metrics tail (board: all)"
        }


def test_a_board_of_another_analysis_is_had_by_its_key(reanalysed: str) -> None:
    with connect(reanalysed) as con:
        found = ranked(con, "alpha", analysis="k2")
    assert [row["mean_alpha"] for row in found.rankings[0].rows] == [9.0, 9.0]
    assert reasons(found) == {"org/b": "measured otherwise: analysis k1, metrics all (board: tail)"}


def test_an_analysis_as_complete_and_newer_takes_the_place_of_the_older(tmp_path: Path) -> None:
    root = str(tmp_path)
    for minute, (key, alpha) in enumerate((("k1", 3.0), ("k2", 4.0))):
        commit(root, minute=minute, analysis_key=key, layers=[{"alpha": alpha}] * 5)
    with connect(root) as con:
        assert ranked(con, "alpha").rankings[0].rows[0]["mean_alpha"] == 4.0


def test_the_trajectory_of_a_model_keeps_its_complete_analysis(reanalysed: str) -> None:
    steps = [{"step": 7}] * 5
    for minute, (key, layers) in enumerate((("k1", steps), ("k2", [{**TAIL[0], **steps[0]}] * 5))):
        commit(reanalysed, "org/run", step=7, minute=minute, analysis_key=key, layers=layers)
    with connect(reanalysed) as con:
        query = "select model_id, analysis_key, total_traps from trajectories join current using (model_id)"
        assert con.execute(query).fetchall() == [("org/run", "k1", 0.0)]
        assert con.execute("select count(*) from onset_layers").fetchall() == [(5,)]


def test_raw_rows_of_each_revision_are_had_once(reanalysed: str) -> None:
    with connect(reanalysed) as con:
        query = "select model_id, count(*) from current_rows('layers') group by all order by all"
        assert con.execute(query).fetchall() == [("org/a", 5), ("org/b", 5), ("org/tail", 5)]


def test_adapters_on_other_bases_are_compared_when_asked_for_alike(tmp_path: Path) -> None:
    for key in ("k1", "k2"):
        commit(str(tmp_path), f"org/{key}", analysis_key=key, asked="{}", layers=[{}] * 5)
    with connect(tmp_path) as con:
        found = ranked(con, "alpha")
    assert (found.num_models, sorted(found.analyses)) == (2, ["k1", "k2"])


def test_a_model_of_few_layers_is_below_the_line_unless_asked_for(tmp_path: Path) -> None:
    root = str(tmp_path)
    commit(root, "org/small", layers=[{"alpha": 2.0}] * 2)
    commit(root, "org/large", layers=[{"alpha": 3.0}] * 5)
    commit(root, "org/none", layers=[{"alpha": None, "tail_status": "too_few"}] * 6)
    with connect(root) as con:
        assert order(con, "alpha") == ["org/large"]
        found = ranked(con, "alpha")
        assert (found.num_models, found.num_below) == (1, 2)
        assert reasons(found) == {
            "org/small": "2 layers fitted, fewer than 5",
            "org/none": "no layer fitted, of 6 measured",
        }
        assert order(con, "alpha", min_layers=2) == ["org/small", "org/large"]


def test_a_family_of_three_is_ranked_by_itself(tmp_path: Path) -> None:
    for family, num in (("bert", 3), ("llama", 2)):
        for number in range(num):
            layers = [{"alpha": 3.0 + number}] * 5
            commit(str(tmp_path), f"org/{family}{number}", family=family, layers=layers)
    with connect(tmp_path) as con:
        usual = ranked(con, "alpha").rankings
        assert [(r.within, r.num_models) for r in usual] == [("bert", 3), (None, 2)]
        assert [row["rank"] for r in usual for row in r.rows] == [1, 2, 3, 1, 2]
        every = ranked(con, "alpha", within="family").rankings
        assert [(r.within, r.num_models) for r in every] == [("bert", 3), ("llama", 2)]
        assert len(order(con, "alpha", within="none")) == 5
        cut = ranked(con, "alpha", top=1).rankings
        assert [(len(r.rows), r.num_models) for r in cut] == [(1, 3), (1, 2)]


def test_a_score_has_the_interval_of_its_layers(tmp_path: Path) -> None:
    distances = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    commit(str(tmp_path), layers=[{"alpha": 2.0 + distance} for distance in distances])
    with connect(tmp_path) as con:
        row = ranked(con, "alpha").rankings[0].rows[0]
    assert (row["low"], row["high"]) == bootstrap_interval(distances)
    assert row["mean_abs_alpha_minus_2_stderr"] == pytest.approx(pstdev(distances) / 6**0.5)


def test_status_adds_up(tmp_path: Path) -> None:
    root = str(tmp_path)
    sweep(root, "s1", ["org/a", "org/b", "org/c"])
    commit(root, "org/a", bytes_read=10, seconds=1.6)
    record_failure(root, {**keys("org/b"), "cause": "data", "error_type": "E", "message": "m",
                          "attempts": 1, "failed_at": NOON})  # fmt: skip
    with connect(root) as con:
        rows = status(con).to_pylist()
    facts = {(row["topic"], row["item"]): row["value"] for row in rows}
    assert facts["units", "listed"] == 3
    assert facts["units", "done"] == 1 and facts["units", "missing"] == 2
    assert facts["units", "failed"] == 1 and facts["units", "not done yet"] == 1
    assert facts["failed", "data"] == 1
    assert facts["cost", "fetched"] == 10 and facts["cost", "compute"] == 2


def test_one_model_is_shown_layer_by_layer(con: duckdb.DuckDBPyConnection) -> None:
    rows = layers_of(con, "org/a").to_pylist()
    assert [(row["layer_index"], row["alpha"]) for row in rows] == [(i, 4.0) for i in range(6)]


def test_an_unknown_model_names_the_nearest(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(QueryError, match="no model 'og/a' in the catalog; the nearest: org/a"):
        layers_of(con, "og/a")


def test_a_revision_is_found_by_its_first_digits_or_its_step(tmp_path: Path) -> None:
    root = str(tmp_path)
    for step, digit in ((1, "a"), (2, "b")):
        commit(root, "m@x", revision=digit * 40, step=step)
    with connect(root) as con:
        assert find_model(con, "m@x").step == 2
        assert find_model(con, "m@x@a").step == 1
        assert find_model(con, "m@x@step1").revision == "a" * 40
        with pytest.raises(QueryError, match="no revision of 'm@x' fits 'm@x@c'"):
            find_model(con, "m@x@c")


def test_two_models_are_compared_layer_by_layer(tmp_path: Path) -> None:
    root = str(tmp_path)
    commit(root, "a", layers=[{"tensor": "x", "alpha": 3.0}, {"tensor": "y"}])
    commit(root, "b", layers=[{"tensor": "x", "alpha": 2.0}, {"tensor": "z"}])
    with connect(root) as con:
        rows = compare(con, "a", "b").to_pylist()
    assert sorted((row["tensor"], row["presence"], row["alpha_delta"]) for row in rows) == [
        ("x", "both", -1.0), ("y", "a", None), ("z", "b", None),
    ]  # fmt: skip


def claim(value: float, metric: str = "test_error", dataset: str = "CIFAR-10") -> Row:
    return {"dataset": dataset, "metric": metric, "value": value}


@pytest.fixture
def series(tmp_path: Path) -> str:
    """Six ResNets, the better the nearer alpha is to 2; two of another family, the other way round."""
    for number in range(6):
        claims = [claim(1.0 + number)]
        commit(str(tmp_path), f"org/resnet{number}", family="resnet", evaluations=claims,
               layers=[{"alpha": 2.0 + number}] * 5)  # fmt: skip
    for number, claims in enumerate(([claim(9.0)], [claim(1.0), claim(2.0)])):
        commit(str(tmp_path), f"org/vgg{number}", family="vgg", evaluations=claims,
               layers=[{"alpha": 3.0 + number}] * 5)  # fmt: skip
    return str(tmp_path)


def test_a_board_is_held_against_results_family_by_family(series: str) -> None:
    with connect(series) as con:
        found = ranked(con, "alpha", against="cifar-10:Test_Error", top=2)
    resnet, others = (ranking.agreement for ranking in found.rankings)
    assert resnet is not None and resnet.spearman is not None and resnet.kendall is not None
    assert (resnet.num_models, resnet.spearman.value, resnet.kendall.value) == (6, 1.0, 1.0)
    assert resnet.spearman.low is not None and 0 < resnet.spearman.low < 1
    assert others is not None and (others.num_models, others.num_several) == (1, 1)
    assert others.spearman is None
    first = found.rankings[0].rows[0]
    assert (first["against"], first["spearman"], first["num_against"]) == (1.0, 1.0, 6)
    assert set(found.column_names) <= set(first)
    assert found.against is not None and found.against.better == "low"


@pytest.mark.parametrize("wanted", ["CIFAR-10:test_error", "cifar:test_error", "test_error"])
def test_results_are_found_by_a_piece_of_the_dataset_where_it_is_the_only_one(
    series: str, wanted: str
) -> None:
    with connect(series) as con:
        assert results(con, wanted).name == "CIFAR-10:test_error"


def test_results_that_are_not_there_or_several_are_listed(series: str) -> None:
    commit(series, "org/x", evaluations=[claim(0.1, dataset="CIFAR-100")])
    with connect(series) as con:
        with pytest.raises(QueryError, match=r"no card has it; .* CIFAR-10:test_error \(8\)"):
            results(con, "ImageNet:top1")
        with pytest.raises(QueryError, match="several fit"):
            results(con, "test_error")
        assert results(con, "CIFAR-10:test_error").name == "CIFAR-10:test_error"
