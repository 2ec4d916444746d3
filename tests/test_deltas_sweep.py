"""W − W_base in sweeps: which base, under which key, in which rows, and never in a model's scores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from jobs.spec.load import load_spec
from jobs.units.listed import units_of
from jobs.units.plan import plan_unit
from tests.conftest import Zoo
from tests.hub_folders import fresh_session
from tests.test_deltas import Q, heavy, normal, put
from tests.test_sweep import ask
from zoo.loopback.server import HubServer

NORMS = "select tensor, frobenius_norm_sq, delta_base from layers order by layer_index"
BASE = {Q: normal(60, 40), "model.norm.weight": normal(40), "lm_head.weight": normal(50, 40)}
TUNED = {**BASE, Q: BASE[Q] + 0.02 * heavy(60, 40, seed=1)}


def norm_of(matrix: torch.Tensor) -> float:
    return float(matrix.double().square().sum())


APART = norm_of(TUNED[Q] - BASE[Q])


@pytest.fixture(autouse=True)
def _no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with fresh_session():
        yield


def spec_of(tmp_path: Path, *sources: str, more: str = "") -> Path:
    path = tmp_path / "spec.toml"
    listed = "".join(f"[[source]]\n{source}\n" for source in sources)
    path.write_text(f"{listed}[layers]\ndeltas = true\n{more}")
    return path


def card(folder: Path, **fields: object) -> Path:
    text = "\n".join(f"{key}: {json.dumps(value)}" for key, value in fields.items())
    (folder / "README.md").write_text(f"---\n{text}\n---\n")
    return folder


def swept(tmp_path: Path, zoo: Zoo, spec: Path, status: int = 0) -> Path:
    cat = tmp_path / "cat"
    assert zoo("sweep", spec, "--out", cat, "-j", 1) == status
    return cat


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A base and its fine-tune in two folders, and a spec of the latter."""
    put(tmp_path / "base", BASE)
    put(tmp_path / "tuned", TUNED)
    return spec_of(tmp_path, "path = 'tuned'\nbase = 'base'")


def test_rows_of_the_difference_stand_beside_those_of_the_model(
    tmp_path: Path, zoo: Zoo, pair: Path
) -> None:
    cat = swept(tmp_path, zoo, pair)
    rows = ask(cat, NORMS)
    assert [(tensor, base) for tensor, _, base in rows] == [
        ("lm_head.weight", None), (Q, None), ("lm_head.weight", "local/base"), (Q, "local/base"),
    ]  # fmt: skip
    assert rows[3][1] == pytest.approx(APART, rel=1e-6)
    assert ask(cat, "select status, reason from layers where layer_index = 2") == [
        ("skipped", "equal to the base")
    ]
    (revision,) = (unit.target.base_revision for unit in units_of(load_spec(pair)[0]))
    assert ask(
        cat, "select base_revision, base_model, layers_analysed, layers_skipped, "
        "deltas_analysed, deltas_skipped, deltas_failed from models"
    ) == [(revision, "local/base", 2, 0, 1, 1, 0)]  # fmt: skip
    for table in ("traps", "spectra"):
        named = ask(cat, f"select distinct delta_base from {table} where layer_index > 1")
        assert named in ([], [("local/base",)])
    assert zoo("check", cat) == 0


def test_no_board_and_no_view_of_a_model_knows_of_its_difference(
    tmp_path: Path, zoo: Zoo, pair: Path
) -> None:
    cat = swept(tmp_path, zoo, pair)
    alone = tmp_path / "alone"
    assert zoo("sweep", tmp_path / "tuned", "--out", alone, "-j", 1) == 0
    views = ("model_scores", "leaderboard_traps", "leaderboard_alpha", "leaderboard_alignment")
    for view in views:
        query = f"select columns('^(model_id|.*(layers|alpha|traps|erg|norm|rank|excess).*)$') from {view}"
        assert ask(cat, query) == ask(alone, query)
    for view in ("layers_latest", "weightwatcher"):
        assert ask(cat, f"select count(*) from {view}") == [(2,)]
    assert ask(cat, "select count(*), min(delta_base) from delta_layers") == [(2, "local/base")]


