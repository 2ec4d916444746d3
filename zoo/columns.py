"""What a column of a stored row is: declared once, as a field of a dataclass beside its formula.

    @dataclass(frozen=True, slots=True)
    class Scalars(Group):
        lambda_max: Annotated[float | None, LAMBDA]
        \"""Largest eigenvalue.\"""

The field's name is the column's, its type says what is stored, its `Unit` what it counts in and how it
scales with λ; the docstring below it is its entry in docs/tables.md, where None reads NULL. Such a
dataclass is a `Group`. A row is a dataclass of groups: a group that is None leaves its columns NULL. What
measures, refits and stores reads these declarations (`cells` makes mappings of rows); the catalog keeps a
generated copy of them, as it imports nothing of this package. Knows no particular column, and imports
the standard library alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from datetime import datetime
from types import NoneType, UnionType
from typing import Annotated, ClassVar, Literal, Union, get_args, get_origin, get_type_hints


@dataclass(frozen=True, slots=True)
class Unit:
    """What a column counts in, and how it moves when every λ is multiplied by 2^e."""

    label: str
    """The unit as the tables show it: `1` for a pure number, `count`, `s`, `λ`, ..."""
    power: int = 0
    """The value is multiplied by 2^(power·e)."""
    log_of_2: float = 0.0
    """For a logarithm of λ: log 2 in its base, so that e·log_of_2 is added to the value."""
    times: str = ""
    """Field of the same group that such a logarithm is multiplied by."""


# The units in use. `1` is a pure number, `count` and `index` are whole ones.
ONE = Unit("1")
COUNT = Unit("count")
INDEX = Unit("index")
TEXT = Unit("text")
FLAG = Unit("flag")
SECONDS = Unit("s")
BYTES = Unit("bytes")
STEPS = Unit("steps")
UTC_TIME = Unit("UTC")
JSON = Unit("JSON")
NAT = Unit("nat")
WEIGHT = Unit("w")
"""The unit of an entry of the matrix."""
LAMBDA = Unit("λ", power=1)
PER_LAMBDA = Unit("1/λ", power=-1)
LOG10_LAMBDA = Unit("log10 λ", log_of_2=math.log10(2.0))
LOG10_LAMBDA_ALPHA = Unit("log10 λ^alpha", log_of_2=math.log10(2.0), times="alpha")
LN_LAMBDA = Unit("ln λ", log_of_2=math.log(2.0))
LN_LAMBDA_SPREAD = Unit("ln λ")
"""A difference of two logarithms, which no unit of λ moves."""


@dataclass(frozen=True, slots=True)
class Called:
    """The column's name where Python has that word for itself."""

    name: str


class Group:
    """What a dataclass of columns, and one of such groups, has as its base."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()

    def __reduce__(self) -> tuple[type[Group], tuple[object, ...]]:
        """Pickled by its fields alone: rows travel from worker to driver by the thousand, and what a
        dataclass does by itself takes twice as long."""
        return type(self), tuple([getattr(self, name) for name in self.__match_args__])


@dataclass(frozen=True, slots=True)
class Since:
    """The schema version that added the column; rows written before have NULL there. Without it, the first."""

    version: int
    was: str = ""
    """Its name in rows written before, where it had another one."""


class _Mark:
    """A word beside the unit of a field."""


REQUIRED = _Mark()
"""No row is without a value."""
SMALL = _Mark()
"""Whole numbers are stored in 32 bits instead of 64."""
ARRAY = _Mark()
"""The field is an array of float32, stored as a list."""
SCALE = _Mark()
"""No column: the field is e, and every λ of its group, and of the groups inside, is in units of 2^e."""

Kind = Literal["text", "flag", "int", "int32", "real", "time", "ints", "ints32", "reals32"]
"""What a column stores."""
_KINDS: dict[object, Kind] = {
    str: "text",
    bool: "flag",
    int: "int",
    float: "real",
    datetime: "time",
    tuple[int, ...]: "ints",
}
"""What is stored of a field, by its type."""
_SMALL_KINDS: dict[Kind, Kind] = {"int": "int32", "ints": "ints32"}
"""What a field marked `SMALL` stores in their place."""


@dataclass(frozen=True, slots=True)
class Column:
    """One declared column."""

    name: str
    field: str
    """Field of `group` that holds the value."""
    group: type[Group]
    """The group that declares it."""
    kind: Kind
    """What is stored."""
    unit: Unit
    is_required: bool
    choices: tuple[str, ...]
    """The only values of a text that has few; empty: any."""
    since: Since
    """When it was added."""


def columns_of(row: type[Group]) -> tuple[Column, ...]:
    """Every column that the dataclass `row` and the groups inside it declare, in order."""
    return tuple(
        column
        for step in plan_of(row).steps
        for column in ((step,) if isinstance(step, Column) else columns_of(step.row))
    )


def names_of(row: type[Group]) -> tuple[str, ...]:
    """The names of `columns_of`."""
    return tuple(column.name for column in columns_of(row))


@dataclass(frozen=True, slots=True)
class Inner:
    """A field of a group that holds another one."""

    field: str
    row: type[Group]
    """The class that declares the group's columns."""
    plan: Plan


