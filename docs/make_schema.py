"""Writes catalog/schema/measured.py from the columns that rows declare, most of them beside formulas.

python docs/make_schema.py            rewrite catalog/schema/measured.py
python docs/make_schema.py --check    fail if it is out of date

The catalog imports nothing of zoo, so that it answers without numpy; it keeps this copy instead.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path

from jobs.sweep.model_row import ModelRow
from zoo.card import Evaluation
from zoo.columns import Column, Group, columns_of
from zoo.measure.row import LayerName, LayerRow, SpectrumRow, TensorRow, TrapRow

PAGE = Path(__file__).resolve().parents[1] / "catalog" / "schema" / "measured.py"

ROWS: dict[str, type[Group]] = {
    "LAYER_NAME": LayerName,
    "LAYER": LayerRow,
    "TRAP": TrapRow,
    "SPECTRUM": SpectrumRow,
    "TENSOR": TensorRow,
    "MODEL": ModelRow,
    "EVALUATION": Evaluation,
}
"""The rows that are stored, by the name of their columns in the module."""

TYPES = {
    "text": "TEXT",
    "flag": "FLAG",
    "int": "INT",
    "int32": "INT32",
    "real": "REAL",
    "time": "TIME",
    "ints": "INTS",
    "ints32": "INTS32",
    "reals32": "REALS32",
}
"""What `catalog.schema.table` calls each kind of column."""

HEAD = '''"""The columns of what is measured, row by row. Written by `python docs/make_schema.py`, not by hand.

A column is declared, with this text, in the module named above it: there it is changed. λ are the
eigenvalues of WᵀW (squared singular values, no 1/N); n ≥ m are the sides of W. "Mean-1 units" are
λ·count/Σλ.
"""

from __future__ import annotations

from catalog.schema.table import {types}, Column

# fmt: off
'''


def page() -> str:
    """The whole module."""
    used = {TYPES[column.kind] for row in ROWS.values() for column in columns_of(row)}
    parts = [HEAD.format(types=", ".join(sorted(used)))]
    parts += [f"{name} = (\n{''.join(entries(row))})\n" for name, row in ROWS.items()]
    return "\n".join(parts)


def entries(row: type[Group]) -> Iterator[str]:
    """One entry a column, below the name of the class that declares it."""
    for group, columns in groupby(columns_of(row), key=lambda column: column.group):
        if group is LayerName and row is not LayerName:
            yield "    *LAYER_NAME,\n"
            continue
        yield f"    # {group.__module__}.{group.__qualname__}\n"
        yield from map(_entry, columns)


def _entry(column: Column) -> str:
    meaning = meanings(column.group).get(column.field)
    if meaning is None:
        raise SystemExit(
            f"{column.group.__module__}.{column.group.__qualname__}.{column.field} has no "
            "docstring; write what it means below it"
        )
    first = f'    Column("{column.name}", {TYPES[column.kind]}, "{column.unit.label}",\n'
    options = ", nullable=False" if column.is_required else ""
    if column.choices:
        options += f", choices=({', '.join(_quoted(choice) for choice in column.choices)})"
    if column.since.version > 1:
        options += f", since={column.since.version}"
    if column.since.was:
        options += f", was={_quoted(column.since.was)}"
    lines = textwrap.wrap(meaning, 80, drop_whitespace=False, break_long_words=False)
    text = "\n".join(f"           {_quoted(line)}" for line in lines)
    if options and len(text.splitlines()[-1] + options) > 97:
        options = f",\n           {options.removeprefix(', ')}"
    return f"{first}{text}{options}),\n"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@cache
def meanings(group: type[Group]) -> dict[str, str]:
    """The docstring below each field of a dataclass, on one line."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(group))).body
    assert isinstance(tree, ast.ClassDef)
    texts: dict[str, str] = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            texts[field.target.id] = " ".join(below.value.value.split())
    return texts


def main() -> int:
    """Rewrite, or check."""
    new = page()
    if "--check" in sys.argv:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != new:
            print(
                "catalog/schema/measured.py is out of date; run python docs/make_schema.py",
                file=sys.stderr,
            )
            return 1
        return 0
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
