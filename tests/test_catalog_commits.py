"""Commits: the models part is the marker, names are deterministic, strings stay verbatim."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from catalog.care.compact import compact
from catalog.errors import NotACatalogError, SchemaError, StorageError, TornError
from catalog.files.folder import Folder
from catalog.read.query import columns
from catalog.read.views import connect
from catalog.schema import SCHEMA_VERSION
from catalog.write.commits import (
    commit_unit,
    drop_unfinished,
    prepare,
    record_failure,
    record_sweep,
)
from catalog.write.finished import done_units, finished_units
from catalog.write.names import UnitKey
from catalog.write.parts import write_part
from tests.catalogs import NOON, ROOT, commit, keys, layer_row, model_row

HOSTILE = [
    "org/it's; drop table layers; --",
    '"quoted" `ticked` $(rm -rf ~)',
    "../../../../etc/passwd",
    "/absolute/..",
    "new\nline\ttab\x00nul",
    "x" * 300,
    "ünï/côdé 模型 🦓",
    "CON",
    "%2e%2e/[a-z]*?",
    "<script>alert(1)</script>",
    " ",
    ".hidden",
]


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "cat")


def files(root: str) -> set[str]:
    paths = (p for p in Path(root).rglob("*") if p.is_file() and "tmp" not in p.parts[-2])
    return {p.relative_to(root).as_posix() for p in paths if "g000000" not in p.as_posix()}


def test_a_unit_is_done_once_its_models_part_is_there(root: str) -> None:
    assert done_units(root) == frozenset()
    commit(root)
    assert done_units(root) == {UnitKey("org/a", "f" * 40, "k1")}


def test_data_without_the_marker_is_not_shown(root: str) -> None:
    prepare(root)
    write_part(root, "layers", [{**keys(), **layer_row()}], name="x", metadata={})
    with connect(root) as con:
        assert con.execute("select count(*) from internal.raw_layers").fetchone() == (1,)
        assert con.execute("select count(*) from layers").fetchone() == (0,)
    assert done_units(root) == frozenset()


def test_committing_twice_gives_the_same_files_and_rows(root: str) -> None:
    commit(root, layers=[{}, {"alpha": 4.0}])
    before = files(root)
    commit(root, layers=[{}, {"alpha": 4.0}])
    assert files(root) == before
    with connect(root) as con:
        assert con.execute("select count(*), sum(alpha) from layers").fetchone() == (2, 7.0)


def test_a_new_sweep_of_a_unit_replaces_its_rows_at_once(root: str) -> None:
    commit(root, layers=[{"alpha": 3.0}, {"alpha": 3.0}], traps=[TRAP])
    commit(root, layers=[{"alpha": 4.0}], sweep_id="s2")
    with connect(root) as con:
        assert con.execute("select sweep_id, alpha from layers").fetchall() == [("s2", 4.0)]
        assert con.execute("select count(*) from traps").fetchone() == (0,)
        assert con.execute("select count(*) from models").fetchone() == (1,)


TRAP = {"layer_index": 0, "tensor": "w", "replicate": 0, "trap_index": 0, "verdict": "unprobed"}


def test_until_the_marker_is_replaced_the_old_rows_are_shown(root: str) -> None:
    commit(root, layers=[{"alpha": 3.0}])
    row = {**keys(), **layer_row(alpha=4.0), "sweep_id": "s2"}
    write_part(root, "layers", [row], name="next", metadata={})
    with connect(root) as con:
        assert con.execute("select alpha from layers").fetchall() == [(3.0,)]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_model_names_stay_in_the_folder_and_come_back_verbatim(
    tmp_path: Path, name: str
) -> None:
    root = str(tmp_path / "cat")
    commit(root, name, layers=[{}] * 5)
    record_failure(root, {**failure(), "model_id": name})
    with connect(root) as con:
        assert con.execute("select distinct model_id from layers_latest").fetchall() == [(name,)]
        assert con.execute("select model_id from leaderboard_alpha").fetchall() == [(name,)]
    assert done_units(root) == {UnitKey(name, "f" * 40, "k1")}
    assert [p.name for p in tmp_path.iterdir()] == ["cat"]
    assert all(f.count("/") == 2 for f in files(root) if f != "_zoo-catalog.json")


def failure() -> dict[str, object]:
    return {**keys(), "cause": "data", "error_type": "HeaderError", "message": "bad",
            "attempts": 1, "failed_at": NOON}  # fmt: skip


@pytest.mark.parametrize("folder", ["a b", "it's", "[1]*?", "k=v", "ü", "#%20"])
def test_the_catalog_may_live_in_a_folder_of_any_name(tmp_path: Path, folder: str) -> None:
    root = str(tmp_path / folder)
    commit(root)
    with connect(root) as con:
        assert con.execute("select count(*) from layers").fetchall() == [(1,)]
        assert "k" not in columns(con, "models")
    assert len(done_units(root)) == 1


def test_rows_of_another_unit_are_refused_before_anything_is_written(root: str) -> None:
    with pytest.raises(SchemaError, match=r"layers\.model_id: got 'org/b' in a commit of 'org/a'"):
        commit_unit(root, model=model_row(), layers=[layer_row(model_id="org/b")])
    assert done_units(root) == frozenset()


def test_a_row_that_does_not_fit_stops_a_commit_before_anything_is_written(root: str) -> None:
    spectrum = {"layer_index": 0, "tensor": "w", "eigenvalues": [float("nan")]}
    with pytest.raises(SchemaError, match=r"spectra\.eigenvalues: a list holds NaN"):
        commit_unit(root, model=model_row(), layers=[layer_row()], spectra=[spectrum])
    assert not Path(root).exists()


@pytest.mark.parametrize("value", [None, "", 3])
def test_a_commit_without_its_keys_is_refused(root: str, value: object) -> None:
    with pytest.raises(SchemaError, match="revision: wanted text"):
        commit_unit(root, model=model_row(revision=value), layers=[])


def test_a_failure_is_kept_once_per_unit_and_sweep(root: str) -> None:
    record_failure(root, failure())
    record_failure(root, {**failure(), "attempts": 2})
    record_failure(root, {**failure(), "sweep_id": "s2"})
    with connect(root) as con:
        found = con.execute("select sweep_id, attempts from failures order by all").fetchall()
    assert found == [("s1", 2), ("s2", 1)]


def test_the_end_of_a_sweep_replaces_its_start(root: str) -> None:
    start = {"sweep_id": "s", "name": "n", "started_at": NOON, "status": "running"}
    record_sweep(root, start)
    record_sweep(root, {**start, "status": "done", "exit_code": 0, "ended_at": NOON})
    with connect(root) as con:
        assert con.execute("select status, exit_code from sweeps").fetchall() == [("done", 0)]


def test_many_writers_at_once_lose_nothing(root: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: commit(root, f"org/{i % 20}"), range(60)))
    with connect(root) as con:
        assert con.execute("select count(*) from layers").fetchone() == (20,)
    assert len(done_units(root)) == 20


def test_a_catalog_of_a_newer_schema_is_not_touched(root: str) -> None:
    prepare(root)
    Path(root, "_zoo-catalog.json").write_text('{"zoo.schema": 99}')
    told = f"has schema 99, this program knows up to {SCHEMA_VERSION}: .* update this one"
    for touch in (lambda: connect(root), lambda: commit(root), lambda: done_units(root)):
        with pytest.raises(NotACatalogError, match=told):
            touch()


@pytest.mark.parametrize("text", ["", "[]", "{}", "nonsense"])
def test_a_broken_marker_is_named(root: str, text: str) -> None:
    prepare(root)
    Path(root, "_zoo-catalog.json").write_text(text)
    with pytest.raises(NotACatalogError, match=r"zoo-catalog\.json is not readable"):
        connect(root)


def test_a_torn_models_file_is_named_and_zoo_check_recommended(root: str) -> None:
    path = commit(root)
    Path(path).write_bytes(Path(path).read_bytes()[:100])
    with pytest.raises(TornError, match="run `zoo check` to find the file"):
        done_units(root)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission_says_what_to_do(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="give a folder this user may write to"):
        commit(str(tmp_path / "cat"))


_COMMIT_FOREVER = """
import itertools, sys
from tests.catalogs import commit
for i in itertools.count():
    commit(sys.argv[1], f"org/{i % 7}", sweep_id=f"s{i}", layers=[{"alpha": float(i + 2)}] * 3)
