"""Compaction: the same rows in fewer files, whenever it is killed and whoever reads or writes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from catalog.care import compact as compact_module
from catalog.care.check import check
from catalog.care.compact import compact
from catalog.errors import CatalogError, LockedError, TornError
from catalog.files.folder import Folder
from catalog.files.lock import compact_lock
from catalog.read.query import ask
from catalog.read.views import connect
from catalog.schema import TABLES
from catalog.write.commits import prepare, record_failure
from catalog.write.finished import done_units
from catalog.write.parts import write_part
from tests.catalogs import NOON, ROOT, commit, keys, layer_row, sweep


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "c[a]t")


def fill(root: str, models: int = 6, *, first: int = 0) -> None:
    sweep(root, "s1", [f"org/{i}" for i in range(models)])
    for i in range(first, first + models):
        commit(
            root, f"org/{i}", layers=[{"alpha": float(i)}, {"trap_counts": [1, i]}],
            traps=[{"layer_index": 0, "tensor": "w", "replicate": 0, "trap_index": 0,
                    "verdict": "unprobed", "eigenvalue": 2.0}],
            spectra=[{"layer_index": 0, "tensor": "w", "eigenvalues": [1.0, 2.5],
                      "scale_exponent": i}],
        )  # fmt: skip
    record_failure(root, {**keys("org/x"), "cause": "bug", "error_type": "E", "message": "m",
                          "attempts": 1, "failed_at": NOON})  # fmt: skip


def contents(root: str) -> dict[str, pa.Table]:
    with connect(root) as con:
        return {t: con.sql(f"from {t} order by all").to_arrow_table() for t in TABLES}


def num_files(root: str) -> int:
    """Files with rows of the tables, without the kept scores."""
    aside = {"g000000", "_rollup"}
    return len([p for p in Path(root).rglob("*.parquet") if not aside & set(p.parts)])


def test_compaction_changes_no_row_of_any_table(root: str) -> None:
    fill(root)
    before = contents(root)
    compact(root, grace_s=0)
    assert contents(root) == before
    assert num_files(root) == 7  # no evaluations, no tensors
    assert check(root) == ()


def test_done_units_sees_compacted_files(root: str) -> None:
    fill(root)
    before = done_units(root)
    compact(root, grace_s=0)
    fill(root, first=4)
    assert len(before) == 6 and len(done_units(root)) == 10


def test_compacting_again_merges_only_what_is_new(root: str) -> None:
    fill(root)
    compact(root, grace_s=0)
    again = compact(root, grace_s=0)
    assert again.column("files_before").equals(again.column("files_after"))
    fill(root, first=3)
    before = contents(root)
    compact(root, grace_s=0)
    assert contents(root) == before and num_files(root) == 7


def test_large_generations_are_left_alone(root: str) -> None:
    fill(root)
    compact(root, grace_s=0)
    fill(root, first=6)
    before = contents(root)
    compact(root, grace_s=0, target_bytes=100)
    assert contents(root) == before
    assert Folder.parse(root).folders("layers") == ("g000000", "g000001", "g000002", "hot")


def test_files_are_cut_between_units(root: str) -> None:
    fill(root)
    before = contents(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compact_module, "_DEFAULT_BATCH_ROWS", 3)  # batches that end within a unit
        compact(root, grace_s=0, target_bytes=1)
    assert contents(root) == before
    assert len(Folder.parse(root).names("layers", "g000001")) > 1
    with connect(root) as con:
        spread = ask(con, "select model_id from read_parquet(getvariable('zoo') || "
                          "'/layers/g000001/*.parquet', filename = true) "
                          "group by 1 having count(distinct filename) > 1")  # fmt: skip
    assert spread.num_rows == 0


def test_a_bucket_is_compacted_too() -> None:
    root = "memory://compacted"
    fill(root)
    before = contents(root)
    compact(root, grace_s=0)
    assert contents(root) == before
    assert Folder.parse(root).names("layers", "hot") == ()


def test_replaced_commits_are_dropped_at_once_and_young_orphans_kept(root: str) -> None:
    commit(root, layers=[{}, {}])
    commit(root, layers=[{}], sweep_id="s2")
    row = {**keys("org/young"), **layer_row()}
    write_part(root, "layers", [row], name="young", metadata={})
    before = contents(root)
    compact(root, grace_s=0)
    assert contents(root) == before
    assert Folder.parse(root).names("layers", "hot") == ("young.parquet",)
    os.utime(Path(root, "layers", "hot", "young.parquet"), (1, 1))
    commit(root, "org/b")  # something to merge
    compact(root, grace_s=0)
    assert Folder.parse(root).names("layers", "hot") == ()


def test_two_compactions_at_once_are_refused(root: str) -> None:
    prepare(root)
    with compact_lock(root), pytest.raises(LockedError, match="zoo compact already runs"):
        compact(root, grace_s=0)


def test_a_torn_file_stops_compaction_before_anything_is_deleted(root: str) -> None:
    fill(root)
    path = next(Path(root, "layers", "hot").iterdir())
    path.write_bytes(path.read_bytes()[:50])
    files = num_files(root)
    with pytest.raises(TornError, match="run `zoo check`, move the file it names away"):
        compact(root, grace_s=0)
    assert num_files(root) == files


class Killed(BaseException):
    """Stands for kill -9 between two file operations."""


def test_killed_between_any_two_file_operations_no_row_is_lost_or_doubled(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    operations = {"left": 0}

    def counted(method: str) -> None:
        original = getattr(Folder, method)

        def call(self: Folder, *args: object) -> object:
            operations["left"] -= 1
            if operations["left"] < 0:
                raise Killed
            return original(self, *args)

        monkeypatch.setattr(Folder, method, call)

    for method in ("put_written", "delete"):
        counted(method)
    for allowed in (1, 3, 4, 5, 7, 8, 9, 11, 14):
        operations["left"] = 10**9
        fill(root, models=2, first=allowed % 3)
        before = contents(root)
        operations["left"] = allowed
        try:
            compact(root, grace_s=0)
        except Killed:
            pass
        assert contents(root) == before
    operations["left"] = 10**9
    compact(root, grace_s=0, orphan_age_s=-1)
    assert contents(root) == before and num_files(root) == 7


_COMPACT_FOREVER = """
import sys
from catalog.care.compact import compact
while True:
    compact(sys.argv[1], grace_s=0.02)
"""


def test_kill_minus_nine_of_the_process_loses_nothing(root: str) -> None:
    fill(root)
    before = contents(root)
    draw = random.Random(3)
    for _ in range(2):
        fill(root)  # hot again, the same rows
        child = subprocess.Popen([sys.executable, "-c", _COMPACT_FOREVER, root], cwd=ROOT)
        time.sleep(1.0 + draw.random())
        child.kill()
        child.wait()
        assert contents(root) == before


def test_readers_and_writers_beside_a_compaction_see_every_row_once(root: str) -> None:
    fill(root, models=8)
    stop = threading.Event()
    problems: list[object] = []

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            commit(root, f"org/{number % 8}", layers=[{}, {}], sweep_id=f"s{number}")

    def read() -> None:
        query = "select model_id, count(*) as n from layers group by 1"
        while not stop.is_set():
            try:
                with connect(root) as con:
                    found = ask(con, query).to_pylist()
            except (CatalogError, duckdb.Error) as error:
                problems.append(repr(error))
                continue
            if len(found) != 8 or any(row["n"] != 2 for row in found):
                problems.append(found)

    threads = [threading.Thread(target=target) for target in (write, read)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        compact(root, grace_s=1.0)
    stop.set()
    for thread in threads:
        thread.join()
    assert problems == []
