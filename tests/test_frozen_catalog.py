"""A catalog of version 0.1.0, as users have it on disk: what is in it stays readable, for good."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.care.compact import compact
from tests.conftest import Zoo
from tests.frozen_catalog import unpack, write_late, write_zoo
from tests.number_groups import raise_decoder, raise_group
from zoo.version import NUMBERS_VERSION

FROZEN_NUMBERS = 2
"""NUMBERS_VERSION of the code that wrote the catalog."""
ROWS = {"models": 6, "layers": 9, "traps": 5, "spectra": 9, "evaluations": 2, "tensors": 11,
        "failures": 1, "sweeps": 2, "listing": 13}  # fmt: skip
VIEWS = {
    *ROWS, "models_latest", "layers_latest", "model_scores", "leaderboard_traps",
    "leaderboard_alpha", "leaderboard_alignment", "trajectories", "deltas", "listed", "missing",
    "failures_open", "weightwatcher",
}  # fmt: skip
UNIT = ("sweep_id", "model_id", "revision", "analysis_key")

Row = Mapping[str, object]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with the frozen catalog, the models it was made from, and their spec."""
    unpack(tmp_path)
    write_zoo(tmp_path)
    write_late(tmp_path)
    return tmp_path


@pytest.fixture
def catalog(home: Path) -> Path:
    return home / "catalog"


@pytest.fixture
def frozen(catalog: Path) -> dict[str, list[Row]]:
    """What the files hold, read without the catalog's code and before anything touched them."""
    found = {}
    for table in ROWS:
        files = sorted((catalog / table).glob("*/*.parquet"))
        found[table] = pa.concat_tables([pq.read_table(file) for file in files]).to_pylist()
    return found


@pytest.fixture
def sql(zoo: Zoo, catalog: Path, capsys: pytest.CaptureFixture[str]) -> Sql:
    return Sql(zoo, catalog, capsys)


TODAY = {"lambda": "eigenvalue"}
"""Columns that have another name today."""


