"""Named questions: each on a small catalog whose answer is known by hand; and how they are asked."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

import zoo as zoo_package
from catalog.errors import QueryError
from catalog.read.guide import stock_script
from catalog.read.query import ask_rows
from catalog.read.questions import FILES, bound, find_question, parse, questions, values_of
from catalog.read.views import connect
from catalog.write.commits import record_failure, record_listing
from tests.catalogs import NOON, ROOT, commit, keys, sweep
from tests.conftest import Zoo

Rows = list[dict[str, Any]]


def asked(root: Path, name: str, **given: object) -> Rows:
    """The rows that `zoo ask` gives."""
    question = find_question(name)
    values = values_of(question, {name: str(value) for name, value in given.items()})
    with connect(str(root), only=question.views) as con, bound(con, question, values):
        return ask_rows(con, question.sql).to_pylist()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cat"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two llamas of 1 and 7 billion parameters and a bert; the smaller llama is nearest to alpha 2."""
    root = tmp_path_factory.mktemp("questions") / "it's a catalog"
    llama = {"family": "llama", "architecture": "LlamaForCausalLM"}
    commit(str(root), "org/small", num_params=10**9, layers=[{"alpha": 2.5}] * 5, **llama)
    commit(str(root), "org/large", num_params=7 * 10**9, layers=[{"alpha": 4.0}] * 5, **llama)
    commit(str(root), "org/bert", family="bert", architecture="BertModel", num_params=10**8,
           layers=[{"alpha": 3.0}] * 5)  # fmt: skip
    return root


def test_top_ranks_within_architecture_and_size(small: Path) -> None:
    def names(rows: Rows) -> list[tuple[int, str, float]]:
        return [(r["place"], r["model_id"], r["score"]) for r in rows]

    assert names(asked(small, "top")) == [
        (1, "org/small", 0.5), (2, "org/bert", 1.0), (3, "org/large", 2.0),
    ]  # fmt: skip
    assert names(asked(small, "top", architecture="LlamaForCausalLM", min_params="2e9")) == [
        (1, "org/large", 2.0)
    ]
    assert names(asked(small, "top", max_params=1e9, top=1)) == [(1, "org/small", 0.5)]
    assert asked(small, "top", family="x' or true --") == []


def test_base_shows_what_fine_tuning_moved_most_first(root: Path) -> None:
    commit(str(root), "org/base", layers=[{"alpha": 3.0}, {"alpha": 4.0, "num_traps": 1.0}])
    commit(str(root), "org/tuned", base_model="org/base",
           layers=[{"alpha": 3.25}, {"alpha": 2.0, "num_traps": 3.0}])  # fmt: skip
    rows = asked(root, "base", model="tuned")
    assert [(r["tensor"], r["alpha_delta"], r["num_traps_delta"]) for r in rows] == [
        ("block.1.weight", -2.0, 2.0), ("block.0.weight", 0.25, 0.0),
    ]  # fmt: skip
    turned = asked(root, "base", model="base", base="tuned")
    assert [r["alpha_delta"] for r in turned] == [2.0, -0.25]
    with pytest.raises(QueryError, match="no model 'nope' in the catalog"):
        asked(root, "base", model="nope")


def test_outliers_are_far_from_layers_of_the_same_role(root: Path) -> None:
    """Of the eleven alphas of role q the median is 3 and the MAD 0.5; of role k all are alike."""
    alphas = [2.0, 2.25, 2.5, 2.5, 3.0, 3.0, 3.0, 3.5, 3.5, 3.75]
    commit(str(root), "org/a", family="f", layers=[{"role": "q", "alpha": a} for a in alphas])
    commit(str(root), "org/b", family="f",
           layers=[{"role": "q", "alpha": 9.0}, *[{"role": "k", "alpha": 2.0}] * 9])  # fmt: skip
    (row,) = asked(root, "outliers")
    assert (row["model_id"], row["layer_index"], row["population"]) == ("org/b", 0, 11)
    assert (row["median"], row["share_below"]) == (3.0, 1.0)
    assert row["z"] == pytest.approx(0.6745 * 6.0 / 0.5)
    assert asked(root, "outliers", model="a") == asked(root, "outliers", min_population=12) == []
    with pytest.raises(QueryError, match="metric: got beta; wanted alpha"):
        asked(root, "outliers", metric="beta")


