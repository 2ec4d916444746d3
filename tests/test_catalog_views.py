"""The views: names, empty tables, scores against plain Python, what is missing, other readers."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, median

import duckdb
import pyarrow.dataset as ds
import pytest

from catalog.errors import NotACatalogError
from catalog.files.lock import sweep_lock
from catalog.read.definitions import FILES
from catalog.read.query import ask, columns
from catalog.read.views import connect
from catalog.schema import TABLES
from catalog.write.commits import prepare, record_failure
from tests.catalogs import NOON, commit, keys, sweep

CONTRACT = """layers_latest model_scores leaderboard_traps leaderboard_alignment leaderboard_alpha
    leaderboard_alpha_hat leaderboard_log_alpha_norm leaderboard_traps_per_million
    leaderboard_active_traps leaderboard_composite current
    trajectories onset deltas missing failures_open weightwatcher""".split()


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "cat")


def select(root: str, query: str) -> list[dict[str, object]]:
    with connect(root) as con:
        rows: list[dict[str, object]] = ask(con, query).to_pylist()
        return rows


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    root = str(tmp_path_factory.mktemp("empty"))
    prepare(root)
    with connect(root) as con:
        yield con


@pytest.mark.parametrize("view", [*CONTRACT, *TABLES])
def test_a_view_of_an_empty_catalog_is_empty_and_typed(
    empty: duckdb.DuckDBPyConnection, view: str
) -> None:
    table = ask(empty, f"from {view}")
    assert table.num_rows == 0 and table.num_columns > 3
    if view in TABLES:
        assert columns(empty, view) == tuple(c.name for c in TABLES[view].columns)


def test_a_folder_without_a_catalog_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NotACatalogError, match=r"no catalog in .* make one with `zoo sweep"):
        connect(tmp_path)


def test_the_dictionary_explains_every_column(empty: duckdb.DuckDBPyConnection) -> None:
    query = "select count(*) from dictionary where meaning <> '' and unit <> ''"
    assert ask(empty, query).column(0).to_pylist() == [sum(len(t.columns) for t in TABLES.values())]


def test_scores_are_plain_integers_and_floats(empty: duckdb.DuckDBPyConnection) -> None:
    for view in (*CONTRACT, "onset_layers"):
        types = {str(field.type) for field in ask(empty, f"from {view}").schema}
        assert not any(kind.startswith("decimal") for kind in types), view


def test_no_extension_is_ever_downloaded(empty: duckdb.DuckDBPyConnection) -> None:
    for name in ("autoinstall_known_extensions", "autoload_known_extensions"):
        assert empty.execute("select current_setting(?)", [name]).fetchall() == [(False,)]


def test_the_sql_files_run_in_stock_duckdb(root: str) -> None:
    commit(root, layers=[{}] * 5)
    with duckdb.connect() as con:
        con.execute("set variable zoo = ?", [root])
        for file in sorted(FILES.glob("*.sql")):
            con.execute(file.read_text(encoding="utf-8"))
        assert con.execute("select model_id from leaderboard_alpha").fetchall() == [("org/a",)]


def test_any_parquet_reader_reads_a_table(root: str) -> None:
    commit(root, layers=[{}, {}])
    table = ds.dataset(f"{root}/layers", format="parquet").to_table(columns=["alpha"])
    assert table.column("alpha").to_pylist() == [3.0, 3.0]


def test_a_reader_pointed_at_the_root_meets_parquet_alone(root: str) -> None:
    commit(root)
    with sweep_lock(root, "nightly"):
        tables = ds.dataset(root, format="parquet")
        assert tables.to_table(columns=["model_id"]).num_rows == 2  # of layers and of models
        assert not any("_tmp" in file for file in tables.files)


def test_the_page_of_tables_tells_readers_without_views_how_to_count_once(root: str) -> None:
    pytest.importorskip("pandas")
    page = (FILES.parents[1] / "docs" / "tables.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for minute, key in enumerate(("k1", "k2")):
        commit(root, layers=[{"alpha": 3.0 + minute}] * 2, minute=minute, analysis_key=key)
    names: dict[str, object] = {}
    exec(code.replace('"results/', f'"{root}/'), names)
    assert list(names["layers"]["alpha"]) == [4.0, 4.0]  # type: ignore[index]
    assert select(root, "select alpha from current_rows('layers')") == [{"alpha": 4.0}] * 2


def test_every_sql_file_says_what_it_answers() -> None:
    files = list(FILES.glob("*.sql"))
    assert len(files) > 5
    assert all(file.read_text().startswith("-- ") for file in files)


def test_the_newest_analysis_of_a_revision_is_the_latest(root: str) -> None:
    commit(root, layers=[{"alpha": 3.0}], minute=1)
    commit(root, layers=[{"alpha": 4.0}], minute=2, analysis_key="k2")
    commit(root, layers=[{"alpha": 5.0}], minute=0, revision="e" * 40)
    assert select(root, "select alpha from layers_latest order by alpha") == [
        {"alpha": 4.0}, {"alpha": 5.0},
    ]  # fmt: skip
    assert select(root, "select alpha from layers order by 1") == [
        {"alpha": 3.0}, {"alpha": 4.0}, {"alpha": 5.0},
    ]  # fmt: skip


def spearman(x: list[float], y: list[float]) -> float:
    def ranks(v: list[float]) -> list[float]:
        return [sum(b < a for b in v) + sum(b == a for b in v) / 2 for a in v]

    a, b = ranks(x), ranks(y)
    ma, mb = fmean(a), fmean(b)
    cross = sum((p - ma) * (q - mb) for p, q in zip(a, b, strict=True))
    return cross / math.sqrt(sum((p - ma) ** 2 for p in a) * sum((q - mb) ** 2 for q in b))


def test_scores_are_those_of_plain_python(root: str) -> None:
    draw = random.Random(7)
    layers = [
        {
            "alpha": round(draw.uniform(1.2, 7.5), 1),
            "erg_delta": round(draw.gauss(0, 1), 1),
            "erg_log_ratio": draw.gauss(0, 1),
            "num_traps": draw.choice([0.0, 0.0, 1.0, 2.4]),
            "trap_excess_max": draw.random(),
        }
        for _ in range(40)
    ]
    commit(root, layers=layers)
    (row,) = select(root, "from model_scores")
    alpha = [x["alpha"] for x in layers]
    assert row["mean_alpha"] == pytest.approx(fmean(alpha))
    assert row["median_alpha"] == pytest.approx(median(alpha))
    assert row["mean_abs_alpha_minus_2"] == pytest.approx(fmean(abs(a - 2) for a in alpha))
    assert row["share_alpha_2_6"] == pytest.approx(fmean(2 <= a <= 6 for a in alpha))
    assert row["num_over_trained"] == sum(a < 2 for a in alpha)
    assert row["mean_traps"] == pytest.approx(fmean(x["num_traps"] for x in layers))
    assert row["num_layers_trapped"] == sum(x["num_traps"] > 0 for x in layers)
    assert row["max_trap_excess"] == max(x["trap_excess_max"] for x in layers)
    ratios = [abs(x["erg_log_ratio"]) for x in layers]
    assert row["mean_abs_erg_log_ratio"] == pytest.approx(fmean(ratios))
    both = fmean(x["alpha"] < 2 and x["erg_delta"] < 0 for x in layers)
    assert row["share_alpha_and_delta_low"] == pytest.approx(both)
    delta = [x["erg_delta"] for x in layers]
    assert row["spearman_alpha_erg_delta"] == pytest.approx(spearman(alpha, delta))
    assert {row[f"num_layers_{n}"] for n in ("tested", "fitted", "aligned", "ranked")} == {40}


def test_means_leave_out_what_could_not_be_computed_and_count_the_rest(root: str) -> None:
    commit(root, layers=[
        {"alpha": 3.0, "num_traps": 2.0},
        {"alpha": None, "tail_status": "too_few", "num_traps": 0.0},
        {"alpha": 5.0, "num_traps": None, "erg_log_ratio": None, "erg_delta": None},
        {"status": "failed", "reason": "non_finite", "alpha": 99.0, "num_traps": 99.0},
    ])  # fmt: skip
    (row,) = select(root, "from model_scores")
    assert (row["mean_alpha"], row["num_layers_fitted"]) == (4.0, 2)
    assert (row["mean_traps"], row["num_layers_tested"]) == (1.0, 2)
    assert row["num_layers_aligned"] == 1
    assert row["spearman_alpha_erg_delta"] is None  # of one layer


def test_tied_layers_and_wholes_beside_their_parts_are_not_scored(root: str) -> None:
    commit(root, layers=[
        {"alpha": 3.0, "role": "embedding"},
        {"alpha": 99.0, "tied_to": "embed.weight", "role": "lm_head"},
        {"alpha": 99.0, "tensor": "qkv"},
        {"alpha": 5.0, "tensor": "qkv", "part": "q"},
        {"alpha": 7.0, "tensor": "experts", "expert": 0},
        {"alpha": 99.0, "tensor": "experts", "expert": 1},
        {"alpha": 9.0, "tensor": "experts", "expert": 1, "part": "up"},
    ])  # fmt: skip
    (row,) = select(root, "from model_scores")
    assert (row["num_layers_scored"], row["mean_alpha"]) == (4, 6.0)
    assert row["num_layers_unscored"] == 3


def test_a_model_without_a_layer_behind_its_score_is_not_ranked(root: str) -> None:
    commit(root, layers=[{"alpha": None, "num_traps": None, "tail_status": "too_few"}] * 5)
    for board in ("traps", "alignment", "alpha"):
        assert select(root, f"from leaderboard_{board}") == []
    assert len(select(root, "from model_scores")) == 1


def test_missing_is_what_the_last_sweep_of_a_name_listed_and_is_not_done(root: str) -> None:
    sweep(root, "s0", ["org/old"], minute=0)
    sweep(root, "s1", ["org/a", "org/b", "org/c"], minute=1)
    sweep(root, "t1", ["org/other"], name="weekly", minute=0)
    commit(root, "org/a")
    record_failure(root, failure("org/b"))
    found = select(root, "select sweep_name, model_id, reason, cause from missing")
    assert found == [
        {"sweep_name": "nightly", "model_id": "org/b", "reason": "data: torn", "cause": "data"},
        {"sweep_name": "nightly", "model_id": "org/c", "reason": "not done yet", "cause": None},
        {"sweep_name": "weekly", "model_id": "org/other", "reason": "not done yet", "cause": None},
    ]


def failure(model_id: str, **columns: object) -> dict[str, object]:
    return {**keys(model_id), "cause": "data", "error_type": "TruncatedError", "message": "torn",
            "attempts": 1, "failed_at": NOON, **columns}  # fmt: skip


def test_a_failure_is_open_until_a_later_success(root: str) -> None:
    record_failure(root, failure("org/a", sweep_id="s0", message="older"))
    record_failure(root, failure("org/a", sweep_id="s1", failed_at=NOON.replace(hour=13)))
    open_ = "select model_id, message from failures_open"
    assert select(root, open_) == [{"model_id": "org/a", "message": "torn"}]
    commit(root, "org/a", minute=30, sweep_id="s2")
    assert select(root, open_) == [{"model_id": "org/a", "message": "torn"}]
    commit(root, "org/a", minute=90, sweep_id="s3")
    assert select(root, open_) == []


def test_a_failure_of_a_unit_that_is_no_longer_listed_is_closed(root: str) -> None:
    sweep(root, "s1", ["org/a", "org/b"], minute=0)
    record_failure(root, failure("org/a"))
    record_failure(root, failure("org/b"))
    open_ = "select model_id from failures_open order by 1"
    assert select(root, open_) == [{"model_id": "org/a"}, {"model_id": "org/b"}]
    sweep(root, "t1", ["org/c"], name="weekly", minute=1)
    assert len(select(root, open_)) == 2  # another sweep's list says nothing of them
    sweep(root, "s2", ["org/b"], minute=2)
    assert select(root, open_) == [{"model_id": "org/b"}]


def test_deltas_join_a_model_with_its_base_on_tensor_part_and_expert(root: str) -> None:
    commit(root, "org/base", layers=[
        {"tensor": "a", "alpha": 3.0}, {"tensor": "b", "part": "q", "alpha": 4.0},
        {"tensor": "b", "part": "k", "alpha": 4.5}, {"tensor": "gone"},
    ])  # fmt: skip
    commit(root, "org/tuned", base_model="org/base", layers=[
        {"tensor": "new"}, {"tensor": "a", "alpha": 2.5},
        {"tensor": "b", "part": "q", "alpha": 5.0, "num_traps": 2.0},
    ])  # fmt: skip
    query = "select tensor, part, alpha_delta, num_traps_delta from deltas"
    assert select(root, query) == [
        {"tensor": "a", "part": None, "alpha_delta": -0.5, "num_traps_delta": 0.0},
        {"tensor": "b", "part": "q", "alpha_delta": 1.0, "num_traps_delta": 2.0},
    ]


INCUMBENT = """layer_id name D M N Q alpha alpha_weighted entropy has_esd lambda_max layer_type
    log_alpha_norm log_norm log_spectral_norm longname matrix_rank norm num_evals num_pl_spikes
    rank_loss rf sigma spectral_norm stable_rank status sv_max sv_min warning xmax xmin
    max_rand_eval rand_distance ww_softrank ww_maxdist rand_num_spikes num_traps rand_sigma_mp
    rand_mp_softrank rand_bulk_max num_spikes sigma_mp mp_softrank W_scale bulk_max bulk_min
    detX_num num_ERG_spikes ERG_gap detX_val detX_val_unrescaled
    weak_rank_loss rand_W_scale rand_bulk_min""".split()


def test_the_incumbents_columns_are_there_and_null_where_it_says_minus_one(root: str) -> None:
    commit(root, layers=[
        {"tensor": "encoder.layer.0.query.weight", "n": 8, "m": 4, "tail_warning": "over_trained"},
        {"alpha": None, "tail_status": "too_few", "lambda_max": 4.0, "rand_lambda_max": 2.0},
    ])  # fmt: skip
    first, second = select(root, "from weightwatcher")
    assert set(INCUMBENT) <= set(first)
    assert (first["name"], first["longname"]) == ("query", "encoder.layer.0.query")
    assert (first["N"], first["M"], first["warning"]) == (8, 4, "over-trained")
    assert (second["status"], second["alpha"], second["warning"]) == ("failed", None, None)
    assert (second["sv_max"], second["ww_softrank"]) == (2.0, 0.5)
    assert -1 not in second.values()


def test_a_reader_asks_again_when_a_file_was_compacted_away(root: str) -> None:
    path = commit(root)
    with connect(root) as con:
        ask(con, "from models")
        Path(path).rename(Path(path).with_name("renamed.parquet"))
        assert ask(con, "from models").num_rows == 1


def test_show_tables_lists_only_what_is_meant_for_users(empty: duckdb.DuckDBPyConnection) -> None:
    listed = {name for (name,) in empty.execute("show tables").fetchall()}
    ours = {"models_latest", "delta_layers", "onset_layers", "listed", "dictionary"}
    assert listed == {*TABLES, *CONTRACT, *ours}
