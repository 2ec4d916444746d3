"""The SQL files of the views, statement by statement, and which statements a question needs.

Defining a view makes DuckDB bind everything below it. All of them together take longer than the
answer to a small question, so a question gets only what it names, and what that stands on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import duckdb

FILES = Path(__file__).resolve().parents[1] / "sql"
"""Folder of the SQL files, which are read in the order of their names."""

DICTIONARY = "dictionary"
"""The table of what every column means; made from the schema, not by a file of SQL."""

COLUMNS = "zoo_columns"
"""The SQL variable that holds what read_parquet takes as `schema`, table by table."""

_UNIFORM = (
    """
create or replace macro internal.rows_of(folder) as table
select * exclude (filename), split_part(filename, '/', -2) as generation
from read_parquet(
    getvariable('zoo') || '/' || folder || '/' || coalesce(getvariable('zoo_files'), '*/*.parquet'),
    filename = true, hive_partitioning = false)
""".strip(),
    "create or replace view internal.raw_traps as from internal.rows_of('traps')",
)
"""In place of those in 10_raw.sql, where no file is of an older schema: then the first file, an empty
one, gives the columns, and a question over many files is answered a third faster."""

_ALWAYS = ("live_models", "snapshot_models")
"""Views that `query` reads before every question."""
_CREATES = re.compile(
    r"(?:create (?:or replace )?(?:view|table|macro) (?:if not exists )?|set variable )([\w.]+)"
)
"""A statement that creates something; the group is the name of it."""
_WORD = re.compile(r"\w+")
"""A word of SQL; names of views are among them."""
_LOOKS_AROUND = re.compile(
    r"\b(show|describe|information_schema|(duckdb|pragma|pg|sqlite)_\w*)\b", re.IGNORECASE
)
"""A question about the views themselves has to say one of these."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One statement of the SQL files."""

    name: str
    """What it creates, without its schema; empty when it creates the schema itself."""
    sql: str
    """The statement, without comments."""
    words: frozenset[str]
    """Every word in it. Views it stands on are among them; a word too many costs time alone."""


def script() -> str:
    """All files in order; expects the SQL variable `zoo` to hold the catalog's root."""
    files = sorted(FILES.glob("*.sql"))
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


@cache
def definitions() -> tuple[Definition, ...]:
    """The statements of `script` in order. No text constant of ours holds `--` or `;`."""
    bare = re.sub(r"--.*", "", script())
    statements = (text.strip() for text in bare.split(";"))
    return tuple(_definition(sql) for sql in statements if sql)


@cache
def uniform_definitions() -> tuple[Definition, ...]:
    """`definitions`, for a catalog without a file of an older schema."""
    instead = {definition.name: definition for definition in map(_definition, _UNIFORM)}
    return tuple(instead.get(d.name, d) for d in definitions() if d.name != COLUMNS)


def mixed_over_uniform() -> str:
    """What makes views that were defined for a uniform catalog read files of an older schema too.

    Binding a view with the columns of 05_columns.sql takes three times as long as with those of a
    file, and to define all views binds each of them often.
    """
    instead = {COLUMNS, *(definition.name for definition in map(_definition, _UNIFORM))}
    return ";\n".join(d.sql for d in definitions() if d.name in instead)


def columns_statement() -> str:
    """The statement that sets the variable COLUMNS."""
    return next(d.sql for d in definitions() if d.name == COLUMNS)


def _definition(sql: str) -> Definition:
    creates = _CREATES.match(sql)
    name = creates[1].rpartition(".")[2] if creates else ""
    return Definition(name, sql, frozenset(_WORD.findall(sql)) - {name})


def script_for(
    views: Iterable[str] | None,
    *,
    is_uniform: bool,
    instead: Mapping[str, Sequence[Definition]] = MappingProxyType({}),
) -> str:
    """The statements that define `views` (None: all), with all they stand on.

    `is_uniform`: no file of the catalog is of an older schema. `instead`: statements in the place of the
    one that defines a name.
    """
    usual = uniform_definitions() if is_uniform else definitions()
    every = tuple(new for old in usual for new in instead.get(old.name, (old,)))
    if views is None:
        return ";\n".join(definition.sql for definition in every)
    wanted = {*views, *_ALWAYS}
    needed: list[str] = []
    for definition in reversed(every):  # a view stands on earlier ones alone
        if not definition.name or definition.name in wanted:
            wanted |= definition.words
            needed.append(definition.sql)
    return ";\n".join(reversed(needed))


def views_of(query: str) -> frozenset[str] | None:
    """Names of the views that the answer to `query` depends on; None when it may be any of them.

    It may be any view where there are several statements, or one that is no SELECT, or where the
    question is about the views themselves, or names none of them.
    """
    try:
        statements = duckdb.extract_statements(query)
    except duckdb.Error:  # the answer will be an error, which may propose a view
        return None
    if [s.type for s in statements] != [duckdb.StatementType.SELECT] or _LOOKS_AROUND.search(query):
        return None
    words = frozenset(word.lower() for word in _WORD.findall(query))
    return words & {DICTIONARY, *(definition.name for definition in definitions())} or None
