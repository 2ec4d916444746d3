"""Bytes, seconds and numbers of parameters as people say them: 1.23 GB, 2.5 min, 22.7 M.

For tables alone; csv and json have the plain numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Unit = Literal["bytes", "s", "params"]
"""What has a human form; everything else is printed as the number it is."""

_PREFIXES = ("", "k", "M", "G", "T", "P")
"""Steps of a thousand."""
_PARAMS = ("params", "num_params")
"""Columns that count parameters."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A cell whose unit no column name tells: `zoo status` has one a row."""

    value: int
    """The plain number, as csv and json have it."""
    unit: str
    """`bytes` and `s` have a human form; any other word is put behind the number."""

    def __str__(self) -> str:
        if self.unit == "bytes":
            return human(self.value, "bytes")
        if self.unit == "s":
            return human(self.value, "s")
        unit = self.unit.removesuffix("s") if self.value == 1 else self.unit
        return f"{self.value} {unit}"


def unit_of(column: str) -> Unit | None:
    """The unit that a column's name tells."""
    words = column.split("_")
    if "bytes" in words or words[-1] == "nbytes":
        return "bytes"
    if column == "seconds" or words[-1] == "s":
        return "s"
    return "params" if column in _PARAMS else None


def human(value: float, unit: Unit) -> str:
    """`value` with three or four significant digits and its unit; parameters have no word for theirs."""
    if unit == "s":
        return _duration(value)
    number = _scaled(value)
    return number if unit == "params" else number + ("B" if number[-1].isalpha() else " B")


def _scaled(value: float) -> str:
    """`value` in the largest thousand that leaves 1 or more; whole below a thousand."""
    number, step = float(value), 0
    while abs(number) >= 999.5 and step < len(_PREFIXES) - 1:
        number /= 1000
        step += 1
    digits = f"{number:.3g}" if step or not number.is_integer() else f"{number:.0f}"
    return f"{digits} {_PREFIXES[step]}".rstrip()


def _duration(seconds: float) -> str:
    if abs(seconds) < 120:
        return f"{seconds:.3g} s"
    if abs(seconds) < 120 * 60:
        return f"{seconds / 60:.3g} min"
    return f"{seconds / 3600:.3g} h"