@dataclass(frozen=True, slots=True)
class Plan:
    """How to read a group, worked out once."""

    steps: tuple[Column | Inner, ...]
    """The columns of the group and the groups inside it, in order."""
    scale: str | None
    """Field that holds the exponent of its λ."""
    plain: tuple[tuple[str, str], ...]
    """(column, field) of its columns, where nothing has to be done but to take them; else empty."""


_plans: dict[type[Group], Plan] = {}


def plan_of(row: type[Group]) -> Plan:
    """The plan of a class, made when it is first asked for."""
    plan = _plans.get(row)
    if plan is None:
        plan = _plans[row] = _new_plan(row)
    return plan


def _new_plan(row: type[Group]) -> Plan:
    steps: list[Column | Inner] = []
    scale = None
    hints = get_type_hints(row, include_extras=True)
    for field in fields(row):  # type: ignore[arg-type]  # every group is a dataclass
        hint = hints[field.name]
        marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
        if SCALE in marks:
            scale = field.name
        elif any(isinstance(mark, Unit) for mark in marks):
            steps.append(_column(row, field.name, get_args(hint)[0], marks))
        else:
            steps += _inner(field.name, hint)
    columns = [step for step in steps if isinstance(step, Column)]
    is_plain = len(columns) == len(steps) and not any("ints" in c.kind for c in columns)
    plain = tuple((column.name, column.field) for column in columns) if is_plain else ()
    return Plan(tuple(steps), scale, plain)


def _column(group: type[Group], field: str, hint: object, marks: tuple[object, ...]) -> Column:
    (stored,) = _alternatives(hint)
    choices: tuple[str, ...] = ()
    if get_origin(stored) is Literal:
        choices, stored = get_args(stored), str
    (unit,) = (mark for mark in marks if isinstance(mark, Unit))
    names = [mark.name for mark in marks if isinstance(mark, Called)]
    kind = "reals32" if ARRAY in marks else _KINDS[stored]
    return Column(
        name=names[0] if names else field,
        field=field,
        group=group,
        kind=_SMALL_KINDS[kind] if SMALL in marks else kind,
        unit=unit,
        is_required=REQUIRED in marks,
        choices=choices,
        since=next((mark for mark in marks if isinstance(mark, Since)), Since(1)),
    )


def _inner(field: str, hint: object) -> list[Inner]:
    """The group in a field; of alternatives (a fit, or why there is none) the one that is a group."""
    if any(get_origin(kind) is Annotated for kind in _alternatives(hint)):
        raise TypeError(f"{field}: got Annotated[...] | None; wanted Annotated[... | None, unit]")
    return [
        Inner(field, kind, plan_of(kind))
        for kind in _alternatives(hint)
        if isinstance(kind, type) and issubclass(kind, Group)
    ]


def _alternatives(hint: object) -> tuple[object, ...]:
    """The types of a union without None; of anything else itself."""
    if get_origin(hint) in (Union, UnionType):
        return tuple(kind for kind in get_args(hint) if kind is not NoneType)
    return (hint,)
