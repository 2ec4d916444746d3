"""A newer program on an older catalog: columns are added, and neither rows nor readers notice."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.care.check import check
from catalog.care.compact import compact
from catalog.files.folder import OLD_MARKER, Folder
from catalog.files.layout import MARKER, read_marker, seed
from catalog.read.query import ask
from catalog.read.rollup import ROLLUP
from catalog.read.views import connect
from catalog.schema import SCHEMA_VERSION, TABLES
from catalog.write.commits import prepare
from catalog.write.finished import done_units
from tests.catalogs import ROOT, commit, sweep

NEW = [(table, column) for table in TABLES.values() for column in table.columns
       if column.since > 1 and not column.was]  # fmt: skip
OLDEST = 1


def age(root: str) -> None:
    """Make every file, and the marker, what a program of schema 1 wrote."""
    shutil.rmtree(Path(root, ROLLUP), ignore_errors=True)  # unknown then
    for path in Path(root).glob("*/*/*.parquet"):
        newer = [c.name for c in TABLES[path.parts[-3]].columns if c.since > OLDEST]
        table = pq.read_table(path).drop_columns(newer)
        footer = {b"zoo.schema": str(OLDEST).encode()}
        pq.write_table(table.replace_schema_metadata(footer), path)
        if path.name == seed(SCHEMA_VERSION)[1]:
            path.rename(path.with_name(seed(OLDEST)[1]))
    Path(root, MARKER).unlink()
    Path(root, OLD_MARKER).write_text(json.dumps({"zoo.schema": OLDEST}))


@pytest.fixture
def old(tmp_path: Path) -> str:
    """A catalog of schema 1: a unit in a merged file, another in a hot one, a sweep of three."""
    root = str(tmp_path / "cat")
    sweep(root, "s1", ["org/merged", "org/hot", "org/gone"])
    commit(root, "org/merged", layers=[{"alpha": 2.5}])
    compact(root, grace_s=0)
    commit(root, "org/hot", layers=[{"alpha": 3.5}])
    age(root)
    return root


def select(root: str, query: str) -> list[dict[str, object]]:
    with connect(root) as con:
        rows: list[dict[str, object]] = ask(con, query).to_pylist()
        return rows


def contents(root: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path(root).rglob("*") if path.is_file()}


def test_what_a_version_added_may_be_null_and_the_newest_one_added_something() -> None:
    assert all(column.nullable for _, column in NEW)
    assert max(column.since for _, column in NEW) == SCHEMA_VERSION


def test_reading_changes_nothing_and_shows_new_columns_as_null(old: str) -> None:
    before = contents(old)
    for table, column in NEW:
        assert all(
            row["x"] is None for row in select(old, f"select {column.name} as x from {table.name}")
        )
    assert select(old, "select model_id, alpha from layers_latest order by 1") == [
        {"model_id": "org/hot", "alpha": 3.5}, {"model_id": "org/merged", "alpha": 2.5},
    ]  # fmt: skip
    assert select(old, "select model_id from missing") == [{"model_id": "org/gone"}]
    assert len(done_units(old)) == 2
    assert check(old) == ()
    assert contents(old) == before


@pytest.mark.parametrize("table", TABLES)
def test_a_table_has_today_s_columns_whatever_the_files_have(old: str, table: str) -> None:
    wanted = [column.name for column in TABLES[table].columns]
    assert list(select(old, f"from {table}")[0]) == wanted if select(old, f"from {table}") else True
    commit(old, "org/new")
    with connect(old) as con:
        assert ask(con, f"from {table}").column_names == wanted


def test_the_first_writer_lifts_it_and_old_and_new_rows_stand_side_by_side(old: str) -> None:
    before = contents(old)
    commit(old, "org/new", layers=[{"alpha": 4.5}], decoders="none")
    assert read_marker(Folder.parse(old)).version == SCHEMA_VERSION
    assert {p: b for p, b in contents(old).items() if p in before and p.name != OLD_MARKER} == {
        p: b for p, b in before.items() if p.name != OLD_MARKER
    }
    rows = [{"model_id": "org/hot", "decoders": None}, {"model_id": "org/merged", "decoders": None},
            {"model_id": "org/new", "decoders": "none"}]  # fmt: skip
    for _ in range(2):  # hot beside merged, then all merged
        assert select(old, "select model_id, decoders from models order by 1") == rows
        assert check(old) == ()
        compact(old, grace_s=0)


def test_every_view_shows_the_same_before_and_after_it_is_lifted(old: str) -> None:
    views = [str(row["name"]) for row in select(old, "show tables")]
    before = {view: select(old, f"from {view} order by all") for view in views}
    prepare(old)
    assert {view: select(old, f"from {view} order by all") for view in views} == before


def test_a_reader_of_the_older_program_goes_on_while_it_is_lifted(old: str) -> None:
    with connect(
        old
    ) as con:  # as version 0.1.0 defined its views: the first file gives the columns
        con.execute(
            f"create view old_models as select * exclude (filename), "
            f"split_part(filename, '/', -2) as generation from read_parquet("
            f"'{old}/models/*/*.parquet', filename = true, hive_partitioning = false)"
        )
        query = "select * exclude (committed_at) from old_models"
        names = ask(con, query).column_names
        commit(old, "org/new", decoders="none")
        after = ask(con, f"{query} where generation <> 'g000000' order by model_id")
        assert after.column_names == names
        assert after["model_id"].to_pylist() == ["org/hot", "org/merged", "org/new"]


def test_a_reader_goes_on_while_a_newer_program_adds_a_column(tmp_path: Path) -> None:
    root = str(tmp_path / "cat")
    commit(root, "org/a")
    with connect(root) as con:
        path = Path(commit(root, "org/b"))
        later = pq.read_table(path).append_column("of_tomorrow", pa.array([1]))
        pq.write_table(later.replace_schema_metadata({b"zoo.schema": b"99"}), path)
        assert ask(con, "select model_id from models order by 1")["model_id"].to_pylist() == [
            "org/a", "org/b",
        ]  # fmt: skip


def test_a_catalog_that_was_lifted_never_passes_for_one_without_older_files(old: str) -> None:
    prepare(old)
    prepare(old)
    marker = read_marker(Folder.parse(old))
    assert (marker.version, marker.oldest) == (SCHEMA_VERSION, OLDEST)
    assert len(select(old, "from models")) == 2


def test_a_file_of_someone_else_is_not_shown(old: str) -> None:
    pq.write_table(pa.table({"x": [1]}), Path(old, "models", "hot", "x.parquet"))
    assert len(select(old, "from models")) == 2
    assert [finding.kind for finding in check(old)] == ["schema"]


_LIFT = """
import os, signal, sys
from catalog.files.folder import Folder
from catalog.write.commits import prepare
put, left = Folder.put, int(sys.argv[2])
def put_some(self, *args):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return put(self, *args)
Folder.put = put_some
prepare(sys.argv[1])
"""


@pytest.mark.parametrize("files", [0, 1, len(TABLES), len(TABLES) + 1])
def test_killed_while_it_lifts_a_catalog_it_leaves_a_sound_one(old: str, files: int) -> None:
    """After `files` of its files are written."""
    command = [sys.executable, "-c", _LIFT, old, str(files)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == (0 if files > len(TABLES) else -9), ended.stderr
    wanted: Callable[[], list[dict[str, object]]] = lambda: select(old, "from models order by 2")  # noqa: E731
    assert [row["model_id"] for row in wanted()] == ["org/hot", "org/merged"]
    commit(old, "org/new")
    assert [row["model_id"] for row in wanted()] == ["org/hot", "org/merged", "org/new"]
    assert check(old) == ()
