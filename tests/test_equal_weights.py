"""Equal weights are measured once: a new commit of text, a re-upload, a copy take over the rows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from catalog.care.check import check
from catalog.care.compact import compact
from tests.conftest import Zoo
from tests.hub_folders import CARD, put_model
from tests.models import weights, write_model
from tests.test_sweep import ask, numbers
from zoo.loopback.server import HubServer

KEYS = ("model_id", "revision", "analysis_key", "step")
CARRIED = ("layers", "traps", "spectra", "tensors")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with one model, of layers that trap and are fitted."""
    folder = tmp_path / "zoo"
    tensors = weights(1, (60, 120), (60, 60), (60, 5))
    tensors["layers.0.weight"][3, 4] = 60.0
    write_model(folder / "a", tensors)
    (folder / "a" / "README.md").write_text(CARD)
    return folder


@pytest.fixture
def sweep(tmp_path: Path, models: Path, zoo: Zoo) -> Callable[..., Path]:
    """Sweeps every model of the folder; gives the catalog."""

    def run(*options: object) -> Path:
        assert zoo("sweep", models, "--out", tmp_path / "cat", "-j", 1, *options) == 0
        return tmp_path / "cat"

    return run


def taken(catalog: Path) -> list[tuple[object, ...]]:
    return ask(catalog, "select model_id, measured_at is not null from models order by all")


def without_keys(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{k: v for k, v in row.items() if k not in KEYS} for row in rows]


def copy(models: Path, name: str = "b") -> Path:
    return Path(shutil.copytree(models / "a", models / name))


def test_a_copy_takes_over_every_row_under_its_own_keys(
    models: Path, sweep: Callable[..., Path]
) -> None:
    before = {table: numbers(sweep(), table) for table in CARRIED}
    copy(models)
    catalog = sweep()
    ((revision,),) = ask(catalog, "select revision from models where model_id = 'local/a'")
    said = ask(catalog, "select measured_at from models where model_id = 'local/b'")
    assert said == [(f"local/a@{revision}",)]
    for table in CARRIED:
        rows = numbers(catalog, table)
        ours = [row for row in rows if row["model_id"] == "local/b"]
        assert ours and without_keys(ours) == without_keys(before[table])
    assert check(str(catalog)) == ()


def test_a_copy_is_described_by_its_own_card(models: Path, sweep: Callable[..., Path]) -> None:
    sweep()
    card = CARD.replace("license: mit", "license: gpl").replace("value: 0.5", "value: 0.75")
    (copy(models) / "README.md").write_text(card)
    catalog = sweep()
    assert taken(catalog) == [("local/a", False), ("local/b", True)]
    rows = ask(catalog, "select name, licence, family from models order by model_id")
    assert rows == [("a", "mit", "mlp"), ("b", "gpl", "mlp")]
    assert ask(catalog, "select value from evaluations order by model_id") == [(0.5,), (0.75,)]


def test_measured_and_taken_over_models_have_equal_rows(
    models: Path, sweep: Callable[..., Path], tmp_path: Path, zoo: Zoo
) -> None:
    """But for where they were measured, and what it took."""
    sweep()
    copy(models)
    catalog = sweep()
    assert zoo("sweep", models / "b", "--out", tmp_path / "alone", "-j", 1) == 0
    own = {"sweep_id", "measured_at", "source"}
    (one,) = [row for row in numbers(catalog, "models") if row["model_id"] == "local/b"]
    (two,) = numbers(tmp_path / "alone", "models")
    assert {k: v for k, v in one.items() if k not in own} == {
        k: v for k, v in two.items() if k not in own
    }


def test_settings_that_may_change_the_reading_are_measured_again(
    models: Path, sweep: Callable[..., Path]
) -> None:
    sweep()
    (copy(models) / "quantize_config.json").write_text(json.dumps({"bits": 4}))
    assert taken(sweep()) == [("local/a", False), ("local/b", False)]


def test_settings_that_decide_no_number_may_differ(
    models: Path, sweep: Callable[..., Path]
) -> None:
    sweep()
    config = {"_name_or_path": "elsewhere", "transformers_version": "9", "model_type": "mlp"}
    (copy(models) / "config.json").write_text(json.dumps(config))
    assert taken(sweep()) == [("local/a", False), ("local/b", True)]


def test_another_weight_is_measured(models: Path, sweep: Callable[..., Path]) -> None:
    sweep()
    copy(models)
    write_model(models / "b", weights(2, (60, 120), (60, 60), (60, 5)))
    assert taken(sweep()) == [("local/a", False), ("local/b", False)]


def test_other_options_are_measured(
    models: Path, sweep: Callable[..., Path], zoo: Zoo, tmp_path: Path
) -> None:
    spec = tmp_path / "tail.toml"
    spec.write_text("[[source]]\npath = 'zoo/*'\n[layers]\nmetrics = 'tail'\n")
    assert zoo("sweep", spec, "--out", tmp_path / "cat", "-j", 1) == 0
    copy(models)
    assert sorted(taken(sweep())) == [("local/a", False)] * 2 + [("local/b", True)]


def test_of_equal_weights_in_one_sweep_the_first_is_measured(
    models: Path, sweep: Callable[..., Path]
) -> None:
    copy(models)
    copy(models, "c")
    flags = [is_taken for _, is_taken in taken(sweep())]
    assert sorted(flags) == [False, True, True]