def test_moved_compares_what_two_sweeps_listed(root: Path) -> None:
    for number, models in enumerate(
        (["org/a", "org/b", "org/gone"], ["org/a", "org/b", "org/new"])
    ):
        sweep(str(root), f"s{number}", models, minute=10 * number)
    for name in ("org/b", "org/gone", "org/new"):
        commit(str(root), name, layers=[{"num_traps": 1.0}] * 2)
    commit(str(root), "org/a", layers=[{"num_traps": 1.0}] * 2)
    record_listing(str(root), "s1", [
        {**keys(name), "sweep_id": "s1", "listed_at": NOON} for name in ("org/b", "org/new", "org/unread")
    ] + [{**keys("org/a", revision="e" * 40), "sweep_id": "s1", "listed_at": NOON}])  # fmt: skip
    commit(str(root), "org/a", revision="e" * 40, layers=[{"num_traps": 3.0}] * 2, minute=11)
    rows = {r["model_id"]: r for r in asked(root, "moved", before="s0", after="s1")}
    assert {name: r["what"] for name, r in rows.items()} == {
        "org/a": "moved", "org/b": "same", "org/gone": "gone", "org/new": "new", "org/unread": "new",
    }  # fmt: skip
    assert (rows["org/a"]["mean_traps_delta"], rows["org/a"]["before_mean_traps"]) == (2.0, 1.0)


def test_the_first_sweep_has_nothing_to_compare_with(root: Path) -> None:
    sweep(str(root), "s0", ["org/a"])
    commit(str(root), "org/a")
    assert asked(root, "moved") == []


def test_coverage_counts_outcomes_and_names_causes(root: Path) -> None:
    sweep(str(root), "s1", ["org/a", "org/b", "org/c", "org/d"])
    commit(str(root), "org/a", minute=1)
    commit(str(root), "org/b", minute=1)
    record_failure(str(root), {**keys("org/c"), "cause": "data", "error_type": "HeaderError",
        "message": "torn", "attempts": 1, "failed_at": NOON})  # fmt: skip
    rows = [(r["outcome"], r["num"], r["share"], r["example"]) for r in asked(root, "coverage")]
    assert rows == [
        ("done", 2, 0.5, "org/a"),
        ("failed: data", 1, 0.25, "org/c"),
        ("not done yet", 1, 0.25, "org/d"),
    ]
    assert asked(root, "coverage")[1]["message"] == "data: torn"
    assert asked(root, "coverage", sweep="another") == []


def test_cost_sums_the_seconds_of_layers(root: Path) -> None:
    layer = {"read_s": 1.0, "spectrum_s": 2.0, "shuffle_s": 4.0}
    commit(str(root), "org/cheap", seconds=1.0, num_params=10**9)
    commit(str(root), "org/dear", seconds=30.0, num_params=3 * 10**9, bytes_read=102,
           bytes_analysed=100, requests=7, layers=[layer, layer])  # fmt: skip
    dear, cheap = asked(root, "cost")
    assert (dear["model_id"], dear["seconds_per_billion_params"], cheap["read_s"]) == (
        "org/dear",
        10.0,
        None,
    )
    assert (dear["read_s"], dear["spectrum_s"], dear["shuffle_s"], dear["num_layers"]) == (
        2,
        4,
        8,
        2,
    )
    assert dear["bytes_read_per_byte_analysed"] == 1.02


def test_agreement_is_spearmans_and_kendalls_correlation(root: Path) -> None:
    """Alpha in the order 1 2 3 4, traps in the order 1 3 2 4: one of six pairs is turned round."""
    for number, traps in enumerate((0.0, 2.0, 1.0, 3.0)):
        commit(str(root), f"org/{number}", layers=[{"alpha": 3.0 + number, "num_traps": traps}] * 5)
    rows = {(r["score_a"], r["score_b"]): r for r in asked(root, "agreement")}
    row = rows["mean_abs_alpha_minus_2", "mean_traps"]
    assert row["spearman"] == pytest.approx(0.8) and row["kendall"] == pytest.approx(4 / 6)
    assert row["num_models"] == 4 and row["p_value"] is None, (
        "ten models are too few for Student's law"
    )
    tied = rows["mean_abs_alpha_minus_2", "mean_abs_erg_log_ratio"]
    assert tied["spearman"] is None and tied["kendall"] is None, "all models are aligned alike"


