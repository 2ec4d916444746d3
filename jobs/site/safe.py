"""What strangers wrote, made fit for a page: names of files, data in scripts, text without control characters.

Templates escape by themselves (Jinja2's autoescape); this is what they cannot do. Model ids, tensors, cards and
messages of failures come from people we do not know, and some of them try.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from jobs.screen.text import printable

SIGNIFICANT = 6
"""Digits of a number in the data of a page; the tables of the catalog have all of them."""
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")
_PATH = re.compile(
    r"(?<![\w/.:])(?:~(?=/)|/(?:home|root|tmp|var|mnt|Users|opt|data|srv|work|etc|usr|proc|scratch|workspace|content|"
    r"private|Volumes|media|nfs|gpfs|lustre|app|kaggle)(?=/)|(?<![A-Za-z])[A-Za-z]:\\(?!u[0-9a-f]{4}))[^\s'\"<>|,;]*"
)
"""An absolute path of a machine, as messages of failures have them."""


def slug(model_id: str) -> str:
    """The name of a model's files: readable, short, and different for different ids on any file system."""
    digest = hashlib.blake2b(model_id.encode(), digest_size=5).hexdigest()
    readable = _UNFIT.sub("-", model_id).strip(".-")[:60].lower()
    return f"{readable or 'model'}-{digest}"


def text(value: str) -> str:
    """`value` without control characters, marks that turn the direction of writing, and lone surrogates."""
    return value if value.isascii() and value.isprintable() else printable(value)


def without_paths(value: str) -> str:
    """`value` with absolute paths of this machine cut to their last piece."""
    return _PATH.sub(lambda path: "…/" + re.split(r"[/\\]", path[0].rstrip("/\\"))[-1], value)


def cell(value: object) -> object:
    """A value as a page's data hold it: finite numbers with six digits, times as text, all else as text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return float(f"{value:.{SIGNIFICANT}g}") if math.isfinite(value) else None
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M}"
    if isinstance(value, Mapping):
        return {text(str(key)): cell(inner) for key, inner in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [cell(inner) for inner in value]
    return text(str(value))


def columnar(
    rows: Sequence[Mapping[str, object]], names: Sequence[str]
) -> dict[str, Sequence[object]]:
    """Rows as lists by column, which are half as long in JSON: what `ZOO.rows` of the pages takes."""
    return {"columns": list(names), "cells": [[cell(row.get(n)) for row in rows] for n in names]}


def script_json(value: object) -> str:
    """JSON that may stand in a script and in a page: no tag can begin in it, no line ends in a text of it."""
    plain = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def data_script(name: str, value: object) -> str:
    """A script that hands `value` to the pages under `name`; pages from a disk cannot fetch JSON."""
    return f"ZOO.put({script_json(name)},{script_json(value)});\n"
