"""What is wrong with a spec, key by key, in TOML's words instead of pydantic's."""

from __future__ import annotations

import difflib
import re
from typing import Any, get_args

from pydantic import BaseModel

from jobs.spec.tables import Spec

_WANTED = {
    "string_type": "text in quotes",
    "tuple_type": "a list in square brackets",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "model_type": "a table",
}
"""What pydantic's types of errors ask for, in TOML's words."""


def _path(location: tuple[str | int, ...]) -> str:
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else (f".{step}" if text else str(step))
    return text or "spec"


def explain(item: dict[str, Any]) -> str:
    """One line for one of pydantic's errors: the path of the key, what we got, what we wanted."""
    location = tuple(s for s in item["loc"] if s not in ("str", "int"))
    path = _path(location)
    kind, got = item["type"], item.get("input")
    if kind == "too_short" and path == "source" and got and got != ():
        return ""  # pydantic counts only the valid ones; the wrong ones have lines of their own
    if kind == "extra_forbidden":
        known = _known_keys(location[:-1])
        close = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"{path}: unknown key; {hint}wanted one of {', '.join(known)}"
    if kind == "missing":
        return f"{path}: missing; wanted at least one [[source]] with hub, query or path"
    message = str(item["msg"])
    if kind == "value_error":
        return f"{path}: {message.removeprefix('Value error, ')}"
    wanted = _WANTED.get(kind) or re.sub(r"^(?:Input|String) should (?:be |have )?", "", message)
    wanted = wanted.replace("greater than or equal to", "at least")
    wanted = wanted.replace("less than or equal to", "at most")
    if kind == "string_pattern_mismatch" and path == "layers.experts":
        wanted = "'all' or 'sample:N', such as 'sample:4'"
    return f"{path}: got {got!r}; wanted {wanted}"


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    table: type[BaseModel] = Spec
    for step in location:
        if isinstance(step, str):
            table = _table_in(table.model_fields[step].annotation)
    return list(table.model_fields)


def _table_in(annotation: Any) -> type[BaseModel]:
    """The table that a key holds, alone, in a list, or perhaps."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(_table_in(a) for a in get_args(annotation) if a not in (type(None), ...))
