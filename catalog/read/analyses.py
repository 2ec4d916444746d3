"""What analyses were asked for, which can be compared, and how two of them differ, in words.

Models can be compared when their numbers were asked for with the same options, choice of layers and
versions (column `asked` of `models`; its analysis_key in rows older than that column).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

import duckdb

from catalog.errors import QueryError
from catalog.read.query import ask_rows

_KNOWN = """
select analysis_key, coalesce(asked, options_key, analysis_key) as compared_as,
    count(distinct model_id) as num_models, epoch_us(max(committed_at)) as newest
from models
group by all
order by newest desc, analysis_key
"""
VIEWS = frozenset({"models"})
"""What `resolve` asks."""


def resolve(con: duckdb.DuckDBPyConnection, key: str) -> str:
    """`compared_as` of the analysis whose key begins with `key`; QueryError with the list otherwise."""
    rows = ask_rows(con, _KNOWN).to_pylist()
    fitting = {row["compared_as"] for row in rows if row["analysis_key"].startswith(key.lower())}
    if len(fitting) == 1:
        return str(fitting.pop())
    there = ", ".join(
        f"{row['analysis_key'][:8]} ({row['num_models']} models, {day(row['newest'])})"
        for row in rows[:10]
    )
    what = f"no analysis {key!r:.40}" if not fitting else f"several analyses begin with {key!r:.40}"
    raise QueryError(f"--analysis: {what}; the catalog has {there or 'none'}")


def differences(asked: str, board: str) -> str:
    """How what a model was asked for differs from what the board's was: `metrics tail (board: all)`.

    Empty where one of them was not recorded.
    """
    own, others = _fields(asked), _fields(board)
    if own is None or others is None:
        return ""
    names = [name for name in sorted({*own, *others}) if own.get(name) != others.get(name)]
    return ", ".join(
        f"{name.rpartition('.')[2]} {_value(own.get(name))} (board: {_value(others.get(name))})"
        for name in names
    )


def _fields(asked: str) -> dict[str, object] | None:
    """What was asked for, flat, by `table.name`; None for a key that stands for what is not recorded."""
    if not asked.startswith("{"):
        return None
    flat: dict[str, object] = {}
    for name, value in json.loads(asked).items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            flat["." + {"numbers": "numbers of version"}.get(name, name)] = value
    return flat


def _value(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, list):
        return ";".join(map(str, value)) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def day(microseconds: int) -> str:
    """The day of a time in microseconds since 1970, UTC."""
    return f"{datetime.fromtimestamp(microseconds / 1e6, UTC):%Y-%m-%d}"
