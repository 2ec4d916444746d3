"""Where zoo meets catalog: every column that is measured is stored, and every stored column is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.schema import TABLES
from catalog.schema.keys import KEYS
from jobs.sweep import rows
from tests.models import weights, write_model
from zoo.api import Report, analyze

LATER = {"jsd", "jsd_stderr", "jsd_control_p95", "probe_kind", "num_probes", "temperature"}
"""Columns of the probes, which are not built yet: always NULL."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    tensors = weights(0, (60, 40), (40, 30))
    tensors["layers.0.weight"][5, 5] = 200.0  # a trap
    return analyze(write_model(tmp_path_factory.mktemp("joint"), tensors))


def stored(table: str) -> set[str]:
    return {column.name for column in TABLES[table].columns} - {column.name for column in KEYS}


def test_a_layers_row_has_every_column_of_the_table(report: Report) -> None:
    assert set(rows.layer_row(report.reports[0], step=None)) == stored("layers")


def test_a_traps_row_has_every_column_of_the_table(report: Report) -> None:
    assert report.reports[0].traps
    row = rows.trap_rows(report.reports[0])[0]
    assert stored("traps") - LATER <= set(row) <= stored("traps")


def test_a_spectra_row_has_every_column_of_the_table(report: Report) -> None:
    row = rows.spectrum_row(report.reports[0])
    assert row is not None
    assert set(row) == stored("spectra")


def test_a_layer_that_was_not_measured_still_has_every_column(tmp_path: Path) -> None:
    tensors = weights(0, (60, 40))
    tensors["layers.0.weight"][0, 0] = float("inf")
    failed = analyze(write_model(tmp_path, tensors)).reports[0]
    assert set(rows.layer_row(failed, step=None)) == stored("layers")
