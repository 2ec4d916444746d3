"""Where zoo meets catalog: every column that is measured is stored, and every stored column is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.schema import TABLES
from catalog.schema.keys import KEYS
from jobs.sweep import rows
from jobs.sweep.model_row import ModelRow
from tests.models import weights, write_model
from zoo.api import analyze
from zoo.card import Evaluation
from zoo.cells import cells
from zoo.columns import Group, names_of
from zoo.measure.row import LayerRow, SpectrumRow, TensorRow, TrapRow
from zoo.report import Report

FILLED = {
    "layers": {"step"},
    "evaluations": {"step", "reason"},
    "models": {"parts"},
}
"""Columns that a row gets beside the keys when its unit is committed."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    tensors = weights(0, (60, 40), (40, 30))
    tensors["layers.0.weight"][5, 5] = 200.0  # a trap
    return analyze(write_model(tmp_path_factory.mktemp("joint"), tensors))


def stored(table: str) -> set[str]:
    """Columns of a table but for the keys."""
    return {column.name for column in TABLES[table].columns} - {column.name for column in KEYS}


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("layers", LayerRow),
        ("traps", TrapRow),
        ("spectra", SpectrumRow),
        ("tensors", TensorRow),
        ("evaluations", Evaluation),
        ("models", ModelRow),
    ],
)
def test_a_row_has_every_column_of_its_table(table: str, row: type[Group]) -> None:
    assert set(names_of(row)) | FILLED.get(table, set()) == stored(table)


def test_a_measured_model_fills_its_rows(report: Report) -> None:
    measured = report.reports[0]
    assert measured.traps
    assert list(cells(measured.row)) == list(names_of(LayerRow))
    assert list(cells(measured.traps[0])) == list(names_of(TrapRow))
    (spectrum, *_) = rows.spectrum_rows(report.reports)
    assert list(cells(spectrum)) == list(names_of(SpectrumRow))


def test_a_layer_that_was_not_measured_still_has_every_column(tmp_path: Path) -> None:
    tensors = weights(0, (60, 40))
    tensors["layers.0.weight"][0, 0] = float("inf")
    failed = analyze(write_model(tmp_path, tensors)).reports[0]
    assert list(cells(failed.row)) == list(names_of(LayerRow))
    assert failed.row.measured.outcome.status == "failed"
