"""Leaderboards, status, one model, two models: what a user asks for by name."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from catalog.errors import QueryError
from catalog.read.boards import BOARDS, leaderboard
from catalog.read.model_page import compare, find_model, layers_of
from catalog.read.status import status
from catalog.read.views import connect
from catalog.write.commits import record_failure
from tests.catalogs import NOON, commit, keys, sweep


@pytest.fixture
def con(tmp_path: Path) -> duckdb.DuckDBPyConnection:
    """Three models in two families; `c` is the best on every board, `a` and `b` tie."""
    root = str(tmp_path / "cat")
    tie = {"alpha": 4.0, "num_traps": 1.0, "erg_log_ratio": -0.6}
    commit(root, "org/b", family="bert", num_params=100, layers=[tie])
    commit(root, "org/a", family="bert", num_params=300, layers=[tie, tie])
    best = {"alpha": 2.1, "num_traps": 3.0, "erg_log_ratio": 0.1}
    commit(root, "org/c", family="llama", num_params=200, layers=[best])
    return connect(root)


def order(con: duckdb.DuckDBPyConnection, board: str, **options: object) -> list[object]:
    chosen = {"top": None, "where": None, "family": None, **options}
    rows = leaderboard(con, board, **chosen).to_pylist()  # type: ignore[arg-type]
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    return [row["model_id"] for row in rows]


@pytest.mark.parametrize("board", BOARDS)
def test_the_best_of_each_board_is_first_and_ties_go_by_model_id(
    con: duckdb.DuckDBPyConnection, board: str
) -> None:
    assert order(con, board) == ["org/c", "org/a", "org/b"]


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


def test_an_unknown_board_and_a_bad_top_are_refused(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(QueryError, match="no leaderboard 'beauty'; there are traps, alignment"):
        order(con, "beauty")
    with pytest.raises(QueryError, match="--top: got 0, wanted at least 1"):
        order(con, "alpha", top=0)


def test_a_board_shows_the_newest_revision_of_a_model(tmp_path: Path) -> None:
    root = str(tmp_path)
    for step in (3, 10, 2):
        commit(root, revision=f"{step:040d}", step=step, layers=[{"alpha": float(step)}])
    with connect(root) as con:
        (row,) = leaderboard(con, "alpha", top=9, where=None, family=None).to_pylist()
    assert (row["step"], row["mean_alpha"], row["num_revisions"]) == (10, 10.0, 3)


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
    assert [(row["layer_index"], row["alpha"]) for row in rows] == [(0, 4.0), (1, 4.0)]


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