def test_after_a_compaction_rows_are_taken_over_from_the_merged_files(
    models: Path, sweep: Callable[..., Path]
) -> None:
    compact(str(sweep()), grace_s=0)
    copy(models)
    catalog = sweep()
    assert taken(catalog) == [("local/a", False), ("local/b", True)]
    assert check(str(catalog)) == ()


def test_overwrite_always_measures_again(models: Path, sweep: Callable[..., Path]) -> None:
    sweep()
    copy(models)
    sweep()
    assert taken(sweep("--overwrite", "always")) == [("local/a", False), ("local/b", False)]


def test_status_counts_what_was_taken_over_and_pays_for_it_once(
    models: Path, sweep: Callable[..., Path], zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep()
    copy(models)
    catalog = sweep()
    assert "1 done (1 of equal weights taken over)" in capsys.readouterr().err
    assert zoo("status", catalog, "--format", "json") == 0
    facts = {row["item"]: row["value"] for row in json.loads(capsys.readouterr().out)}
    assert facts["taken over from equal weights"] == 1 and facts["done"] == 2
    ((nbytes,),) = ask(catalog, "select bytes_analysed from models where model_id = 'local/a'")
    assert facts["analysed"] == nbytes


def test_new_text_on_the_hub_costs_no_byte_of_a_weight(
    tmp_path: Path, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = tmp_path / "shelf"
    names = [f"m{number}" for number in range(12)]
    for seed, name in enumerate(names):
        put_model(shelf / "acme" / name, seed=seed)
    spec = tmp_path / "spec.toml"
    spec.write_text("[[source]]\nquery = { author = 'acme' }\n")
    with HubServer(shelf, redirect=True) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert zoo("sweep", spec, "--out", tmp_path / "cat", "-j", 1) == 0
        for name in names:
            (shelf / "acme" / name / "README.md").write_text(CARD.replace("mit", "gpl"))
        put_model(shelf / "acme" / "again", seed=3)  # a re-upload under another id
        before = len(hub.requests)
        assert zoo("sweep", spec, "--out", tmp_path / "cat", "-j", 1) == 0
        asked = list(hub.requests)[before:]
    assert not [r.path for r in asked if r.path.endswith(".safetensors")]
    assert sum(r.bytes_sent for r in asked if "/resolve/" in r.path) < 13 * 2_000
    query = "select count(*) filter (measured_at is not null), count(*) from models"
    assert ask(tmp_path / "cat", query) == [(13, 25)]
    latest = "select distinct licence from models_latest where is_final and name <> 'again'"
    assert ask(tmp_path / "cat", latest) == [("gpl",)]


def test_a_refit_keeps_what_the_measurement_took_and_status_pays_once(
    models: Path, sweep: Callable[..., Path], zoo: Zoo, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    catalog = sweep()
    spec = tmp_path / "refit.toml"
    spec.write_text("[[source]]\npath = 'zoo/*'\n[tail]\nbootstrap = 5\n")
    assert zoo("refit", catalog, "--spec", spec, "-j", 1) == 0
    facts = "seconds, bytes_read, requests"
    query = f"select {facts} from models order by committed_at"
    before, after = ask(catalog, query)
    assert before == after and ask(catalog, f"select {facts} from models_latest") == [before]
    assert ask(catalog, "select count(measured_at) from models_latest") == [(1,)]
    capsys.readouterr()
    assert zoo("status", catalog, "--format", "json") == 0
    told = {row["item"]: row["value"] for row in json.loads(capsys.readouterr().out)}
    assert told["fetched"] == before[1] and told["taken over from equal weights"] == 0


def test_differences_to_a_base_are_taken_over_under_the_id_of_the_own_base(
    tmp_path: Path, zoo: Zoo
) -> None:
    """A fine-tune and its base, both copied: no layer is measured again, nor is one of W − W_base."""
    base = weights(1, (60, 40))
    tuned = {name: weight + 0.1 * weights(2, (60, 40))[name] for name, weight in base.items()}
    sources = ""
    for suffix in ("", "2"):
        write_model(tmp_path / f"base{suffix}", base)
        write_model(tmp_path / f"tuned{suffix}", tuned)
        sources += f"[[source]]\npath = 'tuned{suffix}'\nbase = 'base{suffix}'\n"
    (tmp_path / "base2" / "README.md").write_text(CARD)  # another revision of the base
    spec = tmp_path / "spec.toml"
    spec.write_text(f"{sources}[layers]\ndeltas = true\n")
    assert zoo("sweep", spec, "--out", tmp_path / "cat", "-j", 1) == 0
    query = (
        "select model_id, delta_base, frobenius_norm_sq from layers where delta_base is not null"
    )
    (one, two) = sorted(ask(tmp_path / "cat", query), key=str)
    assert (one[:2], two[:2]) == (("local/tuned", "local/base"), ("local/tuned2", "local/base2"))
    assert one[2] == two[2] and sorted(flag for _, flag in taken(tmp_path / "cat")) == [False, True]
    own = "select count(distinct base_revision), min(deltas_analysed) from models"
    assert ask(tmp_path / "cat", own) == [(2, 1)]
