"""Raising a version measures the units that use it anew, beside the old ones, and nothing else."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from catalog.care.check import check
from catalog.care.compact import compact
from catalog.read import views
from catalog.write.commits import Row, commit_unit
from jobs.runners.schedule import UnitDone, UnitFailed
from jobs.sources.target import Target
from jobs.sweep.ledger import Choice, Ledger, Overwrite, _is_of
from jobs.sweep.task_rows import TaskRows
from jobs.units.unit import Unit, unit_of
from tests.catalogs import layer_row, model_row
from tests.conftest import Zoo
from tests.models import weights, write_model
from tests.number_groups import raise_decoder, raise_group
from zoo.measure.row import LayerName, LayerRow, Measured, Outcome, Place, Reading, Stored
from zoo.options import AnalysisOptions, LayerSelection

OPTIONS = AnalysisOptions()


def unit(model_id: str = "org/a", *, options: AnalysisOptions = OPTIONS) -> Unit:
    """A unit as a listing gives it: no header was read."""
    target = Target(model_id, "f" * 40, None, "test")
    return unit_of(target, options, LayerSelection())


def rows(*decoders: str) -> TaskRows:
    """What a worker finds in a model of these decoders: a layer each, which nobody measured."""
    nothing = Measured(shape=None, outcome=Outcome("skipped", "a test"))
    layers = [
        LayerRow(
            LayerName(i, f"{i}.weight", None, None), Place(None, "dense"),
            Stored("F32", name, name != "none", None), nothing, Reading(0.0, 0, 0.0),
        )
        for i, name in enumerate(decoders)
    ]  # fmt: skip
    return TaskRows(
        layers=tuple(layers), traps=(), spectra=(), tensors=(), evaluations=(), facts=None,
        decoders=decoders, bytes_read=0, requests=0, seconds=0.0,
    )  # fmt: skip


class Catalog:
    """Sweeps of one name, whose workers find what the test says."""

    def __init__(self, root: str) -> None:
        self.root = root

    def sweep(
        self, models: dict[str, tuple[str, ...]], *, overwrite: Overwrite = "never",
        do: int | None = None, options: AnalysisOptions = OPTIONS,
    ) -> Choice:  # fmt: skip
        """List the models, measure those that are to be (the first `do`); by decoders."""
        ledger = Ledger(self.root, name="nightly", spec_text="")
        choice = ledger.choose([unit(m, options=options) for m in models], overwrite)
        ledger.begin(choice)
        for todo in choice.todo[:do]:
            ledger.commit(UnitDone(todo, (rows(*models[todo.target.model_id]),)))
        return choice

    def ask(self, query: str) -> list[tuple[object, ...]]:
        with views.connect(self.root) as con:
            return con.execute(query).fetchall()

    def missing(self) -> list[object]:
        return [model for (model,) in self.ask("select model_id from missing order by 1")]


MODELS: dict[str, tuple[str, ...]] = {
    "org/plain": ("none",), "org/four": ("mxfp4", "none"), "org/odd": ("none", "unknown"),
}  # fmt: skip


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """A finished sweep of MODELS."""
    catalog = Catalog(str(tmp_path / "cat"))
    catalog.sweep(MODELS)
    return catalog


def names(units: tuple[Unit, ...]) -> list[str]:
    return [unit.target.model_id for unit in units]


def test_nothing_is_to_be_done_while_no_version_moves(catalog: Catalog) -> None:
    choice = catalog.sweep(MODELS)
    assert (choice.todo, len(choice.done), catalog.missing()) == ((), 3, [])


@pytest.mark.parametrize(
    ("decoder", "users"),
    [("mxfp4", ["org/four"]), ("none", list(MODELS)), ("unknown", ["org/odd"]), ("gptq", [])],
)
def test_a_decoder_is_measured_anew_where_it_is_used(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, decoder: str, users: list[str]
) -> None:
    before = catalog.ask("from layers order by all")
    raise_decoder(monkeypatch, decoder)
    assert names(catalog.sweep(MODELS, do=0).todo) == users
    assert catalog.missing() == sorted(users)
    assert names(catalog.sweep(MODELS).todo) == users
    assert catalog.missing() == []
    assert catalog.sweep(MODELS).todo == ()
    units = "select count(*), count(distinct (model_id, analysis_key)) from models"
    assert catalog.ask(units) == [(3 + len(users), 3 + len(users))]
    assert set(before) <= set(catalog.ask("from layers"))
    assert catalog.ask("select count(*) from models_latest") == [(3,)]
    assert check(catalog.root) == ()


@pytest.mark.parametrize(
    ("group", "options", "is_used"),
    [
        ("tail", AnalysisOptions(), True),
        ("erg", AnalysisOptions(), True),
        ("erg", AnalysisOptions(metrics="tail"), False),
        ("traps", AnalysisOptions(shuffle="none"), False),
        ("tail_models", AnalysisOptions(), False),
        ("tail_models", AnalysisOptions(alternatives=True), True),
    ],
)
def test_a_group_is_measured_anew_where_the_options_ask_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, options: AnalysisOptions,
    is_used: bool,
) -> None:  # fmt: skip
    catalog = Catalog(str(tmp_path / "cat"))
    catalog.sweep(MODELS, options=options)
    raise_group(monkeypatch, group)
    choice = catalog.sweep(MODELS, options=options)
    assert names(choice.todo) == (list(MODELS) if is_used else [])
    assert catalog.sweep(MODELS, options=options).todo == ()


def test_a_new_model_is_done_under_the_key_that_its_decoders_give(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listed before its headers are read, it is stored under another key; no view takes it for missing."""
    raise_decoder(monkeypatch, "fp8")
    both = {**MODELS, "org/eight": ("fp8",)}
    (todo,) = catalog.sweep(both).todo
    (stored,) = catalog.ask("select analysis_key, options_key, decoders, number_versions "
                            "from models where model_id = 'org/eight'")  # fmt: skip
    assert todo.analysis_key == stored[1] != stored[0]
    assert (stored[2], json.loads(str(stored[3]))["decoders"]) == ("fp8", {"fp8": 2})
    assert catalog.missing() == []
    compact(catalog.root, grace_s=0)
    assert (catalog.sweep(both).todo, catalog.missing()) == ((), [])


