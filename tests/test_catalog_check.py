"""`zoo check` finds what was done to a catalog, and nothing in a sound one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.care.check import Finding, check, findings_table
from catalog.care.compact import compact
from catalog.schema import SCHEMA_VERSION
from catalog.write.commits import commit_unit, prepare
from catalog.write.parts import write_part
from tests.catalogs import commit, keys, layer_row, model_row, sweep


@pytest.fixture
def root(tmp_path: Path) -> str:
    root = str(tmp_path / "cat")
    sweep(root, "s1", ["org/a"])
    commit(root, layers=[{}, {}], spectra=[SPECTRUM])
    return root


SPECTRUM = {"layer_index": 0, "tensor": "w", "eigenvalues": [1.0, 2.0], "scale_exponent": 0}


def hot(root: str, table: str = "layers") -> Path:
    return next(Path(root, table, "hot").iterdir())


def rewrite(root: str, change: Callable[[pa.Table], pa.Table]) -> None:
    path = hot(root)
    metadata = {b"zoo.schema": str(SCHEMA_VERSION).encode()}
    pq.write_table(change(pq.read_table(path)).replace_schema_metadata(metadata), path)


def test_a_sound_catalog_has_no_findings(root: str) -> None:
    assert check(root) == ()
    compact(root, grace_s=0)
    assert check(root) == ()


def kinds(root: str) -> set[tuple[str, str]]:
    return {(finding.severity, finding.kind) for finding in check(root)}


def test_a_torn_file_is_found(root: str) -> None:
    hot(root).write_bytes(hot(root).read_bytes()[:-7])
    (finding,) = check(root)
    assert finding.kind == "torn" and finding.where == str(hot(root))


@pytest.mark.parametrize("name", ["notes.txt", ".x.parquet.crc"])
def test_a_foreign_file_is_found(root: str, name: str) -> None:
    hot(root).with_name(name).write_text("hello")
    assert kinds(root) == {("error", "foreign")}


def test_a_parquet_file_of_someone_else_is_found(root: str) -> None:
    pq.write_table(pa.table({"x": [1]}), hot(root).with_name("x.parquet"))
    (finding,) = check(root)
    assert finding.kind == "schema"
    assert finding.detail == f"zoo.schema none, wanted up to {SCHEMA_VERSION}"


def test_a_dropped_renamed_or_retyped_column_is_found(root: str) -> None:
    def change(table: pa.Table) -> pa.Table:
        table = table.drop_columns(["q"]).append_column("qq", table["q"])
        at = table.schema.get_field_index("alpha")
        return table.set_column(at, "alpha", table["alpha"].cast(pa.float32()))

    rewrite(root, change)
    details = {finding.detail for finding in check(root)}
    assert details == {"unknown column 'qq'", "no column 'q'", "alpha: float, wanted double"}


def test_a_number_that_is_not_finite_is_found(root: str) -> None:
    def change(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index("alpha")
        return table.set_column(at, "alpha", pa.array([float("nan"), None], pa.float64()))

    rewrite(root, change)
    assert ("error", "not_finite") in kinds(root)


def test_a_null_without_a_reason_is_found(root: str) -> None:
    rows = [layer_row(0, alpha=None), layer_row(1, status="failed"), layer_row(2, lambda_max=None),
            layer_row(3, alpha=None, tail_status="too_few")]  # fmt: skip
    commit_unit(root, model=model_row("org/b", layers_analysed=3), layers=rows)
    found = [f for f in check(root) if f.kind == "no_reason"]
    assert sorted(f.where.split()[3] for f in found) == ["0", "1", "2"]


def test_a_row_that_is_there_twice_is_found(root: str) -> None:
    rewrite(root, lambda table: pa.concat_tables([table, table.slice(0, 1)]))
    assert kinds(root) == {("error", "duplicate"), ("error", "incomplete")}


def test_two_analyses_of_one_revision_are_no_duplicates(root: str) -> None:
    commit(root)
    commit(root, analysis_key="k2")
    assert check(root) == ()


def test_a_unit_that_lost_its_layers_is_found(root: str) -> None:
    hot(root).unlink()
    (finding,) = check(root)
    assert finding.kind == "incomplete"
    assert "0 rows, its models row says 2" in finding.detail


def test_what_a_killed_commit_left_is_only_a_note(root: str) -> None:
    write_part(root, "layers", [{**keys("org/b"), **layer_row()}], name="x", metadata={})
    Path(root, "_tmp", "host.1.abc.tmp").write_text("")
    assert kinds(root) == {("note", "orphan"), ("note", "unfinished")}


def test_findings_make_a_table(tmp_path: Path) -> None:
    prepare(str(tmp_path))
    assert findings_table(check(str(tmp_path))).num_rows == 0
    table = findings_table((Finding("torn", "f", "d"),))
    assert table.to_pylist() == [{"severity": "error", "kind": "torn", "where": "f", "detail": "d"}]
