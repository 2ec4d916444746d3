"""Named questions: one SQL file each in catalog/questions, with a title, notes and parameters in its head.

    -- Which models lead a leaderboard?
    --
    -- Notes, in any number of lines.
    --
    -- $top (integer, 20): rows

The query reads a parameter as `getvariable('top')`, so that a stock DuckDB that has read the views can
`.read` the file as it is, after `set variable top = 5` or without. Here the variables are bound values:
nothing that a user types becomes part of the SQL. Kinds: integer, number, text, and model, which is found
as `zoo show` finds it. The default stands behind the kind: a literal, null, or the word required.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import duckdb

from catalog.errors import QueryError
from catalog.read.definitions import views_of
from catalog.read.model_page import find_model

FILES = Path(__file__).resolve().parents[1] / "questions"
"""Folder of the questions."""
Kind = Literal["integer", "number", "text", "model"]
"""What the value of a parameter is."""
Value = str | int | float | None
"""A parameter's value; None is NULL."""
_PARAMETER = re.compile(
    r"\$(?P<name>[a-z][a-z0-9_]*) \((?P<kind>\w+), (?P<default>[^)]*)\): (?P<said>.+)"
)
"""A parameter in the head of a file, behind its `-- `."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a question can be asked with."""

    name: str
    kind: Kind
    default: Value
    is_required: bool
    """True when it has no default."""
    meaning: str

    @property
    def usage(self) -> str:
        """How it is typed: `top=20`, or `model=...` where there is no default."""
        shown = "..." if self.is_required else "" if self.default is None else str(self.default)
        return f"{self.name}={shown}"


@dataclass(frozen=True, slots=True)
class Question:
    """One question, as its file tells it."""

    name: str
    title: str
    """One line, the question itself."""
    notes: str
    """What the columns are, and how they are to be read."""
    parameters: tuple[Parameter, ...]
    sql: str
    """The whole file."""

    @property
    def views(self) -> frozenset[str] | None:
        """The views that an answer needs, as `views.connect` takes them."""
        named = views_of(self.sql)
        is_about_models = any(parameter.kind == "model" for parameter in self.parameters)
        return named and named | ({"models", "models_latest"} if is_about_models else frozenset())


@cache
def questions() -> Mapping[str, Question]:
    """Every question that comes with the program, by name."""
    return {
        file.stem: parse(file.stem, file.read_text(encoding="utf-8"))
        for file in sorted(FILES.glob("*.sql"))
    }


def find_question(name: str) -> Question:
    """The question called `name` (with - or _), or that of a file of somebody's own (`mine.sql`).

    QueryError, naming those there are, for any other.
    """
    if name.endswith(".sql"):
        try:
            return parse(Path(name).stem, Path(name).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise QueryError(f"cannot read the question {name!r:.200}: {error}") from error
    known = questions()
    question = known.get(name) or known.get(name.replace("_", "-"))
    if question is None:
        raise QueryError(
            f"no question {name!r:.100}; there are {', '.join(known)}, and any file that ends in .sql"
        )
    return question


def parse(name: str, text: str) -> Question:
    """The question in the text of a file; QueryError for a head that says something else."""
    head: list[str] = []
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        head.append(line.removeprefix("--").strip())
    if not head or not head[0]:
        raise QueryError(
            f"question {name!r:.100}: wanted its title in the first line, behind `-- `"
        )
    lines = [line for line in head[1:] if not line.startswith("$")]
    parameters = tuple(_parameter(name, line) for line in head if line.startswith("$"))
    return Question(name, head[0], " ".join(filter(None, lines)), parameters, text)


def _parameter(question: str, line: str) -> Parameter:
    parts = _PARAMETER.fullmatch(line)
    if parts is None or parts["name"].startswith("zoo") or parts["kind"] not in get_args(Kind):
        raise QueryError(
            f"question {question!r:.100}: got the line {line!r:.200}; wanted such as "
            f"`$top (integer, 20): rows`, of kind {', '.join(get_args(Kind))}, the name not "
            "beginning with zoo"
        )
    kind: Kind = parts["kind"]  # type: ignore[assignment]  # one of them, as was just checked
    given, is_required = parts["default"].strip(), parts["default"].strip() == "required"
    default: Value = None
    if not is_required and given != "null":
        try:
            default = ast.literal_eval(given)
        except (ValueError, SyntaxError) as error:
            raise QueryError(
                f"question {question!r:.100}: ${parts['name']}: got {given!r:.100}; wanted a number, "
                "a text in single quotes, null or required"
            ) from error
    return Parameter(parts["name"], kind, default, is_required, parts["said"])


def values_of(question: Question, given: Mapping[str, str]) -> dict[str, Value]:
    """The value of every parameter: what is `given`, as it was typed, else the default.

    QueryError for a parameter that there is not, one that is missing, or a value of another kind.
    """
    known = {parameter.name: parameter for parameter in question.parameters}
    for name in given:
        if name not in known:
            raise QueryError(
                f"{question.name}: no parameter {name!r:.100}; there are "
                f"{', '.join(p.usage for p in question.parameters) or 'none'}"
            )
    values: dict[str, Value] = {}
    for name, parameter in known.items():
        if name in given:
            values[name] = _typed(question, parameter, given[name])
        elif parameter.is_required:
            raise QueryError(f"{question.name}: wanted {name}=...: {parameter.meaning}")
        else:
            values[name] = parameter.default
    return values


def _typed(question: Question, parameter: Parameter, text: str) -> Value:
    if text.lower() == "null":
        return None
    if parameter.kind in ("text", "model"):
        return text
    wanted = int if parameter.kind == "integer" else float
    try:
        return wanted(text)
    except ValueError as error:
        raise QueryError(
            f"{question.name}: {parameter.name}: got {text!r:.100}, wanted "
            f"{'a whole number' if wanted is int else 'a number, such as 7e9'}"
        ) from error


@contextmanager
def bound(
    con: duckdb.DuckDBPyConnection, question: Question, values: Mapping[str, Value]
) -> Iterator[None]:
    """Meanwhile a query on `con` reads these values of the question's parameters.

    QueryError for a model that the catalog has not got.
    """
    for parameter in question.parameters:
        value = values[parameter.name]
        if parameter.kind == "model" and value is not None:
            model = find_model(con, str(value))
            value = f"{model.model_id}@{model.revision}"
        con.execute(f"set variable {parameter.name} = ?", [value])  # a word, see _PARAMETER
    try:
        yield
    finally:
        for parameter in question.parameters:
            con.execute(f"reset variable {parameter.name}")
