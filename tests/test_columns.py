"""Columns are declared once: rows become mappings, and units move values, by the declaration alone."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from zoo.cells import cells, empty_cells, out_of_range, scaled
from zoo.columns import (
    COUNT,
    LAMBDA,
    LN_LAMBDA,
    LN_LAMBDA_SPREAD,
    LOG10_LAMBDA,
    LOG10_LAMBDA_ALPHA,
    ONE,
    PER_LAMBDA,
    REQUIRED,
    SCALE,
    SMALL,
    TEXT,
    Called,
    Group,
    columns_of,
    names_of,
)


@dataclass(frozen=True, slots=True)
class Fit(Group):
    """Every way in which a column can depend on the unit of λ."""

    alpha: Annotated[float, ONE]
    start: Annotated[float | None, LAMBDA, Called("lambda")]
    rate: Annotated[float, PER_LAMBDA]
    log: Annotated[float, LOG10_LAMBDA]
    log_alpha: Annotated[float, LOG10_LAMBDA_ALPHA]
    mu: Annotated[float, LN_LAMBDA]
    spread: Annotated[float, LN_LAMBDA_SPREAD]
    windows: int = 0
    """No unit, no column."""


@dataclass(frozen=True, slots=True)
class NoFit:
    """Names no column."""

    why: str


@dataclass(frozen=True, slots=True)
class Row(Group):
    """A row of groups."""

    exponent: Annotated[int, SCALE]
    name: Annotated[str, TEXT, REQUIRED]
    fit: Fit | NoFit | None
    counts: Annotated[tuple[int, ...], COUNT, SMALL] = ()
    verdict: Annotated[Literal["good", "bad"] | None, TEXT] = None


FIT = Fit(alpha=3.0, start=8.0, rate=0.5, log=1.0, log_alpha=2.0, mu=4.0, spread=5.0)


def test_columns_come_in_the_order_of_the_fields_with_those_of_inner_groups() -> None:
    inner = ("alpha", "lambda", "rate", "log", "log_alpha", "mu", "spread")
    assert names_of(Row) == ("name", *inner, "counts", "verdict")


def test_a_columns_type_comes_from_its_field() -> None:
    kinds = {column.name: column.kind for column in columns_of(Row)}
    assert kinds == {**dict.fromkeys(names_of(Fit), "real"), "name": "text", "counts": "ints32",
                     "verdict": "text"}  # fmt: skip
    required = [column.name for column in columns_of(Row) if column.is_required]
    choices = [column.choices for column in columns_of(Row) if column.choices]
    assert (required, choices) == (["name"], [("good", "bad")])


@pytest.mark.parametrize("nothing", [None, NoFit("too few")], ids=["no group", "a reason"])
def test_a_group_that_is_not_there_leaves_its_columns_empty(nothing: NoFit | None) -> None:
    row = cells(Row(0, "a", nothing, (1, 2), "good"))
    assert row == {**empty_cells(Row), "name": "a", "counts": [1, 2], "verdict": "good"}


@dataclass(frozen=True, slots=True)
class Mistaken(Group):
    """Says None outside of what is annotated."""

    alpha: Annotated[float, ONE] | None


def test_a_unit_that_would_not_be_seen_is_refused() -> None:
    with pytest.raises(TypeError, match=r"alpha: got Annotated.* wanted Annotated"):
        names_of(Mistaken)


def test_a_row_is_the_same_after_it_travelled() -> None:
    row = Row(4, "a", FIT, (1,), "bad")
    assert pickle.loads(pickle.dumps(row)) == row


def test_values_are_moved_to_the_unit_of_lambda_as_their_units_say() -> None:
    moved, two = cells(Row(4, "a", FIT)), math.log10(2.0)
    assert (moved["lambda"], moved["rate"]) == (128.0, 0.5 / 16)
    assert (moved["log"], moved["log_alpha"]) == (1.0 + 4 * two, 2.0 + 4 * two * 3.0)
    assert (moved["mu"], moved["spread"]) == (4.0 + 4 * math.log(2.0), 5.0)
    assert moved["alpha"] == 3.0
    assert cells(FIT, exponent=4) == {name: moved[name] for name in names_of(Fit)}


def test_a_value_that_leaves_float64_is_named() -> None:
    row = Row(1022, "a", FIT)
    assert (out_of_range(row), cells(row)["lambda"]) == ("lambda", None)
    assert out_of_range(Row(1000, "a", FIT)) is None


def test_numbers_with_lost_digits_count_as_out_of_range() -> None:
    assert scaled(1.0, -1022) == sys.float_info.min
    assert scaled(1.0, -1023) is None and scaled(1.0, 1024) is None
    assert scaled(0.0, -2000) == 0.0


def test_rows_are_carried_without_torch_and_scipy() -> None:
    """The driver of a sweep unpickles them; loading torch would take it seconds."""
    code = (
        "import sys; import zoo.measure.row;"
        "sys.exit(sorted({'torch', 'scipy', 'pandas'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
