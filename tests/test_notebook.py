"""What a notebook shows of a report and of a catalog, and the DataFrames it gets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import zoo
from catalog.errors import CatalogError, QueryError
from catalog.read.query import ask_rows
from catalog.read.views import connect
from jobs.__main__ import run
from tests.catalogs import ROOT
from tests.models import small_zoo
from zoo.errors import UseError
from zoo.options import AnalysisOptions, LayerSelection

BOARDS = ("traps", "alignment", "alpha")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("notebook")
    spec = small_zoo(root)
    assert run(["sweep", str(spec), "--out", str(root / "cat"), "-j", "1", "--quiet"]) == 0
    return root


@pytest.fixture(scope="module")
def catalog(results: Path) -> zoo.Catalog:
    pytest.importorskip("pandas")
    return zoo.open(results / "cat")


def fused_and_tied() -> zoo.Report:
    """Layers of every status: parts beside the whole, a tied head, one that fails."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(80, 60, generator=generator)
    state = {
        "h.0.attn.c_attn.weight": torch.randn(60, 180, generator=generator),
        "wte.weight": shared,
        "lm_head.weight": shared,
        "h.0.mlp.c_fc.weight": torch.full((60, 90), float("nan")),
    }
    options = AnalysisOptions(shuffle="full")
    config = {"model_type": "gpt2", "n_head": 4}
    return zoo.analyze(
        state, options=options, selection=LayerSelection(fused="both"), config=config
    )


def test_tables_of_a_catalog_are_frames(catalog: zoo.Catalog) -> None:
    assert list(catalog.models["model_id"]) == [f"local/model{i}" for i in range(3)]
    assert len(catalog.layers) == 9 and catalog.layers["alpha"].notna().any()
    assert set(catalog.traps.columns) >= {"model_id", "tensor", "excess_rel"}
    assert {"layers_latest", "model_scores", "spectra"} <= set(catalog.tables)


def test_boards_are_frames_by_name(catalog: zoo.Catalog) -> None:
    assert set(BOARDS) <= set(catalog.boards)
    assert list(catalog.board("traps", top=2, min_layers=2)["rank"]) == [1, 2]
    few = catalog.board("traps")
    assert few["rank"].isna().all() and few["reason"].str.contains("fewer than 5").all()
    assert "bad" in few.attrs["direction"]
    assert len(catalog.board("traps", where="model_id like '%1'")) == 1
    with pytest.raises(QueryError, match="no leaderboard 'speed'"):
        catalog.board("speed")


def test_queries_take_values_and_keep_nulls_in_arrow(catalog: zoo.Catalog) -> None:
    query = "select step from models where model_id = $id"
    assert len(catalog.sql(query, {"id": "local/model1"})) == 1
    assert catalog.arrow(query, {"id": "local/model1"}).to_pylist() == [{"step": None}]
    with pytest.raises(QueryError, match="layers_nowhere"):
        catalog.sql("from layers_nowhere")


def test_queries_write_nothing(catalog: zoo.Catalog, tmp_path: Path) -> None:
    with pytest.raises(CatalogError):
        catalog.sql(f"copy (select 1) to '{tmp_path}/x.csv'")
    assert not list(tmp_path.iterdir())


def test_a_model_is_shown_and_two_are_compared(catalog: zoo.Catalog) -> None:
    assert list(catalog.show("model1")["layer_index"]) == [0, 1, 2]
    assert set(catalog.compare("model0", "model1")["presence"]) == {"both"}