def test_show_keeps_them_apart(
    tmp_path: Path, zoo: Zoo, pair: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cat = swept(tmp_path, zoo, pair)
    capsys.readouterr()
    assert zoo("show", cat, "tuned", "--format", "json") == 0
    shown = capsys.readouterr()
    assert len(json.loads(shown.out)) == 2
    assert "2 layers minus those of the base local/base@" in shown.err
    assert zoo("show", cat, "tuned", "--deltas", "--format", "json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["delta_base"] for row in rows] == ["local/base"] * 2


def test_another_base_is_another_unit(tmp_path: Path, zoo: Zoo, pair: Path) -> None:
    cat = swept(tmp_path, zoo, pair)
    swept(tmp_path, zoo, pair)
    assert ask(cat, "select count(*) from models") == [(1,)]
    (tmp_path / "base" / "model.safetensors").unlink()
    (tmp_path / "base" / "config.json").unlink()
    (tmp_path / "base").rmdir()
    put(tmp_path / "base", {**BASE, Q: BASE[Q] + 1.0})
    swept(tmp_path, zoo, pair)
    assert ask(cat, "select count(distinct analysis_key), count(distinct base_revision) from models") == [
        (2, 2)
    ]  # fmt: skip


def test_a_refit_gives_the_same_tails_above_the_rounding(tmp_path: Path, zoo: Zoo) -> None:
    start = normal(120, 80, scale=0.02).bfloat16()
    update = 0.002 * heavy(120, 40, seed=1) @ normal(40, 80, seed=2) / 40
    put(tmp_path / "base", {Q: start})
    put(tmp_path / "tuned", {Q: (start.float() + update).bfloat16()})
    cat = swept(tmp_path, zoo, spec_of(tmp_path, "path = 'tuned'\nbase = 'base'"))
    ((above, tail),) = ask(
        cat, "select delta_num_above_noise, num_tail from delta_layers where alpha is not null"
    )
    assert tail <= above < 80  # type: ignore[operator]
    assert zoo("refit", cat) == 0
    assert ask(cat, "select count(*) from sweeps where name = 'refit'") == [(0,)]


def test_a_model_without_a_base_keeps_its_key(tmp_path: Path, zoo: Zoo) -> None:
    put(tmp_path / "base", BASE)
    plain = tmp_path / "plain.toml"
    plain.write_text("[[source]]\npath = 'base'\n")
    cat = swept(tmp_path, zoo, plain)
    swept(tmp_path, zoo, spec_of(tmp_path, "path = 'base'"))
    assert ask(cat, "select count(*), max(deltas_analysed) from models") == [(1, None)]


def test_the_base_may_be_another_source(tmp_path: Path, zoo: Zoo) -> None:
    put(tmp_path / "base", BASE)
    card(put(tmp_path / "tuned", TUNED), base_model="lab/base")
    spec = spec_of(tmp_path, "path = 'base'\nname = 'lab'", "path = 'tuned'")
    cat = swept(tmp_path, zoo, spec)
    assert ask(cat, "select model_id, count(*) from delta_layers group by 1") == [
        ("local/tuned", 2)
    ]


@pytest.mark.parametrize("by", ["card", "config", "option"])
def test_base_and_fine_tune_on_the_hub_are_pinned(tmp_path: Path, zoo: Zoo, by: str) -> None:
    shelf = tmp_path / "shelf" / "lab"
    put(shelf / "base", BASE)
    named = {"_name_or_path": "lab/base"} if by == "config" else {}
    tuned = put(shelf / "tuned", TUNED, **named)
    if by == "card":
        card(tuned, base_model=["lab/base"])
    option = "\nbase = 'lab/base@main'" if by == "option" else ""
    with HubServer(tmp_path / "shelf") as hub:
        source = f"hub = 'lab/tuned'\nendpoint = '{hub.url}'{option}"
        cat = swept(tmp_path, zoo, spec_of(tmp_path, source))
        paths = [r.path for r in hub.requests if r.path.endswith(".safetensors")]
    ((norm, base, revision),) = ask(
        cat, "select frobenius_norm_sq, delta_base, base_revision from delta_layers "
        "join models using (model_id) where status = 'ok'"
    )  # fmt: skip
    assert (norm, base) == (pytest.approx(APART, rel=1e-6), "lab/base")
    assert any(f"/lab/base/resolve/{revision}/" in path for path in paths)


def test_a_base_that_is_not_there_is_a_failure_with_words(tmp_path: Path, zoo: Zoo) -> None:
    card(put(tmp_path / "shelf" / "lab" / "tuned", TUNED), base_model="lab/gone")
    with HubServer(tmp_path / "shelf") as hub:
        source = f"hub = 'lab/tuned'\nendpoint = '{hub.url}'"
        cat = swept(tmp_path, zoo, spec_of(tmp_path, source), status=1)
    ((cause, message),) = ask(cat, "select cause, message from failures")
    assert cause == "hub_permanent"
    assert "base model" in str(message) and "'lab/gone' is named by its card" in str(message)


@pytest.mark.parametrize(
    ("config", "names", "words"),
    [
        ({}, None, "neither its card nor its config names one"),
        (
            {"_name_or_path": "/data/run/7"},
            None,
            "its config.json names '/data/run/7', a path of another machine",
        ),
        ({}, ["lab/a", "lab/b"], "its card names 2: lab/a, lab/b"),
    ],
)
def test_a_base_that_is_not_known_is_said(
    tmp_path: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str],
    config: dict[str, object], names: list[str] | None, words: str,
) -> None:  # fmt: skip
    folder = put(tmp_path / "tuned", TUNED, **config)
    if names:
        card(folder, base_model=names)
    cat = swept(tmp_path, zoo, spec_of(tmp_path, "path = 'tuned'"))
    assert (
        f"without deltas, as no base model is known: local/tuned ({words})"
        in capsys.readouterr().err
    )
    assert ask(cat, "select count(*), max(deltas_analysed) from layers, models") == [(2, None)]


def test_the_plan_counts_both_and_its_account_adds_up(
    tmp_path: Path, zoo: Zoo, pair: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (unit,) = units_of(load_spec(pair)[0])
    unit_plan = plan_unit(unit)
    files = [*(tmp_path / "base").iterdir(), *(tmp_path / "tuned").iterdir()]
    assert sum(row.nbytes for row in unit_plan.account) == sum(f.stat().st_size for f in files)
    assert unit_plan.nbytes == 2 * 4 * (60 * 40 + 50 * 40)
    assert unit_plan.num_params == sum(t.numel() for t in TUNED.values())
    assert zoo("plan", pair) == 0
    assert "2 of the layers minus the base local/base@" in capsys.readouterr().out


def test_every_tensor_of_the_base_is_accounted_for(tmp_path: Path, zoo: Zoo, pair: Path) -> None:
    cat = swept(tmp_path, zoo, pair)
    rows = ask(cat, "select tensor, fate, reason from tensors where starts_with(tensor, '@base.')")
    assert {name: fate for name, fate, _ in rows} == {
        f"@base.{Q}": "companion", "@base.lm_head.weight": "companion",
        "@base.model.norm.weight": "skipped",
    }  # fmt: skip


def test_a_base_that_changes_is_listed_again(tmp_path: Path, zoo: Zoo, pair: Path) -> None:
    """What was measured belongs to the revisions that were listed, of both."""
    (unit,) = units_of(load_spec(pair)[0])
    assert [origin.path for origin in unit.target.origins] == [
        str(tmp_path / "tuned"), str(tmp_path / "base"),
    ]  # fmt: skip


def test_adapters_merged_and_deltas_exclude_each_other(
    tmp_path: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path / "tuned", TUNED)
    spec = spec_of(tmp_path, "path = 'tuned'", more="adapters = 'merged'\n")
    assert zoo("plan", spec) == 2
    assert "wanted adapters = 'delta'" in capsys.readouterr().err


def test_analyze_prints_them_with_the_id_of_the_base(
    tmp_path: Path, zoo: Zoo, pair: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("analyze", tmp_path / "tuned", "--base", tmp_path / "base")
    assert zoo(*command, "--format", "json") == 0
    shown = capsys.readouterr()
    rows = json.loads(shown.out)
    assert [row["delta_base"] for row in rows] == [None, None, "local/base", "local/base"]
    assert rows[3]["frobenius_norm_sq"] == pytest.approx(APART, rel=1e-6)
    assert "layers: 1 equal to the base, 1 ok" in shown.err
    assert zoo(*command, "--format", "parquet", "--out", tmp_path / "rows.parquet") == 0
    assert zoo("analyze", tmp_path / "tuned", "--base", tmp_path / "nowhere") == 2


def test_a_glob_that_holds_the_base_measures_it_alone(tmp_path: Path, zoo: Zoo) -> None:
    put(tmp_path / "zoo" / "base", BASE)
    put(tmp_path / "zoo" / "tuned", TUNED)
    cat = swept(tmp_path, zoo, spec_of(tmp_path, "path = 'zoo/*'\nbase = 'zoo/base'"))
    assert ask(cat, "select model_id, deltas_analysed from models order by 1") == [
        ("local/base", None), ("local/tuned", 1),
    ]  # fmt: skip


def test_a_hub_gives_each_byte_of_both_once(tmp_path: Path, zoo: Zoo) -> None:
    base = {f"layers.{i}.weight": normal(400, 300, seed=i) for i in range(4)}
    put(tmp_path / "shelf" / "lab" / "base", base)
    tuned = {name: t + 0.1 * normal(400, 300, seed=9) for name, t in base.items()}
    put(tmp_path / "shelf" / "lab" / "tuned", tuned)
    with HubServer(tmp_path / "shelf") as hub:
        source = f"hub = 'lab/tuned'\nbase = 'lab/base'\nendpoint = '{hub.url}'"
        spec = spec_of(tmp_path, source, more="metrics = 'tail'\n")
        cat = swept(tmp_path, zoo, spec)
    ((read, analysed),) = ask(cat, "select bytes_read, bytes_analysed from models")
    assert analysed == 2 * 4 * 400 * 300 * 4
    assert read <= 1.02 * analysed  # type: ignore[operator]