class Sql:
    """`zoo sql` on the catalog."""

    def __init__(self, zoo: Zoo, catalog: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._zoo, self._catalog, self._capsys = zoo, catalog, capsys

    def __call__(self, query: str) -> list[dict[str, object]]:
        self._capsys.readouterr()
        assert self._zoo("sql", self._catalog, query, "--format", "json") == 0, query
        return json.loads(self._capsys.readouterr().out)  # type: ignore[no-any-return]


def plain(row: Row) -> str:
    return json.dumps(row, sort_keys=True, default=str)


def shown(catalog: Path, table: str, columns: list[str]) -> set[str]:
    """All rows of a view, in these columns."""
    from catalog.read import views

    with views.connect(catalog) as con:
        names = ", ".join(f'"{TODAY.get(column, column)}" as "{column}"' for column in columns)
        rows = con.sql(f"select {names} from {table}").to_arrow_table().to_pylist()
    return {plain(row) for row in rows}


def lost(catalog: Path, frozen: Mapping[str, list[Row]]) -> list[tuple[str, str]]:
    """Frozen rows that no view shows any more, value by value."""
    found = []
    for table, rows in frozen.items():
        there = shown(catalog, table, list(rows[0]))
        found += [(table, text[:300]) for row in rows if (text := plain(row)) not in there]
    return found


def test_every_row_is_shown_with_the_values_in_the_files(
    catalog: Path, frozen: dict[str, list[Row]]
) -> None:
    assert {table: len(rows) for table, rows in frozen.items()} == ROWS
    assert lost(catalog, frozen) == []


def test_every_view_answers(sql: Sql) -> None:
    views = {str(row["name"]) for row in sql("show tables")}
    assert views >= VIEWS
    for view in sorted(views):
        sql(f"select * from {view}")
    assert {t: sql(f"select count(*) as n from {t}")[0]["n"] for t in ROWS} == ROWS


def test_what_is_special_about_it_is_still_told(sql: Sql) -> None:
    assert sql("select step from models where model_id = 'local/run' order by 1") == [
        {"step": 10}, {"step": 200},
    ]  # fmt: skip
    (base,) = sql("select revision from models where model_id = 'local/plain'")
    (tuned,) = sql("select versions from models where model_id = 'local/tuned'")
    assert json.loads(str(tuned["versions"]))["base_revision"] == base["revision"]
    assert sql("select model_id, cause from failures_open") == [
        {"model_id": "local/torn", "cause": "data"}
    ]
    assert sql("select metric, value from evaluations order by 1") == [
        {"metric": "test_accuracy", "value": 0.75}, {"metric": "train_accuracy", "value": 1.0},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (("rank", "traps"), "local/trapped"),
        (("rank", "alpha"), "local/plain"),
        (("rank", "alignment"), "local/late"),
        (("status",), "6"),
        (("check",), ""),
    ],
    ids=["rank traps", "rank alpha", "rank alignment", "status", "check"],
)
def test_every_question_is_answered(
    command: tuple[str, ...], word: str, zoo: Zoo, catalog: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert zoo(*command, catalog) == 0
    assert word in capsys.readouterr().out


def test_models_are_shown_and_compared(
    zoo: Zoo, catalog: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert zoo("show", catalog, "local/trapped") == 0
    assert "gone.weight" in capsys.readouterr().out
    assert zoo("compare", catalog, "local/plain", "local/tuned") == 0
    assert "q_proj" in capsys.readouterr().out


def test_the_same_spec_resumes_and_doubles_nothing(
    home: Path, zoo: Zoo, sql: Sql, frozen: dict[str, list[Row]]
) -> None:
    """Under the analysis key of today nothing is computed; under a later one all is, beside it."""
    catalog = home / "catalog"
    assert zoo("sweep", home / "spec.toml", "--out", catalog, "-j", 1, "--quiet") == 1  # torn
    assert lost(catalog, frozen) == []
    (last,) = sql("from sweeps order by sweep_id desc limit 1")
    keys = sql(f"select distinct analysis_key from listing where sweep_id = '{last['sweep_id']}'")
    old = {str(row["analysis_key"]) for row in frozen["models"]}
    same = {str(row["analysis_key"]) for row in keys} <= old
    assert same or NUMBERS_VERSION != FROZEN_NUMBERS
    assert (last["num_done"], last["num_skipped"]) == ((0, 6) if same else (6, 0))
    (count,) = sql(
        f"select count(*) as all, count(distinct ({', '.join(UNIT)})) as units from models"
    )
    assert count == ({"all": 6, "units": 6} if same else {"all": 12, "units": 12})
    assert sql("select count(*) as n from models_latest") == [{"n": 6}]
    assert sql("select count(*) as n from layers_latest") == [{"n": 9}]
    assert zoo("check", catalog, "--quiet") == 0


def test_a_refit_gives_the_stored_values(
    zoo: Zoo, catalog: Path, sql: Sql, frozen: dict[str, list[Row]],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """To the last digits: another processor's logarithms may differ in them."""
    if NUMBERS_VERSION == FROZEN_NUMBERS:
        assert zoo("refit", catalog, "--dry-run", "-j", 1, "--format", "json") == 0
        table = json.loads(capsys.readouterr().out)
        assert {row["column"]: row["compared"] for row in table}["alpha"] >= 8
        assert [row for row in table if (row["largest_change"] or 0.0) > 1e-9] == []
    assert zoo("refit", catalog, "-j", 1, "--quiet") == 0
    assert sql("select count(*) as n from layers_latest") == [{"n": 9}]
    assert lost(catalog, {t: frozen[t] for t in ("failures", "listing", "sweeps")}) == []
    assert zoo("check", catalog, "--quiet") == 0


def test_what_other_packages_computed_is_done_anew_once(
    home: Path, zoo: Zoo, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the adapter too, whose base revision stood among its versions and is none of a package."""
    catalog = home / "catalog"
    monkeypatch.setattr("jobs.sweep.ledger.versions", lambda: '{"numpy": "99"}')
    again = ["sweep", home / "spec.toml", "--out", catalog, "-j", 1, "--overwrite", "stale"]
    for done in (6, 0):
        assert zoo(*again, "--quiet") == 1  # torn
        (last,) = sql("select num_done, num_skipped from sweeps order by sweep_id desc limit 1")
        assert last == {"num_done": done, "num_skipped": 6 - done}
    (base,) = sql("select revision from models_latest where model_id = 'local/plain'")
    (tuned,) = sql("select base_revision, versions from models_latest "
                   "where model_id = 'local/tuned'")  # fmt: skip
    assert tuned == {"base_revision": base["revision"], "versions": '{"numpy": "99"}'}


def test_a_raised_decoder_measures_the_old_units_anew_beside_the_old_ones(
    home: Path, zoo: Zoo, sql: Sql, frozen: dict[str, list[Row]], monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = home / "catalog"
    raise_decoder(monkeypatch, "none")
    for models in (12, 12):
        assert zoo("sweep", home / "spec.toml", "--out", catalog, "-j", 1, "--quiet") == 1  # torn
        assert sql("select count(*) as n from models") == [{"n": models}]
    assert lost(catalog, frozen) == []
    assert sql("select count(*) as n from models_latest") == [{"n": 6}]
    assert sql("select model_id, cause from missing") == [
        {"model_id": "local/torn", "cause": "data"}
    ]
    assert zoo("compact", catalog, "--quiet") == 0
    assert lost(catalog, frozen) == []
    assert zoo("check", catalog, "--quiet") == 0


def test_a_refit_moves_the_base_revision_to_its_column(
    zoo: Zoo, catalog: Path, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    raise_group(monkeypatch, "tail")
    assert zoo("refit", catalog, "-j", 1, "--quiet") == 0
    (base,) = sql("select revision from models_latest where model_id = 'local/plain'")
    (tuned,) = sql("from models_latest where model_id = 'local/tuned'")
    assert tuned["base_revision"] == base["revision"] not in str(tuned["versions"])
    assert tuned["decoders"] == "none" and "tail" in str(tuned["number_versions"])
    assert zoo("refit", catalog, "-j", 1, "--quiet") == 0
    assert sql("select count(*) as n from models") == [{"n": 12}]


def test_compaction_keeps_every_row(
    zoo: Zoo, catalog: Path, sql: Sql, frozen: dict[str, list[Row]]
) -> None:
    assert list((catalog / "models" / "hot").iterdir())
    assert zoo("compact", catalog, "--quiet") == 0
    assert not list((catalog / "models" / "hot").iterdir())
    assert lost(catalog, frozen) == []
    assert {t: sql(f"select count(*) as n from {t}")[0]["n"] for t in ROWS} == ROWS
    assert zoo("check", catalog, "--quiet") == 0


def test_a_new_sweep_works_beside_it(
    home: Path, zoo: Zoo, sql: Sql, frozen: dict[str, list[Row]]
) -> None:
    catalog, spec = home / "catalog", home / "other.toml"
    spec.write_text(
        "[sweep]\nname = 'other'\n[[source]]\npath = 'zoo/trapped'\n[traps]\nseed = 3\n"
    )
    assert zoo("sweep", spec, "--out", catalog, "-j", 1, "--quiet") == 0
    assert lost(catalog, frozen) == []
    assert sql("select count(*) as n from models") == [{"n": 7}]
    assert sql("select count(*) as n from models_latest") == [{"n": 6}]
    compact(str(catalog), grace_s=0.0)
    assert lost(catalog, frozen) == []
    assert sql("select count(*) as n from models") == [{"n": 7}]
    assert zoo("check", catalog, "--quiet") == 0
