"""The main job end to end: real processes, real Parquet, real DuckDB."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from catalog.read import views
from catalog.write.commits import prepare
from tests.conftest import Zoo
from tests.models import small_zoo, weights, write_model

TIMINGS = ("read_s", "spectrum_s", "shuffle_s", "total_s", "seconds")


def numbers(catalog: Path, table: str = "layers") -> list[dict[str, object]]:
    """All rows of a view without timings, dates, sweep ids and sizes of files, in a fixed order."""
    with views.connect(catalog) as con:
        rows = con.sql(f"from {table}").to_arrow_table().to_pylist()
    dropped = {*TIMINGS, "sweep_id", "committed_at", "parts"}
    plain = [{k: v for k, v in row.items() if k not in dropped} for row in rows]
    return sorted(plain, key=lambda r: json.dumps(r, sort_keys=True, default=str))


def ask(catalog: Path, query: str) -> list[tuple[object, ...]]:
    with views.connect(catalog) as con:
        return con.execute(query).fetchall()


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    return small_zoo(tmp_path)


def test_every_layer_of_every_model_becomes_a_row(spec: Path, zoo: Zoo, tmp_path: Path) -> None:
    assert zoo("sweep", spec, "--out", tmp_path / "cat", "-j", 1) == 0
    found = ask(
        tmp_path / "cat",
        "select model_id, count(*) from layers where status = 'ok' group by 1 order by 1",
    )
    assert found == [(f"local/model{i}", 3) for i in range(3)]


def test_the_same_command_again_computes_nothing_and_says_so(
    spec: Path, zoo: Zoo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cat = tmp_path / "cat"
    zoo("sweep", spec, "--out", cat, "-j", 1)
    before = {p: p.stat().st_mtime_ns for p in (cat / "layers").rglob("*.parquet")}
    capsys.readouterr()
    assert zoo("sweep", spec, "--out", cat, "-j", 1) == 0
    assert {p: p.stat().st_mtime_ns for p in (cat / "layers").rglob("*.parquet")} == before
    assert "3 already in the catalog; nothing to compute" in capsys.readouterr().err


def test_a_changed_weight_makes_a_new_unit(spec: Path, zoo: Zoo, tmp_path: Path) -> None:
    cat = tmp_path / "cat"
    zoo("sweep", spec, "--out", cat, "-j", 1)
    write_model(tmp_path / "zoo" / "model0", weights(99, (60, 120)))
    assert zoo("sweep", spec, "--out", cat, "-j", 1) == 0
    assert ask(cat, "select count(*) from models") == [(4,)]


def test_changed_options_make_new_units(spec: Path, zoo: Zoo, tmp_path: Path) -> None:
    cat = tmp_path / "cat"
    zoo("sweep", spec, "--out", cat, "-j", 1)
    spec.write_text(spec.read_text() + "[traps]\nseed = 5\n")
    zoo("sweep", spec, "--out", cat, "-j", 1)
    assert ask(cat, "select count(*), count(distinct analysis_key) from models") == [(6, 2)]
    assert ask(cat, "select count(*) from layers_latest") == [(9,)]


def test_two_workers_give_the_numbers_of_one(spec: Path, zoo: Zoo, tmp_path: Path) -> None:
    zoo("sweep", spec, "--out", tmp_path / "one", "-j", 1)
    zoo("sweep", spec, "--out", tmp_path / "two", "-j", 2)
    for table in ("layers", "traps", "spectra", "tensors"):
        assert numbers(tmp_path / "one", table) == numbers(tmp_path / "two", table)


@pytest.mark.ray
def test_ray_gives_the_numbers_of_the_local_pool(
    spec: Path, zoo: Zoo, tmp_path: Path, ray_session: None
) -> None:
    zoo("sweep", spec, "--out", tmp_path / "local", "-j", 1)
    assert zoo("sweep", spec, "--out", tmp_path / "ray", "--runner", "ray", "-j", 2) == 0
    for table in ("layers", "traps", "spectra", "tensors"):
        assert numbers(tmp_path / "local", table) == numbers(tmp_path / "ray", table)


def test_a_step_pattern_makes_one_model_with_steps(zoo: Zoo, tmp_path: Path) -> None:
    for step in (0, 10, 200):
        write_model(tmp_path / "run" / f"step{step}", weights(step, (40, 30)))
    spec = tmp_path / "spec.toml"
    spec.write_text("[[source]]\npath = 'run/*'\nstep_pattern = 'step(\\d+)'\n")
    assert zoo("sweep", spec, "--out", tmp_path / "cat", "-j", 1) == 0
    assert ask(tmp_path / "cat", "select model_id, step from models order by step") == [
        ("local/run", 0), ("local/run", 10), ("local/run", 200),
    ]  # fmt: skip


def test_one_broken_model_does_not_stop_the_others(
    spec: Path, zoo: Zoo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "zoo" / "model1" / "model.safetensors"
    broken.write_bytes(broken.read_bytes()[:-100])
    cat = tmp_path / "cat"
    assert zoo("sweep", spec, "--out", cat, "-j", 1) == 1
    assert ask(cat, "select count(*) from models") == [(2,)]
    ((model, cause, message),) = ask(cat, "select model_id, cause, message from failures_open")
    assert (model, cause) == ("local/model1", "data")
    assert "model.safetensors" in str(message)
    assert "local/model1: failed (data)" in capsys.readouterr().err


def test_a_mended_model_closes_its_failure(spec: Path, zoo: Zoo, tmp_path: Path) -> None:
    path = tmp_path / "zoo" / "model1" / "model.safetensors"
    whole, cat = path.read_bytes(), tmp_path / "cat"
    path.write_bytes(whole[:-100])
    assert zoo("sweep", spec, "--out", cat, "-j", 1) == 1
    path.write_bytes(whole)
    assert zoo("sweep", spec, "--out", cat, "-j", 1) == 0


def test_a_failure_for_good_is_not_tried_again_unless_asked(
    spec: Path, zoo: Zoo, tmp_path: Path
) -> None:
    path, cat = tmp_path / "zoo" / "model1" / "model.safetensors", tmp_path / "cat"
    path.write_bytes(path.read_bytes()[:-100])
    zoo("sweep", spec, "--out", cat, "-j", 1)
    assert zoo("sweep", spec, "--out", cat, "-j", 1) == 1
    assert ask(cat, "select count(*) from failures") == [(1,)]
    assert zoo("sweep", spec, "--out", cat, "-j", 1, "--overwrite", "failed") == 1
    assert ask(cat, "select count(*) from failures") == [(2,)]


def test_nan_in_one_tensor_fails_that_layer_only(zoo: Zoo, tmp_path: Path) -> None:
    tensors = weights(0, (40, 30), (40, 30))
    tensors["layers.0.weight"][3, 4] = np.nan
    write_model(tmp_path / "zoo" / "a", tensors)
    spec = tmp_path / "spec.toml"
    spec.write_text("[[source]]\npath = 'zoo/*'\n")
    assert zoo("sweep", spec, "--out", tmp_path / "cat", "-j", 1) == 0
    rows = ask(
        tmp_path / "cat", "select status, reason, alpha is null from layers order by layer_index"
    )
    assert rows[0][0] == "failed" and "non_finite" in str(rows[0][1]) and rows[0][2]
    assert rows[1][0] == "ok"


@pytest.mark.parametrize("runner", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_sweep_killed_in_the_middle_resumes_to_the_same_tables(
    runner: str, tmp_path: Path, zoo: Zoo, zoo_process: object
) -> None:
    spec = small_zoo(tmp_path, models=8, side=250)
    assert zoo("sweep", spec, "--out", tmp_path / "calm", "-j", 2) == 0
    cat = tmp_path / "killed"
    process = zoo_process("sweep", spec, "--out", cat, "-j", 2, "--runner", runner)  # type: ignore[operator]
    deadline = time.monotonic() + 120
    while len(list((cat / "models").rglob("*local*.parquet"))) < 2 and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL) if runner == "local" else process.kill()
    process.wait()
    done = len(list((cat / "models").rglob("*local*.parquet")))
    assert 2 <= done < 8
    assert zoo("sweep", spec, "--out", cat, "-j", 2) == 0
    for table in ("layers", "traps", "spectra", "tensors"):
        assert numbers(cat, table) == numbers(tmp_path / "calm", table)


def test_ctrl_c_drains_commits_and_exits_75(tmp_path: Path, zoo: Zoo, zoo_process: object) -> None:
    spec = small_zoo(tmp_path, models=12, side=300)
    cat = tmp_path / "cat"
    process = zoo_process("sweep", spec, "--out", cat, "-j", 1)  # type: ignore[operator]
    deadline = time.monotonic() + 60
    while not list((cat / "models").rglob("*local*.parquet")) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert "the same command resumes" in said
    assert ask(cat, "select status, exit_code from sweeps") == [("interrupted", 75)]
    assert zoo("sweep", spec, "--out", cat, "-j", 1) == 0
    assert ask(cat, "select count(*) from models") == [(12,)]


def test_the_same_sweep_twice_at_once_is_refused(
    tmp_path: Path, zoo: Zoo, zoo_process: object
) -> None:
    spec = small_zoo(tmp_path, models=8, side=300)
    cat = tmp_path / "cat"
    first = zoo_process("sweep", spec, "--out", cat, "-j", 1)  # type: ignore[operator]
    deadline = time.monotonic() + 60
    while not (cat / "models").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    second = zoo_process("sweep", spec, "--out", cat, "-j", 1)  # type: ignore[operator]
    _, said = second.communicate(timeout=60)
    assert second.returncode == 2
    assert "already runs" in said
    first.communicate(timeout=120)
    assert first.returncode == 0


def test_a_catalog_that_cannot_be_written_is_an_error_that_says_so(
    spec: Path, zoo: Zoo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert zoo("sweep", spec, "--out", tmp_path / "file" / "cat", "-j", 1) == 2
    assert "file" in capsys.readouterr().err


def test_a_catalog_that_cannot_be_locked_is_bad_use(
    spec: Path, zoo: Zoo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(str(tmp_path / "cat"))
    shutil.rmtree(tmp_path / "cat" / "_tmp", ignore_errors=True)
    (tmp_path / "cat" / "_tmp").write_text("in the way")
    assert zoo("sweep", spec, "--out", tmp_path / "cat", "-j", 1) == 2
    assert "cannot lock" in capsys.readouterr().err


def test_a_limit_on_the_size_of_files_is_named_and_the_same_command_resumes(
    spec: Path, zoo: Zoo, tmp_path: Path
) -> None:
    cat = tmp_path / "cat"
    limit = f"ulimit -f 12; exec {sys.executable} -m jobs sweep {spec} --out {cat} -j 1"
    done = subprocess.run(["bash", "-c", limit], capture_output=True, text=True)
    assert done.returncode == 75 and "Traceback" not in done.stderr, done.stderr
    assert "not be larger than the limit of 12.3 kB (ulimit -f); this write needs" in done.stderr
    assert zoo("sweep", spec, "--out", cat, "-j", 1) == 0
    assert ask(cat, "select count(*) from layers") == [(9,)]


def test_hostile_model_names_stay_inside_the_catalog(zoo: Zoo, tmp_path: Path) -> None:
    names = ["it's; drop table layers --", "a\nb", "x" * 250, "we..ird", 'quo"te']
    for number, name in enumerate(names):
        write_model(tmp_path / "zoo" / name, weights(number, (30, 20)))
    spec = tmp_path / "spec.toml"
    spec.write_text("[[source]]\npath = 'zoo'\n")
    assert zoo("sweep", spec, "--out", tmp_path / "cat", "-j", 1) == 0
    found = {str(row[0]) for row in ask(tmp_path / "cat", "select model_id from models")}
    assert found == {f"local/{name}" for name in names}
    outside = {p.name for p in tmp_path.iterdir()}
    assert outside == {"zoo", "spec.toml", "cat"}


def test_limit_takes_that_many_units_and_leaves_the_rest(
    spec: Path, zoo: Zoo, tmp_path: Path
) -> None:
    assert zoo("sweep", spec, "--out", tmp_path / "cat", "-j", 1, "--limit", 1) == 0
    assert ask(tmp_path / "cat", "select count(*) from models") == [(1,)]
    assert ask(tmp_path / "cat", "select count(*) from missing") == [(2,)]


def test_nothing_is_left_beside_the_catalog_after_a_sweep(
    spec: Path, zoo: Zoo, tmp_path: Path
) -> None:
    zoo("sweep", spec, "--out", tmp_path / "cat", "-j", 1)
    assert {
        p.name for p in (tmp_path / "cat" / "_tmp").glob("*") if not p.name.endswith(".lock")
    } == set()
