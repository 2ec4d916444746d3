"""Other programs read the folder without us: pyarrow, pandas, polars, the stock duckdb. Versions are printed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from catalog.read.query import ask_rows
from catalog.read.views import connect

UNIT = ["sweep_id", "model_id", "revision", "analysis_key"]


@pytest.fixture(scope="module")
def root(made: tuple[Path, Path]) -> Path:
    return made[0]


@pytest.fixture(scope="module")
def expected(root: Path) -> tuple[int, float]:
    """(layers with an alpha, their sum), by our own views."""
    with connect(root) as con:
        rows = ask_rows(con, "select count(alpha), sum(alpha) from layers_latest").rows
    return rows[0][0], pytest.approx(rows[0][1])


def test_pyarrow_reads_the_folder(root: Path, expected: tuple[int, float]) -> None:
    print("pyarrow", version("pyarrow"))
    models = ds.dataset(root / "models", format="parquet").to_table(columns=UNIT)
    layers = ds.dataset(root / "layers", format="parquet").to_table(columns=[*UNIT, "alpha"])
    joined = layers.join(models, UNIT, join_type="inner")
    alphas = [a for a in joined.column("alpha").to_pylist() if a is not None]
    assert (len(alphas), sum(alphas)) == expected


def test_pandas_reads_the_folder(root: Path, expected: tuple[int, float]) -> None:
    pandas = pytest.importorskip("pandas")
    print("pandas", pandas.__version__)
    models, layers = pandas.read_parquet(root / "models"), pandas.read_parquet(root / "layers")
    alphas = layers.merge(models[UNIT])["alpha"].dropna()
    assert (len(alphas), alphas.sum()) == expected


def test_polars_reads_the_folder(root: Path, expected: tuple[int, float]) -> None:
    polars = pytest.importorskip("polars", reason="needs polars (dev)")
    print("polars", polars.__version__)
    models, layers = (
        polars.scan_parquet(root / name / "*/*.parquet") for name in ("models", "layers")
    )
    alphas = (
        layers.join(models, on=UNIT, how="semi").select("alpha").drop_nulls().collect()["alpha"]
    )
    assert (len(alphas), alphas.sum()) == expected


def test_the_stock_duckdb_reads_the_folder(root: Path, expected: tuple[int, float]) -> None:
    program = shutil.which("duckdb", path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}")
    if program is None:
        pytest.skip("needs duckdb-cli (dev)")
    print("duckdb", subprocess.run([program, "--version"], capture_output=True, text=True).stdout)
    query = (
        f"select count(alpha), sum(alpha) from read_parquet('{root}/layers/*/*.parquet') as l "
        f"semi join read_parquet('{root}/models/*/*.parquet') as m using ({', '.join(UNIT)})"
    )
    done = subprocess.run(
        [program, "-csv", "-noheader", "-c", query], capture_output=True, text=True, check=True
    )
    count, total = done.stdout.strip().split(",")
    assert (int(count), float(total)) == expected
