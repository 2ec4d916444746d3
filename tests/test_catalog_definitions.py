"""A question gets the views it needs and no others, and the same answer as with all of them."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import duckdb
import pytest

from catalog.read.boards import views_of_board
from catalog.read.definitions import DICTIONARY, definitions, script, views_of
from catalog.read.query import ask_rows
from catalog.read.views import connect
from tests.catalogs import NOON, commit, sweep

VIEWS = [d.name for d in definitions() if d.sql.startswith(f"create or replace view {d.name} ")]
"""Those of the schema `main`."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A trajectory of three steps with a card, and a base model with a child."""
    root = str(tmp_path_factory.mktemp("cat"))
    sweep(root, "s1", ["org/a", "org/b", "org/gone"])
    score = {"metric": "accuracy", "dataset": "test", "value": 0.5}
    for step in (1, 2, 3):
        commit(root, revision=f"{step:040d}", step=step, layers=[{"num_traps": step - 1.0}] * 2,
               evaluations=[score], traps=[{"layer_index": 0, "tensor": "block.0.weight",
               "replicate": 0, "trap_index": 1, "verdict": "unprobed"}])  # fmt: skip
    commit(root, "org/b", base_model="org/a")
    return root


def test_the_files_are_cut_where_duckdb_cuts_them() -> None:
    ours, theirs = definitions(), duckdb.extract_statements(script())
    assert [d.name for d in ours if not d.name] == [""]  # the schema
    assert len(ours) == len(theirs) > 35
    for one, other in zip(ours, theirs, strict=True):
        assert one.name in other.query and "--" not in one.sql


@pytest.mark.parametrize("view", [*VIEWS, DICTIONARY])
def test_a_view_defined_alone_answers_as_among_all(root: str, view: str) -> None:
    query = f"from {view} order by all"
    with connect(root) as whole, connect(root, only=views_of(query)) as part:
        assert ask_rows(part, query) == ask_rows(whole, query)
        count = "select count(*) from duckdb_views() where not internal"
        assert part.execute(count).fetchall() < whole.execute(count).fetchall()


def test_a_board_needs_what_its_condition_names() -> None:
    needed = views_of_board()
    assert needed is not None and needed >= {"board", "scored_layers_of"}
    where = "model_id in (select model_id from MISSING)"
    assert views_of_board(where) == needed | {"missing"}


@pytest.mark.parametrize(
    "query",
    [
        "show tables",
        "select 1",
        "select * from layers, duckdb_views()",
        "select * from models, information_schema.tables",
        "select * from models, (show all tables)",
        "create table t as from layers; from t",
        "from layers where",
        "explain from layers",
    ],
)
def test_what_may_depend_on_any_view_gets_them_all(query: str) -> None:
    assert views_of(query) is None


def test_names_are_found_whatever_their_case_and_quotes() -> None:
    query = 'with x as (from "Layers_Latest") from x semi join main.models using (model_id)'
    assert views_of(query) == {"layers_latest", "models"}


def test_of_two_columns_of_one_name_both_are_kept(root: str) -> None:
    with connect(root, only=()) as con:
        answer = ask_rows(con, "select 1 as a, 2 as a, 3 as b, 4 as a")
    assert answer.to_pylist() == [{"a": 1, "a_1": 2, "b": 3, "a_2": 4}]


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("1.50::decimal(9, 2)", Decimal("1.50")),
        ("[1, null]", [1, None]),
        ("null", None),
        ("sum(x)", 3),
        ("timestamptz '2026-11-23 12:00:00+00'", NOON),
        ("{'a': date '2026-11-23'}", {"a": date(2026, 11, 23)}),
    ],
)
def test_a_value_arrives_as_python_has_it(root: str, sql: str, value: object) -> None:
    with connect(root, only=()) as con:
        assert ask_rows(con, f"select {sql} from (values (1), (2)) t(x) limit 1").rows == (
            (value,),
        )