def test_evaluations_correlate_with_published_results(root: Path) -> None:
    def result(value: float) -> dict[str, object]:
        return {"task": "t", "dataset": "CIFAR-10", "metric": "accuracy", "value": value}

    order = [0, 1, 2, 3, 4, 5, 6, 7, 9, 8]
    for number, place in enumerate(order):
        commit(str(root), f"org/{number}", layers=[{"alpha": 3.0 + number}] * 5,
               evaluations=[result(0.9 - 0.01 * place)])  # fmt: skip
    commit(str(root), "org/twice", layers=[{"alpha": 2.0}] * 5,
           evaluations=[result(0.1), {**result(0.2), "task": "other"}])  # fmt: skip
    (row,) = asked(root, "evaluations", score="mean_alpha", dataset="cifar")
    assert (row["num_models"], row["num_ambiguous"]) == (10, 1)
    stats = pytest.importorskip("scipy.stats")
    oracle = stats.spearmanr(range(10), [-place for place in order])
    assert row["spearman"] == pytest.approx(oracle.statistic)
    assert row["p_value"] == pytest.approx(oracle.pvalue, rel=1e-6)


def test_onset_is_the_first_step_with_a_lasting_trap(root: Path) -> None:
    for model, onset in (("run/a", 2), ("run/b", 3)):
        for step in range(1, 5):
            layers = [{"num_traps": 2.0 if step >= onset else 0.0}] * 5
            commit(str(root), model, revision=f"{step:040x}", step=step, family="mlp",
                   layers=[{**layer, "step": step} for layer in layers])  # fmt: skip
    (row,) = asked(root, "onset")
    assert (row["family"], row["num_trajectories"], row["num_with_onset"]) == ("mlp", 2, 2)
    assert (row["first_onset_step"], row["median_onset_step"]) == (2, 2.5)
    assert (row["median_share_of_run"], row["earliest_model"]) == (2.5 / 4, "run/a")


def test_roles_cut_depth_into_bands(root: Path) -> None:
    commit(str(root), "org/a", layers=[
        {"role": "q", "block": block, "alpha": 2.0 + block} for block in range(4)
    ] + [{"role": "embedding", "alpha": 7.0}])  # fmt: skip
    rows = [(r["role"], r["depth_band"], r["median_alpha"]) for r in asked(root, "roles", bands=2)]
    assert rows == [("embedding", None, 7.0), ("q", 1, 2.5), ("q", 2, 4.5)]
    assert [r["share_alpha_2_6"] for r in asked(root, "roles", bands=1)] == [0.0, 1.0]
    assert len(asked(root, "roles", model="a", min_layers=4, bands=1)) == 1


