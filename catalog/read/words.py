"""Words of SQL: which are reserved, how a name that is one is written, what may follow in a query."""

from __future__ import annotations

import re
from collections.abc import Sequence

import duckdb

from catalog.schema import TABLES

_WORD = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\b[A-Za-z_]\w*")
"""A text, a quoted name, or a word."""
_PLAIN = re.compile(r"[a-z_]\w*", re.IGNORECASE | re.ASCII)
"""A name that needs no quotes unless it is reserved."""
_TABLE_FOLLOWS = re.compile(r"\b(from|join|describe|summarize|into|table)\s+\w*$", re.IGNORECASE)
"""A query that stops where the name of a table is wanted."""
_WAS = {c.was: c.name for table in TABLES.values() for c in table.columns if c.was}
"""Columns by the name they had."""


def reserved(con: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """Words that are names in quotes alone."""
    query = "select keyword_name from duckdb_keywords() where keyword_category = 'reserved'"
    return frozenset(word for (word,) in con.execute(query).fetchall())


def written(name: str, keywords: frozenset[str]) -> str:
    """`name` as it is written in SQL: in quotes where it is reserved or no plain word."""
    if _PLAIN.fullmatch(name) and name.lower() not in keywords:
        return name
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def hint(con: duckdb.DuckDBPyConnection, query: str) -> str:
    """What may be wrong with a query that DuckDB does not understand; empty when nothing is known.

    A reserved word that was meant as a name is found by trying: with it in quotes the query can be parsed.
    """
    said = ""
    if not _parses(con, query):
        keywords = reserved(con)
        for word in _WORD.finditer(query):
            quoted = f'{query[: word.start()]}"{word[0]}"{query[word.end() :]}'
            if word[0].lower() in keywords and _parses(con, quoted):
                said = f'\n{word[0]} is a reserved word of SQL; as a name it is written "{word[0]}"'
                break
    for word in _WORD.finditer(query):
        name = word[0].strip('"')
        if name in _WAS:
            return f"{said}\nthe column {name} is called {_WAS[name]} now"
    return said


def _parses(con: duckdb.DuckDBPyConnection, query: str) -> bool:
    try:
        return bool(con.extract_statements(query))
    except duckdb.Error:
        return False


def completions(con: duckdb.DuckDBPyConnection, before: str, word: str) -> Sequence[str]:
    """What the unfinished `word`, behind the text `before`, may become.

    Tables where one is wanted, else columns of the tables named so far (of all, where none is), then words
    of SQL.
    """
    query = "select distinct table_name, column_name from duckdb_columns() where schema_name = 'main' and not internal"
    pairs = con.execute(query).fetchall()
    tables = sorted({table for table, _ in pairs})
    if _TABLE_FOLLOWS.search(before + word):
        return _starting(tables, word)
    named = {table for table in tables if re.search(rf"\b{table}\b", before)}
    keywords = reserved(con)
    alias, dot, rest = word.rpartition(".")
    columns = sorted({column for table, column in pairs if table in named or not named})
    fitting = [f"{alias}{dot}{written(column, keywords)}" for column in _starting(columns, rest)]
    return fitting if dot else [*fitting, *_starting(tables, word), *_starting(_USUAL, word)]


def _starting(names: Sequence[str], start: str) -> list[str]:
    return [name for name in names if name.lower().startswith(start.lower())]


_USUAL = (
    "select", "from", "where", "group by", "order by", "limit", "join", "using", "having", "distinct", "describe",
    "summarize", "show tables", "count(*)", "avg(", "median(", "sum(", "min(", "max(", "quantile_cont(", "desc",
    "nulls last", "and", "or", "not", "is null", "between", "like", "case", "when", "then", "else", "end",
    "union all", "with", "semi join", "qualify",
)  # fmt: skip
"""Words of SQL that are worth completing."""
