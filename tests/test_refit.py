"""Refit: the same numbers from stored spectra, other numbers where the options say so."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from catalog.care.compact import compact
from catalog.read import views
from catalog.schema import TABLES, UNIT_TABLES
from catalog.write import commits
from catalog.write.commits import commit_unit
from jobs.refit.columns import EXTRAS, OWN, RAND, TRAP_TEST, Change, refit_layer, trap_rows
from jobs.spec.load import load_spec
from jobs.units.key import options_key
from tests.conftest import Zoo
from tests.models import small_zoo
from tests.number_groups import raise_decoder, raise_group
from zoo.cells import cells
from zoo.columns import names_of
from zoo.measure.layer import LayerMeasures, measure_layer
from zoo.options import AnalysisOptions
from zoo.spectral.shuffled import TrapSummary
from zoo.spectral.spectrum import Spectrum

UNTOUCHED = ("sweep_id", "committed_at", "versions", "parts")


def rows(catalog: Path, table: str) -> list[dict[str, object]]:
    """All rows of a view, without what a new commit changes."""
    with views.connect(catalog) as con:
        found = con.sql(f"from {table}").to_arrow_table().to_pylist()
    plain = [{k: v for k, v in row.items() if k not in UNTOUCHED} for row in found]
    return sorted(plain, key=lambda r: json.dumps(r, sort_keys=True, default=str))


def ask(catalog: Path, query: str) -> list[tuple[object, ...]]:
    with views.connect(catalog) as con:
        return con.execute(query).fetchall()


def spoil(catalog: Path, model_id: str, **columns: object) -> None:
    """Commit a unit again with other values in the row of its first layer."""
    with views.connect(catalog) as con:
        (model,), *others = (
            con.sql(f"from {table} where model_id = ?", params=[model_id])
            .to_arrow_table()
            .to_pylist()
            for table in ("models", *UNIT_TABLES)
        )
    tables = dict(zip(UNIT_TABLES, others, strict=True))
    tables["layers"][0].update(columns)
    commit_unit(str(catalog), model=model, **tables)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with spec and catalog: dense, square, small, pooled, float64, scaled and broken layers."""
    root = tmp_path_factory.mktemp("refit")
    spec = small_zoo(root, models=2, side=60)
    rng = np.random.default_rng(5)
    planted = rng.standard_normal((300, 120)).astype(np.float32)
    planted[5, 7] = 40.0
    dead = rng.standard_normal((50, 40)).astype(np.float32)
    dead[0, 0] = np.nan
    (root / "zoo" / "odd").mkdir()
    save_file(
        {
            "a.weight": rng.standard_normal((150, 130)),
            "b.weight": planted,
            "c.weight": (1e30 * rng.standard_normal((150, 110))).astype(np.float32),
            "conv.weight": rng.standard_normal((32, 24, 3, 3)).astype(np.float32),
            "dead.weight": dead,
            "flat.weight": np.zeros((30, 30), np.float32),
            "rank.weight": np.outer(np.arange(40.0), np.ones(30)).astype(np.float32),
        },
        root / "zoo" / "odd" / "model.safetensors",
    )
    from jobs.__main__ import run

    assert run(["sweep", str(spec), "--out", str(root / "cat"), "-j", "1", "--quiet"]) == 0
    return root