"""


def test_kill_minus_nine_at_any_moment_leaves_whole_units(root: str) -> None:
    for round_ in range(4):
        child = subprocess.Popen([sys.executable, "-c", _COMMIT_FOREVER, root], cwd=ROOT)
        _wait_for(lambda: len(done_units(root)) >= 7)
        time.sleep(0.013 * round_)
        child.kill()
        child.wait()
        with connect(root) as con:
            units = con.execute(
                "select count(*), count(distinct alpha) from layers group by model_id"
            )
            assert units.fetchall() == [(3, 1)] * 7
    commit(root)  # and the next writer goes on


def _wait_for(ready: object) -> None:
    assert callable(ready)
    end = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_a_killed_writer_left_aside_is_cleaned_up_later(root: str) -> None:
    prepare(root)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    host = os.uname().nodename
    left = Path(root, "_tmp", f"{host}.{child.pid}.abc.tmp")
    fresh = Path(root, "_tmp", f"{host}.{child.pid}.def.tmp")
    mine = Path(root, "_tmp", f"{host}.{os.getpid()}.abc.tmp")
    for path in (left, fresh, mine):
        path.write_text("half a part")
    for path in (left, mine):
        os.utime(path, (time.time() - 120,) * 2)
    assert Folder.parse(root).clean() == 1
    assert not left.exists() and fresh.exists() and mine.exists()


def test_what_a_killed_sweep_left_of_an_unfinished_unit_can_be_dropped(root: str) -> None:
    """Whatever its key is; what belongs to a finished unit of the same revision stays."""
    revisions = [(model, "f" * 40) for model in ("org/a", "org/b")]
    for model, _ in revisions:
        commit(root, model)
    commit(root, "org/a", analysis_key="k2")
    markers = sorted(Path(root, "models", "hot").glob("org--a*"))
    markers[0].unlink()  # as if the sweep had been killed before it
    assert drop_unfinished(root, revisions[1:]) == 0
    assert drop_unfinished(root, revisions) == 1
    left = {p.name.rpartition("-")[0] for p in Path(root, "layers", "hot").iterdir()}
    assert left == {p.stem for p in Path(root, "models", "hot").iterdir()} and len(left) == 2


def test_a_finished_unit_tells_what_decided_its_numbers(root: str) -> None:
    told = {"options_key": "o1", "decoders": "mxfp4, none", "versions": "{}"}
    commit(root, "org/a", **told)
    compact(root, grace_s=0)
    commit(root, "org/a", **{**told, "versions": "newer"})  # beside the merged one
    commit(root, "org/old")
    commit(root, "org/empty", decoders="")
    key = UnitKey("org/a", "f" * 40, "k1")
    found = {unit.key.model_id: unit for unit in finished_units(root)}
    a = found["org/a"]
    assert (a.key, a.options_key, a.decoders) == (key, "o1", ("mxfp4", "none"))
    assert (a.versions, a.generation) == ("newer", "hot")
    assert found["org/old"].options_key == "k1" and found["org/old"].decoders is None
    assert found["org/empty"].decoders == () and len(found) == 3
