"""A unit is done only while its files hold the rows it was committed with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from catalog.care.compact import compact
from catalog.read.lacking import lacking
from tests.catalogs import commit
from tests.conftest import Zoo
from tests.frozen_catalog import unpack
from tests.models import small_zoo
from tests.test_sweep import ask, numbers

TABLES = ("layers", "spectra", "tensors")


@pytest.fixture
def swept(tmp_path: Path, zoo: Zoo) -> Path:
    """A spec with a catalog of three models beside it."""
    spec = small_zoo(tmp_path, models=3, side=30)
    assert zoo("sweep", spec, "--out", tmp_path / "cat", "-j", 1, "--quiet") == 0
    return spec


def hot(catalog: Path, table: str, model: str) -> Path:
    (file,) = (catalog / table / "hot").glob(f"local--{model}--*")
    return file


def cut(file: Path) -> None:
    """As a disk that lost the end of a file leaves it."""
    file.write_bytes(file.read_bytes()[:-40])


def units(zoo: Zoo, catalog: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    """What `zoo status` says of units."""
    capsys.readouterr()
    assert zoo("status", catalog, "--format", "json") == 0
    rows = json.loads(capsys.readouterr().out)
    return {row["item"]: row["value"] for row in rows if row["topic"] == "units"}


def test_a_torn_file_moved_away_as_advised_leaves_its_unit_to_do_and_it_alone(
    swept: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    cat = swept.parent / "cat"
    before = {table: numbers(cat, table) for table in TABLES}
    file = hot(cat, "layers", "model1")
    cut(file)
    assert zoo("check", cat) == 1 and "move it away" in capsys.readouterr().out
    file.rename(swept.parent / "torn.parquet")
    assert zoo("check", cat) == 1
    assert "0 rows, its models row says 3" in capsys.readouterr().out
    counts = units(zoo, cat, capsys)
    assert (counts["done"], counts["missing"], counts["done once, rows lost since"]) == (2, 1, 1)
    assert zoo("sweep", swept, "--out", cat, "-j", 1) == 0
    said = capsys.readouterr().err
    assert "local/model1: 0 rows of 3 in layers" in said and "1 done, 2 skipped" in said
    assert {table: numbers(cat, table) for table in TABLES} == before
    assert units(zoo, cat, capsys)["done"] == 3
    assert zoo("check", cat) == 0


@pytest.mark.parametrize("table", TABLES)
def test_a_torn_file_that_lies_there_yet_is_replaced(
    swept: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str], table: str
) -> None:
    cat = swept.parent / "cat"
    cut(hot(cat, table, "model2"))
    assert zoo("sweep", swept, "--out", cat, "-j", 1) == 0
    assert f"local/model2: unreadable rows of 3 in {table}" in capsys.readouterr().err
    assert zoo("check", cat) == 0
    assert ask(cat, f"select count(*) from {table}") == [(9,)]


def drop_last_row(file: Path) -> None:
    rows = pq.read_table(file)
    pq.write_table(rows.slice(0, len(rows) - 1), file)


@pytest.mark.parametrize("harm", [Path.unlink, drop_last_row], ids=["gone", "shortened"])
def test_rows_lost_from_merged_files_are_the_units_they_belonged_to(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    root = str(tmp_path / "cat")
    for model in ("org/a", "org/b"):
        commit(root, model, layers=[{}, {}])
    compact(root, grace_s=0)
    commit(root, "org/a", layers=[{}, {}])  # once more: its merged rows are shown no longer
    assert lacking(root) == ()
    harm(tmp_path / "cat" / "layers" / "g000001" / "part-0000.parquet")
    (lack,) = lacking(root)
    assert (lack.key.model_id, lack.table, lack.wanted) == ("org/b", "layers", 2)


def test_rows_that_were_lost_before_a_compaction_are_missed_after_it(tmp_path: Path) -> None:
    root = tmp_path / "cat"
    for model in ("org/a", "org/b"):
        commit(str(root), model, layers=[{}, {}])
    next((root / "layers" / "hot").glob("org--b*")).unlink()
    compact(str(root), grace_s=0)
    assert [lack.key.model_id for lack in lacking(str(root))] == ["org/b"]


def test_no_row_is_read_to_know_that_all_are_there(tmp_path: Path) -> None:
    root = tmp_path / "cat"
    commit(str(root), "org/a", layers=[{}, {}])
    compact(str(root), grace_s=0)
    commit(str(root), "org/b", layers=[{}, {}])
    (merged,) = (root / "layers" / "g000001").iterdir()
    data = merged.read_bytes()
    merged.write_bytes(b"PAR1" + b"x" * 200 + data[204:])  # rows are gone, the footer is not
    (single,) = (root / "layers" / "hot").iterdir()
    single.write_bytes(b"x" * single.stat().st_size)  # what a listing says of it is as it was
    assert lacking(str(root)) == ()


def test_a_refit_does_not_commit_what_is_left_of_a_unit(
    swept: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    cat = swept.parent / "cat"
    hot(cat, "tensors", "model0").unlink()
    assert zoo("refit", cat, "--workers", 1) == 1
    said = capsys.readouterr().err
    assert "local/model0: 0 rows of 3 in tensors; sweep it again" in said
    assert zoo("sweep", swept, "--out", cat, "-j", 1) == 0
    assert "1 done, 2 skipped" in capsys.readouterr().err


def test_layers_are_missed_from_catalogs_older_than_the_counts(tmp_path: Path) -> None:
    root = unpack(tmp_path)
    assert lacking(str(root)) == ()
    hot(root, "layers", "late").unlink()
    assert [lack.key.model_id for lack in lacking(str(root))] == ["local/late"]
