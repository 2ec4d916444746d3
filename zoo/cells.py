"""Rows as mappings from column to value: what tables and pandas take.

Where the λ of a group are in units of 2^e, the declared units say how each value moves. Knows no
particular column.
"""

from __future__ import annotations

import math
import sys

from zoo.columns import Column, Group, Inner, Plan, names_of, plan_of


def cells(row: Group, *, exponent: int = 0) -> dict[str, object]:
    """`row` as a mapping from column to value, λ in their own unit, for what knows no dataclasses:
    tables, pandas. Every column is there.

    `exponent`: λ are in units of 2^exponent, in a group that does not say so itself.
    """
    values: dict[str, object] = {}
    _fill(values, row, plan_of(type(row)), exponent)
    return values


def empty_cells(row: type[Group]) -> dict[str, object]:
    """The mapping of a row of which nothing is known."""
    return dict.fromkeys(names_of(row))


def out_of_range(row: Group) -> str | None:
    """The first column that has a value which leaves float64 in units of λ; None when all fit."""
    return _first_lost(row, plan_of(type(row)), 0)


def scaled(value: float, exponent: int) -> float | None:
    """value·2^exponent; None when it leaves the range of float64 (subnormal: has lost digits)."""
    try:
        result = math.ldexp(value, exponent)
    except OverflowError:
        return None
    return result if abs(result) >= sys.float_info.min or value == 0.0 else None


def true_value(column: Column, group: object, exponent: int) -> object:
    """The value as it is stored, of a `group` whose λ are in units of 2^exponent."""
    value = getattr(group, column.field, None)
    if isinstance(value, tuple):
        return list(value)
    if exponent == 0 or not isinstance(value, float):
        return value
    unit = column.unit
    if unit.power:
        return scaled(value, unit.power * exponent)
    factor = getattr(group, unit.times) if unit.times else 1.0
    return value + exponent * unit.log_of_2 * factor if unit.log_of_2 else value


def _fill(values: dict[str, object], group: object, plan: Plan, exponent: int) -> None:
    if group is not None and plan.scale is not None:
        exponent = getattr(group, plan.scale)
    if plan.plain and exponent == 0:
        for name, field in plan.plain:
            values[name] = getattr(group, field, None)
        return
    for step in plan.steps:
        if isinstance(step, Column):
            values[step.name] = true_value(step, group, exponent)
        else:
            _fill(values, getattr(group, step.field, None), step.plan, exponent)


def _first_lost(group: object, plan: Plan, exponent: int) -> str | None:
    if group is None:
        return None
    if plan.scale is not None:
        exponent = getattr(group, plan.scale)
    for step in plan.steps:
        if isinstance(step, Inner):
            lost = _first_lost(getattr(group, step.field), step.plan, exponent)
            if lost is not None:
                return lost
        elif getattr(group, step.field, None) is not None:
            if true_value(step, group, exponent) is None:
                return step.name
    return None