@pytest.mark.parametrize("way", ["notebook", "command"])
def test_a_stored_model_has_pictures_without_its_weights(
    way: str, results: Path, catalog: zoo.Catalog, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    if way == "notebook":
        catalog.plot("model1", tmp_path, layers=[1])
    else:
        arguments = ["show", str(results / "cat"), "model1", "--quiet", "--plot", str(tmp_path)]
        assert run([*arguments, "--plot-layers", "layers.1.*"]) == 0
    names = {path.stem for path in tmp_path.iterdir()}
    assert names == {"all_layers", "alpha_by_depth", "funnel", "layer_001_layers.1.weight"}


def test_pictures_of_a_catalog_are_those_of_the_weights(results: Path) -> None:
    from jobs.portraits import VIEWS, stored_layers

    report = zoo.analyze(results / "zoo" / "model1")
    with connect(results / "cat", only=VIEWS) as con:
        name, stored = stored_layers(con, "model1")
    assert name == "local/model1" and len(stored) == len(report.reports)
    for ours, theirs in zip(stored, report.reports, strict=True):
        assert ours.spectrum is not None and theirs.spectrum is not None
        assert (ours.spectrum.true_evals == theirs.spectrum.true_evals).all()
        assert ours.columns["alpha"] == theirs.columns["alpha"]


@pytest.mark.parametrize("command", ["analyze", "show"])
def test_layers_to_draw_need_a_folder(
    command: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = {"analyze": ["zoo/model1"], "show": ["cat", "model1"]}[command]
    arguments = [command, str(results / place[0]), *place[1:], "--plot-layers", "*"]
    assert run(arguments) == 2
    assert "got it without --plot" in capsys.readouterr().err


def test_a_catalog_says_what_it_is(catalog: zoo.Catalog) -> None:
    assert "3 models" in repr(catalog)
    html = catalog._repr_html_()  # type: ignore[attr-defined]
    assert "<table" in html and "local/model2" in html


def test_what_is_no_catalog_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no catalog"):
        zoo.open(tmp_path)


def test_without_pandas_its_extra_is_named(
    catalog: zoo.Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UseError, match=r"spectral-zoo\[notebook\]"):
        catalog.sql("from models")
    assert catalog.arrow("from models").num_rows == 3


def test_importing_zoo_and_naming_open_loads_no_database() -> None:
    code = (
        "import sys, zoo; zoo.open; print([m for m in ('duckdb', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n", done.stderr


def test_a_summary_counts_as_the_leaderboards_do(results: Path) -> None:
    report = zoo.analyze(results / "zoo" / "model1")
    row = report.summary().to_dict()
    with connect(results / "cat", only=("model_scores",)) as con:
        answer = ask_rows(con, "from model_scores where model_id = 'local/model1'")
    scores = answer.to_pylist()[0]
    shared = set(row) & set(scores)
    assert len(shared) >= 12
    for name in shared:
        assert row[name] == (pytest.approx(scores[name]) if scores[name] is not None else None), (
            name
        )


def test_tied_tensors_and_wholes_beside_their_parts_count_once() -> None:
    summary = fused_and_tied().summary()
    assert summary.num_layers_scored == 4  # q, k, v and the embedding
    assert summary.num_layers_failed == 1 and "1 failed: " in str(summary)
    assert repr(summary) == str(summary)


def test_a_summary_of_nothing_has_no_numbers() -> None:
    summary = zoo.analyze({"a.bias": torch.ones(3)}).summary()
    assert summary.mean_alpha is None and summary.total_traps is None
    assert "no layer has a power-law tail" in str(summary)


def test_a_notebook_shows_the_layers_of_a_report() -> None:
    html = fused_and_tied()._repr_html_()
    assert html.count("<tr>") == 1 + len(fused_and_tied().layers)
    assert "<th>alpha</th>" in html and "<th>expert</th>" not in html


def test_names_cannot_inject_markup() -> None:
    generator = torch.Generator().manual_seed(0)
    hostile = {"<script>alert(1)</script>.weight": torch.randn(30, 20, generator=generator)}
    html = zoo.analyze(hostile, options=AnalysisOptions(shuffle="none"))._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;" in html


def test_of_many_layers_a_notebook_shows_some_and_says_so() -> None:
    generator = torch.Generator().manual_seed(0)
    state = {f"l.{i}.weight": torch.randn(6, 5, generator=generator) for i in range(70)}
    html = zoo.analyze(state, options=AnalysisOptions(shuffle="none"))._repr_html_()
    assert html.count("<tr>") == 61 and "60 of 70 layers" in html