@pytest.mark.parametrize("degrees", [8, 9, 30, 31])
@pytest.mark.parametrize("rho", [-0.9, -0.1, 0.0, 0.4, 0.99])
def test_the_p_value_is_that_of_students_law(small: Path, degrees: int, rho: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    t = abs(rho) * (degrees / (1 - rho**2)) ** 0.5
    with connect(str(small)) as con:
        ((p,),) = con.execute("select internal.correlation_p(?, ?)", [rho, degrees + 2]).fetchall()
    assert p == pytest.approx(2 * stats.t.sf(t, degrees), rel=1e-6, abs=1e-12)


def test_every_question_is_on_the_page() -> None:
    page = (ROOT / "docs" / "questions.md").read_text(encoding="utf-8")
    assert [name for name in questions() if f"| `{name}` |" not in page] == []


def test_every_question_says_what_it_asks_and_its_defaults_are_those_of_its_sql() -> None:
    assert len(questions()) >= 10
    for question in questions().values():
        assert question.title.endswith("?") and question.notes.endswith("."), question.name
        for parameter in question.parameters:
            name, default = parameter.name, parameter.default
            if parameter.default is not None:
                said = f"'{default}'" if isinstance(default, str) else f"{default:g}"
                assert f"coalesce(getvariable('{name}'), {said})" in question.sql, (
                    question.name,
                    name,
                )
            assert f"getvariable('{name}')" in question.sql, (question.name, name)


def test_stock_duckdb_reads_every_question(small: Path, tmp_path: Path) -> None:
    """With its defaults, and of those that need a model with one."""
    duck = shutil.which("duckdb", path=str(Path(sys.executable).parent))
    if duck is None:
        pytest.skip("duckdb-cli is not installed")
    script = tmp_path / "all.sql"
    reads = "\n".join(f".read '{file}'" for file in sorted(FILES.glob("*.sql")))
    script.write_text(
        f"{stock_script(str(small))}\nset variable model = 'org/small';\n"
        f"set variable base = 'org/large';\n{reads}\nselect 'the end';\n"
    )
    done = subprocess.run(
        [duck, "-csv", "-bail", "-c", f".read '{script}'"], capture_output=True, text=True
    )
    assert "the end" in done.stdout and not done.stderr, done.stderr
    assert done.stdout.count("org/small") >= 2, "top and cost name it"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": "1"}, "no parameter 'size'; there are board=alpha, family="),
        ({"top": "many"}, "top: top: got 'many', wanted a whole number"),
        ({"max_params": "1B"}, "wanted a number, such as 7e9"),
    ],
)
def test_a_wrong_parameter_is_named(given: dict[str, str], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        values_of(find_question("top"), given)


@pytest.mark.parametrize(
    "text",
    [
        "select 1",
        "-- t\n-- $a (date, 1): x",
        "-- t\n-- $zoo (text, null): x",
        "-- t\n-- $a (text, b): x",
    ],
)
def test_a_file_that_is_no_question_is_refused(text: str) -> None:
    with pytest.raises(QueryError, match="question 'mine'"):
        parse("mine", text)


def test_zoo_ask_prints_and_lists(
    small: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    assert zoo("ask", small, "top", "family=llama", "top=1", "--format", "csv") == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[1].startswith("1,1,org/small,llama,LlamaForCausalLM")
    assert err.strip() == find_question("top").title
    for listing in (("ask", small), ("sql", small, "--list")):
        assert zoo(*listing) == 0
        assert set(questions()) <= {
            line.split()[0] for line in capsys.readouterr().out.splitlines()
        }
    assert zoo("ask", small, "nope") == zoo("ask", small, "top", "top") == 2
    assert "there are agreement, base" in capsys.readouterr().err
    assert zoo("ask", small, "cost", "--sql") == 0
    assert capsys.readouterr().out == questions()["cost"].sql


def test_a_question_of_ones_own_reads_the_catalog_and_nothing_else(
    small: Path, tmp_path: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.sql"
    mine.write_text("-- How many?\n-- $family (text, null): one\n"
                    "select count(*) as n from models where family = getvariable('family')")  # fmt: skip
    assert zoo("ask", small, mine, "family=llama", "--format", "json") == 0
    assert capsys.readouterr().out == '[{"n": 2}]\n'
    for sql in (f"copy models to '{tmp_path}/out.csv'", "select * from read_text('/etc/passwd')"):
        mine.write_text(f"-- How many?\n{sql}")
        assert zoo("ask", small, mine) == 2
    assert not (tmp_path / "out.csv").exists()


def test_an_answer_goes_to_parquet_and_into_a_picture(
    small: Path, tmp_path: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    out, plot = tmp_path / "top.parquet", tmp_path / "pictures"
    assert zoo("ask", small, "top", "--format", "parquet", "--out", out) == 0
    assert pq.read_table(out)["model_id"].to_pylist() == ["org/small", "org/bert", "org/large"]
    query = "select m.model_id, m.num_params, alpha from layers_latest join models as m using (model_id)"
    assert zoo("sql", small, query, "--plot", plot, "--axes", "alpha,num_params", "--quiet") == 0
    assert (plot / "query.png").stat().st_size > 1000
    capsys.readouterr()
    for wrong, message in (
        (("--axes", "alpha,model_id", "--plot", plot), "no column of numbers 'model_id'"),
        (("--axes", "alpha,num_params"), "--axes: got it without --plot"),
        (("--out", out), "--out: got it without --format parquet"),
    ):
        assert zoo("sql", small, query, *wrong) == 2
        assert message in capsys.readouterr().err


def test_a_notebook_asks_by_name(small: Path) -> None:
    pytest.importorskip("pandas")
    frame = zoo_package.open(small).ask("top", family="llama", top=None)
    assert list(frame["model_id"]) == ["org/small", "org/large"]


def test_the_values_of_a_question_are_forgotten_after_it(small: Path) -> None:
    question = find_question("top")
    with connect(str(small)) as con:
        with bound(con, question, values_of(question, {"top": "1"})):
            assert con.execute("select getvariable('top')").fetchall() == [(1,)]
        assert con.execute("select getvariable('top')").fetchall() == [(None,)]
        with pytest.raises(duckdb.Error):
            con.execute("select * from read_text('/etc/passwd')")
