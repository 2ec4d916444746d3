"""Parts: what is refused, what is written, and the names they get."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import DiskFullError, SchemaError, StorageError
from catalog.schema import SCHEMA_VERSION
from catalog.schema.arrow_types import arrow_schema
from catalog.write.arrow_rows import table_from_rows
from catalog.write.names import part_stem
from catalog.write.parts import write_part
from tests.catalogs import ROOT, keys, layer_row


def row(**columns: object) -> dict[str, object]:
    return {**keys(), **layer_row(), **columns}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"alhpa": 1.0}, r"unknown column 'alhpa'"),
        ({"alpha": float("nan")}, r"layers\.alpha row 0: got nan; write None"),
        ({"alpha": np.float32("inf")}, r"layers\.alpha row 0: got inf"),
        ({"alpha": "3"}, r"layers\.alpha row 0: wanted double, got str"),
        ({"alpha": True}, r"layers\.alpha row 0: wanted double, got bool"),
        ({"n": 2.5}, r"layers\.n row 0: wanted int64, got float"),
        ({"n": 2**70}, r"layers\.n: wanted int64"),
        ({"tensor": None}, r"layers\.tensor row 0: no value"),
        ({"tensor": b"w"}, r"layers\.tensor row 0: wanted text, got bytes"),
        ({"tensor": "\ud800"}, r"layers\.tensor: wanted string"),
        ({"is_dequantised": 1}, r"layers\.is_dequantised row 0: wanted bool"),
        ({"trap_counts": [1, 2.5]}, r"layers\.trap_counts row 0: wanted int32"),
        ({"trap_counts": "12"}, r"layers\.trap_counts row 0: wanted list"),
        ({"trap_counts": 12}, r"layers\.trap_counts row 0: wanted list"),
    ],
)
def test_a_value_that_does_not_fit_names_its_column(
    columns: dict[str, object], message: str
) -> None:
    with pytest.raises(SchemaError, match=message):
        table_from_rows("layers", [row(**columns)])


@pytest.mark.parametrize("bad", [[1.0, float("nan")], [1e300], [None], np.array([np.inf])])
def test_spectra_refuse_what_float32_cannot_hold(bad: object) -> None:
    spectrum = {**keys(), "layer_index": 0, "tensor": "w", "eigenvalues": bad}
    with pytest.raises(SchemaError, match=r"spectra\.eigenvalues: a list holds NaN, Inf or NULL"):
        table_from_rows("spectra", [spectrum])


def test_spectra_take_arrays_and_keep_float32_exactly() -> None:
    values = np.sqrt(np.arange(1, 50, dtype=np.float32))
    spectrum = {**keys(), "layer_index": 0, "tensor": "w", "eigenvalues": values}
    table = table_from_rows("spectra", [spectrum, {**spectrum, "eigenvalues": None}])
    assert table.column("eigenvalues").to_pylist() == [values.tolist(), None]


def test_numbers_that_lose_nothing_are_taken_as_they_are() -> None:
    table = table_from_rows("layers", [row(n=np.int64(3), m=2.0, alpha=3, q=np.float32(1.5))])
    assert table.select(["n", "m", "alpha", "q"]).to_pylist() == [
        {"n": 3, "m": 2, "alpha": 3.0, "q": 1.5}
    ]


def test_a_choice_outside_its_list_is_refused() -> None:
    failure = {**keys(), "cause": "weather", "error_type": "E", "message": "m", "attempts": 1,
               "failed_at": datetime.now(UTC)}  # fmt: skip
    with pytest.raises(SchemaError, match="got 'weather'; wanted one of data, hub_permanent"):
        table_from_rows("failures", [failure])


def test_a_time_without_a_zone_is_refused() -> None:
    sweep = {"sweep_id": "s", "name": "n", "status": "done", "started_at": datetime(2026, 1, 1)}
    with pytest.raises(SchemaError, match="without a time zone; wanted UTC"):
        table_from_rows("sweeps", [sweep])


def test_one_bad_cell_among_plain_ones_is_still_named() -> None:
    with pytest.raises(SchemaError, match=r"layers\.alpha row 1: wanted double, got bool"):
        table_from_rows("layers", [row(alpha=2.0), row(alpha=True)])
    with pytest.raises(SchemaError, match=r"layers\.tensor row 1: no value"):
        table_from_rows("layers", [row(), row(tensor=None)])


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(SchemaError, match="no table 'layer'; the tables are layers"):
        table_from_rows("layer", [])


def test_every_column_is_written_with_its_type(tmp_path: Path) -> None:
    path = write_part(str(tmp_path), "layers", [row()], name="x", metadata={"run": "r"})
    assert pq.read_schema(path).remove_metadata().equals(arrow_schema("layers").remove_metadata())
    footer = pq.read_metadata(path)
    assert footer.metadata[b"zoo.schema"] == str(SCHEMA_VERSION).encode()
    assert footer.metadata[b"zoo.run"] == b"r"
    place = arrow_schema("layers").names.index("layer_index")
    assert footer.row_group(0).column(place).is_stats_set


def test_nothing_but_the_part_is_left_behind(tmp_path: Path) -> None:
    path = write_part(str(tmp_path), "layers", [row()], name="x", metadata={})
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert files == [Path(path)]


def test_a_refused_row_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(SchemaError):
        write_part(str(tmp_path), "layers", [row(alpha=float("nan"))], name="x", metadata={})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".x", "a\n", "x" * 191])
def test_an_unsafe_part_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SchemaError, match="not safe as a file name"):
        write_part(str(tmp_path), "layers", [row()], name=name, metadata={})


@given(
    a=st.tuples(st.text(max_size=400), st.text(max_size=60)),
    b=st.tuples(st.text(max_size=400), st.text(max_size=60)),
)
def test_names_are_safe_and_differ_for_different_keys(
    a: tuple[str, str], b: tuple[str, str]
) -> None:
    x, y = (part_stem(model_id=m, revision=r, key=[m, r]) for m, r in (a, b))
    assert (x == y) == (a == b)
    assert os.path.basename(x) == x and not x.startswith(".") and x.isascii()
    assert len(f"{x}.parquet".encode()) < 200 and x.isprintable()


def test_model_names_that_a_file_system_would_confuse_stay_apart() -> None:
    ids = ["org/Model", "org/model", "org--model", "org/model.", "org/mod\nel", "../org/model"]
    stems = {part_stem(model_id=m, revision="r", key=[m, "r"]).lower() for m in ids}
    assert len(stems) == len(ids)


def test_a_folder_that_is_a_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(StorageError, match=r"cannot write .*; give a folder this user may write"):
        write_part(str(tmp_path / "results"), "layers", [row()], name="x", metadata={})


_FILL = """
import resource, sys
from catalog.errors import DiskFullError
from catalog.write.parts import write_part
from tests.catalogs import keys, layer_row
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_part(sys.argv[1], "layers", [{**keys(), **layer_row()}], name="x", metadata={})
except DiskFullError as error:
    print(error)
"""


def test_a_file_that_may_not_grow_is_a_typed_error_and_leaves_no_file(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _FILL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "ulimit -f" in done.stdout and "run the same command again" in done.stdout
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    assert DiskFullError.cause == "resource"


def test_a_bucket_takes_the_same_parts() -> None:
    path = write_part("memory://parts", "layers", [row()], name="x", metadata={})
    assert path == "memory:///parts/layers/hot/x.parquet"


def test_an_unknown_scheme_says_what_to_do() -> None:
    with pytest.raises(StorageError, match="install the fsspec driver"):
        write_part("nosuch://bucket", "layers", [row()], name="x", metadata={})