@pytest.fixture
def sweep(original: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    import shutil

    shutil.copytree(original, tmp_path / "copy")
    return tmp_path / "copy"


def test_unchanged_options_move_no_bit_and_write_nothing(
    sweep: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    cat = sweep / "cat"
    before = {p: p.stat().st_mtime_ns for p in cat.rglob("*.parquet")}
    assert zoo("refit", cat, "--format", "json") == 0
    said = capsys.readouterr()
    found = {row["column"]: row for row in json.loads(said.out)}
    assert [name for name, row in found.items() if row["moved"]] == []
    assert set(OWN) | set(RAND) == set(found)
    assert found["alpha"]["compared"] == 12
    assert "0 numbers moved" in said.err
    assert {p: p.stat().st_mtime_ns for p in cat.rglob("*.parquet")} == before


def test_every_column_of_a_layer_is_recomputed_or_known_to_be_carried_over() -> None:
    carried = """
        layer_index tensor part block role expert step num_rows num_cols n m q receptive_field
        num_evals num_params stored_dtype decoder is_dequantised tied_to status reason
        weight_mean weight_std weight_kurtosis weight_max_abs l2_norm abs_weight_entropy
        rand_lambda_max num_traps_ww farms_alpha farms_alpha_hill read_s spectrum_s shuffle_s total_s bytes_read device
        solver permutation batch_size
        delta_base delta_relative delta_changed delta_noise_share delta_noise_edge delta_num_above_noise
        delta_base_tensor delta_base_dtype num_active_traps
        sweep_id model_id revision analysis_key
        """.split()
    names = [column.name for column in TABLES["layers"].columns]
    assert sorted(names) == sorted([*carried, *OWN, *EXTRAS, *RAND, *TRAP_TEST])


def test_spoilt_numbers_are_mended_to_the_last_bit(sweep: Path, zoo: Zoo) -> None:
    cat = sweep / "cat"
    tables = ("layers", "traps", "spectra", "evaluations", "tensors", "models")
    before = {table: rows(cat, table) for table in tables}
    spoil(cat, "local/model1", alpha=9.0, mp_sigma=None, tail_status="too_few", rand_distance=0.5)
    assert rows(cat, "layers") != before["layers"]
    assert zoo("refit", cat) == 0
    assert {table: rows(cat, table) for table in tables} == before


def test_only_units_whose_numbers_moved_are_written(
    sweep: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    cat = sweep / "cat"
    spoil(cat, "local/model1", alpha=9.0)
    capsys.readouterr()
    zoo("refit", cat, "--format", "json")
    said = capsys.readouterr()
    moved = {r["column"]: r["moved"] for r in json.loads(said.out) if r["moved"]}
    assert moved == {"alpha": 1}
    assert "1 units written" in said.err
    assert ask(cat, "select count(*), count(distinct sweep_id) from models") == [(3, 2)]
    assert ask(cat, "select status, num_done from sweeps where name = 'refit'") == [("done", 1)]


def test_a_dry_run_says_the_same_and_writes_nothing(
    sweep: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    cat = sweep / "cat"
    spoil(cat, "local/model1", alpha=9.0)
    spoilt = rows(cat, "layers")
    capsys.readouterr()
    assert zoo("refit", cat, "--dry-run", "--format", "json") == 0
    said = capsys.readouterr()
    assert {r["column"] for r in json.loads(said.out) if r["moved"]} == {"alpha"}
    assert "would be written" in said.err
    assert rows(cat, "layers") == spoilt
    assert ask(cat, "select count(*) from sweeps where name = 'refit'") == [(0,)]


def test_a_compacted_catalog_is_refitted_as_well(sweep: Path, zoo: Zoo) -> None:
    cat = sweep / "cat"
    before = rows(cat, "layers")
    spoil(cat, "local/model0", alpha=9.0)
    compact(str(cat), grace_s=0.0)
    assert zoo("refit", cat) == 0
    assert rows(cat, "layers") == before
    compact(str(cat), grace_s=0.0)
    assert zoo("refit", cat) == 0
    assert rows(cat, "layers") == before


def test_two_workers_find_what_one_finds(
    sweep: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.refit.run.POOL_ABOVE", 0)
    cat = sweep / "cat"
    spoil(cat, "local/model1", alpha=9.0)
    capsys.readouterr()
    zoo("refit", cat, "--dry-run", "--format", "csv", "-j", 1)
    one = capsys.readouterr().out
    zoo("refit", cat, "--dry-run", "--format", "csv", "-j", 2)
    assert capsys.readouterr().out == one


def test_other_tail_options_give_the_unit_that_a_sweep_with_them_gives(
    sweep: Path, zoo: Zoo
) -> None:
    spec = sweep / "spec.toml"
    tail = "[tail]\nclip_fingers = true\nalternatives = true\nbootstrap = 5\n"
    spec.write_text(spec.read_text() + tail)
    assert zoo("refit", sweep / "cat", "--spec", spec) == 0
    assert zoo("sweep", spec, "--out", sweep / "fresh", "-j", 1) == 0
    timed = ("read_s", "spectrum_s", "shuffle_s", "total_s")
    fresh = {r["analysis_key"] for r in rows(sweep / "fresh", "layers")}
    latest = rows(sweep / "cat", "layers_latest")
    assert {r["analysis_key"] for r in latest} == fresh
    assert any(r["gof_p_value"] is not None and r["tpl_alpha"] is not None for r in latest)
    strip = [[{k: v for k, v in r.items() if k not in timed} for r in found]
             for found in (latest, rows(sweep / "fresh", "layers"))]  # fmt: skip
    order = lambda r: (r["model_id"], r["layer_index"])  # noqa: E731
    assert sorted(strip[0], key=order) == sorted(strip[1], key=order)
    assert zoo("sweep", spec, "--out", sweep / "cat", "-j", 1) == 0
    assert ask(sweep / "cat", "select count(*) from models") == [(6,)]


def as_stored(found: LayerMeasures) -> tuple[dict[str, object], Spectrum, Spectrum | None]:
    """What the catalog knows of a measured layer."""
    assert found.spectrum is not None
    names = {"revision": "revision", "tensor": "tensor", "part": None, "expert": None}
    row = {**names, **found.columns, "stored_dtype": "F32", "delta_base_dtype": None}
    return row, found.spectrum, found.rand_spectrum


def near(found: object, true: object, relative: float) -> bool:
    """Equal, or both numbers that differ by little."""
    if isinstance(found, float) and isinstance(true, float):
        return found == pytest.approx(true, rel=relative, abs=1e-12)
    return found == true


def matrix(kind: str) -> torch.Tensor:
    """One 400 x 150 layer: noise, a few planted entries, heavy tails, or far from one."""
    rng = np.random.default_rng(11)
    w = rng.standard_normal((400, 150))
    if kind == "planted":
        w[rng.integers(0, 400, 4), rng.integers(0, 150, 4)] = (60.0, 45.0, 30.0, 25.0)
    if kind == "laplace":
        w = rng.laplace(size=w.shape)
    return torch.from_numpy((w * (3e-27 if kind == "tiny" else 1.0)).astype(np.float32))[None]


@pytest.mark.parametrize("kind", ["noise", "planted", "laplace", "tiny"])
@pytest.mark.parametrize("level", [0.45, 0.05, 0.0001])
def test_another_level_gives_the_traps_of_a_measurement_at_that_level(
    kind: str, level: float
) -> None:
    weights, key = matrix(kind), ("tensor", "", "", "shape")
    stored = AnalysisOptions(replicates=1)
    before = measure_layer(weights, options=stored, seed_key=key, storage_bits=32)
    options = replace(stored, level=level)
    truth = measure_layer(weights, options=options, seed_key=key, storage_bits=32)
    found = refit_layer(*as_stored(before), Change(stored, options))
    assert found.test is not None
    assert found.columns["trap_counts"] == truth.columns["trap_counts"]
    for name in (*names_of(TrapSummary), *RAND):
        assert near(found.columns[name], truth.columns[name], 1e-5), name
    rows = trap_rows([cells(trap) for trap in before.traps], found.test, found.trap_exponent)
    assert [r["trap_index"] for r in rows] == [trap.trap_index for trap in truth.traps]
    for row, true in zip(rows, map(cells, truth.traps), strict=True):
        for name in ("eigenvalue", "excess_rel", "p_value"):
            assert near(row[name], true[name], 1e-3), name


def test_a_layer_that_would_be_shuffled_again_at_another_level_is_not_decided() -> None:
    weights, options = matrix("noise"), AnalysisOptions()
    measures = [
        measure_layer(weights, options=options, seed_key=(str(i), "", "", ""), storage_bits=32)
        for i in range(8)
    ]
    p_values = [layer.measured.shuffles.test.trap_p_value for layer in measures]  # type: ignore[union-attr]
    assert (
        min(p_values) < 0.45 < max(p_values)
    )  # the largest p of a first shuffle that asks for more
    for layer, p_value in zip(measures, p_values, strict=True):
        found = refit_layer(*as_stored(layer), Change(options, AnalysisOptions(level=0.045)))
        assert (found.test is None) == (p_value <= 0.45)


def test_traps_of_pooled_and_of_repeated_shuffles_are_not_guessed_at_another_level() -> None:
    rng = np.random.default_rng(2)
    for shape in ((9, 150, 120), (1, 200, 60)):
        weights = torch.from_numpy(rng.standard_normal(shape))
        before = measure_layer(
            weights, options=AnalysisOptions(), seed_key=("r", "t", "", ""), storage_bits=32
        )
        found = refit_layer(
            *as_stored(before), Change(AnalysisOptions(), AnalysisOptions(level=0.1))
        )
        assert found.is_retested and found.test is None
        assert [found.columns[name] for name in TRAP_TEST] == [None] * len(TRAP_TEST)
        assert "need the weights" in str(found.columns["reason"])


def test_traps_that_are_not_decided_take_no_other_reason_away() -> None:
    rng = np.random.default_rng(2)
    weights = torch.from_numpy(1e200 * rng.standard_normal((1, 200, 60)))
    before = measure_layer(
        weights, options=AnalysisOptions(), seed_key=("r", "t", "", ""), storage_bits=64
    )
    row, own, rand = as_stored(before)
    assert str(row["reason"]).startswith("out_of_range: lambda_max")
    for level in (0.1, 0.2):  # the second one starts from what the first one left
        change = Change(AnalysisOptions(level=level / 2), AnalysisOptions(level=level))
        found = refit_layer({**row, "stored_dtype": "F64"}, own, rand, change)
        why = f"traps at level {level:g} need the weights"
        assert str(found.columns["reason"]).startswith(f"{before.columns['reason']}; {why}")
        assert str(found.columns["reason"]).count("traps at level") == 1
        row |= found.columns


def test_a_refit_to_another_level_is_a_unit_that_no_sweep_takes_for_its_own(
    sweep: Path, zoo: Zoo
) -> None:
    path, cat = sweep / "spec.toml", sweep / "cat"
    path.write_text(path.read_text() + "[traps]\nlevel = 0.05\n")
    assert zoo("refit", cat, "--spec", path) == 0
    assert zoo("refit", cat, "--spec", path) == 0
    assert zoo("refit", cat) == 0
    ((count, key, other),) = ask(
        cat, "select count(*), min(analysis_key), max(analysis_key) from models"
    )
    assert count == 6
    spec, _ = load_spec(path)
    assert options_key(spec.options, spec.selection) not in (key, other)
    assert ask(cat, "select tensor from layers_latest where reason like '%traps at level 0.05%'"
               " and model_id = 'local/odd'") == [("b.weight",), ("conv.weight",), ("rank.weight",)]  # fmt: skip


def test_options_that_need_the_weights_leave_the_units_alone_and_say_so(
    sweep: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = sweep / "spec.toml"
    spec.write_text(spec.read_text() + "[traps]\nseed = 3\n")
    assert zoo("refit", sweep / "cat", "--spec", spec) == 1
    assert "another seed needs the weights" in capsys.readouterr().err
    assert ask(sweep / "cat", "select count(*) from models") == [(3,)]


def test_a_refit_loads_neither_torch_nor_pandas(sweep: Path) -> None:
    """Seconds of every start and of every worker, for nothing that a refit needs."""
    code = (
        "import sys; from jobs.__main__ import run; run(sys.argv[1:]);"
        "sys.exit(sorted({'torch', 'pandas'} & set(sys.modules)) or 0)"
    )
    command = [sys.executable, "-c", code, "refit", str(sweep / "cat"), "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "0 numbers moved" in done.stderr


def test_a_unit_whose_options_are_not_recorded_is_left_alone_and_named(
    sweep: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in (sweep / "cat" / "sweeps" / "hot").iterdir():
        part.unlink()
    assert zoo("refit", sweep / "cat") == 0  # the key is that of the default options
    monkeypatch.setattr("jobs.units.key.NUMBERS_VERSION", 99)
    assert zoo("refit", sweep / "cat") == 1
    assert "are not recorded" in capsys.readouterr().err
    assert ask(sweep / "cat", "select count(*) from models") == [(3,)]


def test_new_numbers_are_another_unit_and_the_old_one_stays(
    sweep: Path, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.units.key.NUMBERS_VERSION", 99)
    assert zoo("refit", sweep / "cat") == 0
    assert ask(sweep / "cat", "select count(*), count(distinct analysis_key) from models") == [
        (6, 2)
    ]
    before = {p: p.stat().st_mtime_ns for p in (sweep / "cat").rglob("*.parquet")}
    assert zoo("refit", sweep / "cat") == 0
    assert {p: p.stat().st_mtime_ns for p in (sweep / "cat").rglob("*.parquet")} == before
    assert ask(sweep / "cat", "select count(*) from models") == [(6,)]


def test_what_a_sweep_has_measured_again_is_not_mixed_from_old_numbers(
    sweep: Path, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the mixture would be the newest analysis."""
    cat = sweep / "cat"
    for group in ("entries", "tail"):
        raise_group(monkeypatch, group)
    assert zoo("sweep", sweep / "spec.toml", "--out", cat, "-j", 1, "--quiet") == 0
    before = {p: p.stat().st_mtime_ns for p in cat.rglob("*.parquet")}
    assert zoo("refit", cat) == 0
    assert {p: p.stat().st_mtime_ns for p in cat.rglob("*.parquet")} == before


def test_an_older_analysis_that_is_mended_does_not_become_the_newest(sweep: Path, zoo: Zoo) -> None:
    cat = sweep / "cat"
    spoil(cat, "local/model1", alpha=9.0)
    spec = sweep / "spec.toml"
    spec.write_text(spec.read_text() + "[traps]\nseed = 3\n")
    assert zoo("sweep", spec, "--out", cat, "-j", 1, "--quiet") == 0
    newest = ask(cat, "select distinct analysis_key from models_latest")
    assert zoo("refit", cat) == 0
    assert ask(cat, "select count(*) from layers where alpha = 9.0") == [(0,)]
    assert ask(cat, "select distinct analysis_key from models_latest") == newest


def test_a_raised_group_that_follows_from_spectra_gives_the_key_of_a_sweep(
    sweep: Path, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    cat = sweep / "cat"
    raise_group(monkeypatch, "tail")
    assert zoo("refit", cat) == 0
    spec, _ = load_spec(sweep / "spec.toml")
    key = options_key(spec.options, spec.selection)
    stored = (
        "select distinct analysis_key, options_key, number_versions, decoders from models_latest"
    )
    assert ask(cat, stored) == [(key, key, '{"decoders": {}, "groups": {"tail": 2}}', "none")]
    assert zoo("sweep", sweep / "spec.toml", "--out", cat, "-j", 1) == 0
    assert zoo("refit", cat) == 0
    assert ask(cat, "select count(*) from models") == [(6,)]


def test_a_raised_group_that_needs_the_weights_is_left_to_a_sweep(
    sweep: Path, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    cat = sweep / "cat"
    before = {p: p.stat().st_mtime_ns for p in cat.rglob("*.parquet")}
    raise_group(monkeypatch, "entries")
    assert zoo("refit", cat) == 0
    assert {p: p.stat().st_mtime_ns for p in cat.rglob("*.parquet")} == before
    raise_group(monkeypatch, "erg")  # anew under today's version, beside entries of the older one
    assert zoo("refit", cat) == 0
    spec, _ = load_spec(sweep / "spec.toml")
    known = options_key(spec.options, spec.selection, groups={"erg": 2})
    assert ask(cat, "select distinct analysis_key from models_latest") == [(known,)]
    assert known != options_key(spec.options, spec.selection)


def test_a_refit_keeps_the_decoders_that_the_weights_went_through(
    sweep: Path, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    cat = sweep / "cat"
    raise_decoder(monkeypatch, "none")
    raise_group(monkeypatch, "tail")
    assert zoo("refit", cat) == 0
    spec, _ = load_spec(sweep / "spec.toml")
    of_options = options_key(spec.options, spec.selection)
    assert ask(cat, "select distinct analysis_key from models_latest") == [(of_options,)]
    assert zoo("sweep", sweep / "spec.toml", "--out", cat, "-j", 1, "--quiet") == 0
    (last,) = ask(cat, "select num_done from sweeps order by sweep_id desc limit 1")
    assert last == (3,)
    assert ask(cat, "select count(*) from models") == [(9,)]


def test_the_measured_versions_stay_and_those_of_the_refit_stand_beside_them(
    sweep: Path, zoo: Zoo
) -> None:
    cat = sweep / "cat"
    spoil(cat, "local/model1", alpha=9.0)
    zoo("refit", cat)
    ((text,),) = ask(cat, "select versions from models where model_id = 'local/model1'")
    found = json.loads(str(text))
    assert found["numpy"] == found["refit"]["numpy"]


def test_an_interrupted_refit_keeps_whole_units_and_the_same_command_goes_on(
    sweep: Path, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    cat = sweep / "cat"
    before = rows(cat, "layers")
    for model in ("local/model0", "local/model1"):
        spoil(cat, model, alpha=9.0)
    commit = commits.commit_unit

    def commit_once(root: str, **parts: Any) -> str:
        """Ctrl-C comes before the second unit."""
        if ask(cat, "select count(*) from models where sweep_id in "
                    "(select sweep_id from sweeps where name = 'refit')") == [(1,)]:  # fmt: skip
            raise KeyboardInterrupt
        return commit(root, **parts)

    monkeypatch.setattr(commits, "commit_unit", commit_once)
    assert zoo("refit", cat) == 75
    monkeypatch.undo()
    assert ask(cat, "select count(*) from layers where alpha = 9.0") == [(1,)]
    assert ask(cat, "select status from sweeps where name = 'refit'") == [("interrupted",)]
    assert zoo("refit", cat) == 0
    assert rows(cat, "layers") == before


def test_a_unit_without_its_spectra_is_left_alone_and_named(
    sweep: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    cat = sweep / "cat"
    spoil(cat, "local/model1", alpha=9.0)
    for part in (cat / "spectra").rglob("*model1*.parquet"):
        part.unlink()
    assert zoo("refit", cat) == 1
    assert "local/model1: 0 rows of 3 in spectra" in capsys.readouterr().err
    assert ask(cat, "select count(*) from layers where alpha = 9.0") == [(1,)]


def test_no_catalog_is_bad_use(tmp_path: Path, zoo: Zoo) -> None:
    assert zoo("refit", tmp_path) == 2
