"""A matrix times 2^k: every column changes as its unit in the schema says, or not at all.

2^k takes the entries out of 2^±40, so that the layer is measured divided by a power of two and its
columns are put back. All other arithmetic is exact, so equal numbers are equal to the last bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch

import zoo
from catalog.schema import TABLES
from catalog.schema.table import REAL
from tests.golden_zoo import heavy, planted

LN2 = math.log(2.0)
UNSCALED = "1", "count", "steps", "bytes", "s", "text", "flag", "index", "√nat", "nat", "log10"
"""Units that know nothing of the scale of W."""
OWN_RULE = {
    "alpha_hat": "alpha·log10 λ",  # its unit is 1
    "lognormal_sigma": "1",  # a spread of ln λ
    "abs_weight_entropy": "|w| ln |w|",  # its unit is nat
}
"""Columns whose unit alone does not say how they change; every other one goes by its unit."""
TIMES = ("read_s", "spectrum_s", "shuffle_s", "total_s")

Row = Mapping[str, object]
OPTIONS = zoo.AnalysisOptions(
    device="cpu", farms=True, alternatives=True, bootstrap=5, clip_fingers=True
)
MATRICES = {
    "heavy": heavy(56, 44, 33),
    "wide": heavy(2, 104, 110),
    "trapped": planted(55, 60, 45, (1, 2, 40.0)),
    "kernel": heavy(10, 14, 9, 3, 3),
}


def measured(scale: float, dtype: torch.dtype) -> zoo.Report:
    """All matrices times `scale`; the shuffles are the same for every scale."""
    tensors = {
        f"{name}.weight": torch.from_numpy(np.asarray(values)).to(torch.float32).to(dtype) * scale
        for name, values in MATRICES.items()
    }
    return zoo.analyze(tensors, options=OPTIONS)


@pytest.fixture(scope="module")
def plain() -> zoo.Report:
    return measured(1.0, torch.float64)


def rule_of(table: str, column: str) -> str:
    return OWN_RULE.get(column, TABLES[table].column(column).unit)


def moved(rule: str, value: float, row: Row, k: int) -> float:
    """What a value of this unit becomes when W is multiplied by 2^k."""
    alpha = row.get("alpha")
    if rule in UNSCALED:
        return value
    if rule == "w":
        return math.ldexp(value, k)
    if rule == "λ":
        return math.ldexp(value, 2 * k)
    if rule == "1/λ":
        return math.ldexp(value, -2 * k)
    if rule == "ln λ":
        return value + 2 * k * LN2
    if rule == "log10 λ":
        return value + 2 * k * math.log10(2.0)
    if rule in ("log10 λ^alpha", "alpha·log10 λ"):
        assert isinstance(alpha, float)
        return value + alpha * 2 * k * math.log10(2.0)
    if rule == "|w| ln |w|":  # −Σ 2^k|w| (ln |w| + k ln 2)
        total = sum_abs(row)
        return math.ldexp(value - k * LN2 * total, k)
    raise AssertionError(f"unit {rule!r}: say in test_units.py how it changes with the scale of W")


def sum_abs(row: Row) -> float:
    """Σ|w| of the matrix a row is of."""
    values = MATRICES[str(row["tensor"]).removesuffix(".weight")]
    return float(np.abs(values.astype(np.float32)).sum(dtype=np.float64))


@pytest.mark.parametrize("k", [90, -90, 150, -150])
def test_each_column_of_a_scaled_matrix_changes_as_its_unit_says(plain: zoo.Report, k: int) -> None:
    scaled = measured(2.0**k, torch.float64)
    for table, befores, afters in (
        ("layers", plain.layers, scaled.layers),
        ("traps", plain.traps, scaled.traps),
    ):
        columns = [c.name for c in TABLES[table].columns if c.type == REAL and c.name not in TIMES]
        assert len(befores) == len(afters) > 0
        for before, after in zip(befores, afters, strict=True):
            for name in columns:
                check(table, name, before, after, k)


def check(table: str, name: str, before: Row, after: Row, k: int) -> None:
    value, rule = before.get(name), rule_of(table, name)
    what = f"{table}.{name} ({rule}) of {before['tensor']} times 2^{k}"
    if not isinstance(value, float):
        assert after.get(name) == value, what
        return
    wanted = moved(rule, value, before, k)
    near = 1e-5 if rule == "|w| ln |w|" else 1e-9  # its logarithms are float32
    assert after[name] == pytest.approx(wanted, rel=near, abs=1e-300 if rule == "λ" else 1e-12), (
        what
    )