def test_a_tensor_that_was_refused_and_is_read_now_ends_as_done(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key is not the expected one: that of a model without a refused tensor."""
    raise_decoder(monkeypatch, "unknown")
    read = {**MODELS, "org/odd": ("hqq", "none")}
    assert names(catalog.sweep(read).todo) == ["org/odd"]
    assert catalog.missing() == []
    assert catalog.sweep(read).todo == ()


def test_units_older_than_the_column_are_known_by_their_layers_and_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog(str(tmp_path / "cat"))
    for model, decoders in MODELS.items():
        layers = [
            layer_row(i, decoder=name) for i, name in enumerate(decoders) if name != "unknown"
        ]
        tensor = {"tensor": "w", "fate": "unknown" if "unknown" in decoders else "analysed"}
        row = model_row(model, revision="f" * 40, analysis_key=unit(model).options_key)
        row |= {"layers_analysed": len(layers)}
        commit_unit(catalog.root, model=row, layers=layers, tensors=[tensor])
    for decoder, users in (("mxfp4", ["org/four"]), ("unknown", ["org/odd"]), ("gptq", [])):
        raise_decoder(monkeypatch, decoder)
        assert names(catalog.sweep(MODELS).todo) == users
    assert (catalog.sweep(MODELS).todo, catalog.missing()) == ((), [])


@pytest.mark.parametrize(
    ("stored", "is_of"),
    [
        ('{"numpy": "2", "torch": "2"}', True),
        ('{"numpy": "2", "torch": "2", "base_revision": "f"}', True),  # a row of version 0.1.0
        ('{"numpy": "2", "torch": "2", "refit": {"numpy": "2", "torch": "2"}}', True),
        ('{"numpy": "2", "torch": "2", "refit": {"numpy": "1", "torch": "2"}}', False),
        ('{"numpy": "1", "torch": "2", "refit": {"numpy": "2", "torch": "2"}}', False),
        ('{"numpy": "2"}', False),
        ("nonsense", False),
        ("[]", False),
        (None, False),
    ],
)
def test_a_unit_is_of_today_s_packages_when_all_its_numbers_are(
    stored: str | None, is_of: bool
) -> None:
    assert _is_of(stored, '{"torch": "2", "numpy": "2"}') == is_of


def fail(catalog: Catalog, cause: str = "data") -> None:
    ledger = Ledger(catalog.root, name="nightly", spec_text="")
    choice = ledger.choose([unit("org/torn")], "never")
    ledger.begin(choice)
    for todo in choice.todo:
        ledger.fail(UnitFailed(todo, cause, "HeaderError", "no header", None, 1))


def test_a_failure_stays_closed_until_it_is_asked_for_or_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog(str(tmp_path / "cat"))
    fail(catalog)
    raise_decoder(monkeypatch, "mxfp4")
    torn: dict[str, tuple[str, ...]] = {"org/torn": ("mxfp4",)}
    assert names(catalog.sweep(torn).failed_before) == ["org/torn"]
    assert catalog.ask("select count(*) from failures_open") == [(1,)]
    assert names(catalog.sweep(torn, overwrite="failed").todo) == ["org/torn"]
    assert catalog.ask("select count(*) from failures_open") == [(0,)]
    assert catalog.missing() == []


def test_a_unit_that_fails_under_new_versions_is_tried_again_under_newer_ones(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    raise_decoder(monkeypatch, "mxfp4")
    ledger = Ledger(catalog.root, name="nightly", spec_text="")
    choice = ledger.choose([unit(model) for model in MODELS], "never")
    ledger.begin(choice)
    (todo,) = choice.todo
    ledger.fail(UnitFailed(todo, "bug", "KeyError", "x", None, 1))
    assert catalog.missing() == ["org/four"]
    assert names(catalog.sweep(MODELS, do=0).failed_before) == ["org/four"]
    raise_decoder(monkeypatch, "mxfp4")
    assert names(catalog.sweep(MODELS).todo) == ["org/four"]
    assert catalog.missing() == []


@pytest.mark.parametrize("moment", ["before the rows", "between rows and models", "after"])
def test_killed_at_any_moment_of_a_commit_no_row_is_lost_or_doubled(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Under a key that the next sweep does not know when it begins."""
    raise_decoder(monkeypatch, "fp8")
    both = {**MODELS, "org/eight": ("fp8",)}
    before = catalog.ask("from layers order by all")
    if (child := os.fork()) == 0:
        kill_at(moment)
        catalog.sweep(both)
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    rows_of_it = catalog.ask("select count(*) from layers where model_id = 'org/eight'")
    assert rows_of_it == [(1 if moment == "after" else 0,)]
    assert catalog.missing() == ([] if moment == "after" else ["org/eight"])
    todo = catalog.sweep(both).todo
    assert names(todo) == ([] if moment == "after" else ["org/eight"])
    assert len(catalog.ask("from layers")) == len(before) + 1
    files = [p.name for p in Path(catalog.root, "layers").rglob("*.parquet") if "eight" in p.name]
    assert len(files) == 1
    assert check(catalog.root) == ()


def kill_at(moment: str) -> None:
    """End this process with SIGKILL when a commit comes there."""
    from catalog.files.folder import Folder

    put_all, put = Folder.put_all, Folder.put

    def put_all_or_die(self: Folder, files: dict[tuple[str, ...], memoryview]) -> None:
        if moment == "before the rows" and any(path[0] == "layers" for path in files):
            os.kill(os.getpid(), signal.SIGKILL)
        put_all(self, files)

    def put_or_die(self: Folder, data: bytes, *parts: str) -> str:
        if moment == "between rows and models" and parts[0] == "models":
            os.kill(os.getpid(), signal.SIGKILL)
        return put(self, data, *parts)

    Folder.put_all = put_all_or_die  # type: ignore[method-assign, assignment]
    Folder.put = put_or_die  # type: ignore[method-assign, assignment]


def write_mxfp4(folder: Path) -> None:
    """A stack of two experts as gpt-oss stores them, and a plain matrix."""
    rng = np.random.default_rng(7)
    folder.mkdir(parents=True)
    stem = "model.layers.0.mlp.experts.down_proj"
    save_file(
        {
            f"{stem}_blocks": rng.integers(0, 256, (2, 32, 1, 16), dtype=np.uint8),
            f"{stem}_scales": rng.integers(120, 125, (2, 32, 1), dtype=np.uint8),
            "model.layers.0.mlp.router.weight": rng.standard_normal((20, 32)).astype(np.float32),
        },
        folder / "model.safetensors",
    )
    config: Row = {"model_type": "gpt_oss", "num_local_experts": 2,
                   "quantization_config": {"quant_method": "mxfp4"}}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))


def test_a_real_sweep_measures_the_quantised_model_anew_and_leaves_the_other(
    tmp_path: Path, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path / "zoo" / "plain", weights(1, (30, 20)))
    write_mxfp4(tmp_path / "zoo" / "four")
    catalog = Catalog(str(tmp_path / "cat"))
    spec = tmp_path / "spec.toml"
    spec.write_text("[[source]]\npath = 'zoo/*'\n")
    command = ("sweep", spec, "--out", catalog.root, "-j", 1, "--quiet")
    assert zoo(*command) == 0
    assert catalog.ask("select model_id, decoders, number_versions from models order by 1") == [
        ("local/four", "mxfp4, none", None), ("local/plain", "none", None),
    ]  # fmt: skip
    raise_decoder(monkeypatch, "mxfp4")
    assert zoo(*command) == 0
    assert zoo(*command) == 0
    assert catalog.ask("select model_id, count(*) from models group by 1 order by 1") == [
        ("local/four", 2), ("local/plain", 1),
    ]  # fmt: skip
    assert catalog.ask("select num_done from sweeps order by sweep_id") == [(2,), (1,), (0,)]
    alphas = catalog.ask("select count(*) from layers_latest")
    assert alphas == [(4,)] and catalog.missing() == []
