"""What the parts of a catalog are called: after the unit, then the sweep, whose rows they hold.

Touches no file, and loads nothing: a question about the catalog needs names as well.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from catalog.schema import TABLES


@dataclass(frozen=True, slots=True, order=True)
class UnitKey:
    """The unit of work, of commit and of resume."""

    model_id: str
    """Hub repository or `local/<name>`."""
    revision: str
    """Commit sha or content fingerprint."""
    analysis_key: str
    """Hash of everything that can move a number."""


def part_stem(*, model_id: str, revision: str, key: Sequence[str]) -> str:
    """File name (without ending) of the part that `key` names, under 200 bytes.

    Readable first, unique by the hash at its end: two keys never share a name, whatever
    characters or length the model id has, and no name leaves its folder.
    """
    return f"{_slug(model_id, 80)}--{_slug(revision, 12)}--{digest(key)}"


def _slug(text: str, length: int) -> str:
    """`text` with plain letters alone, cut to `length`."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", text.replace("/", "--"))
    return plain.strip("-.")[:length] or "x"


def digest(key: Sequence[str]) -> str:
    """32 hex digits over the pieces of a key, each prefixed by its length."""
    hashed = hashlib.blake2b(digest_size=16)
    for piece in key:
        raw = piece.encode("utf-8", "surrogatepass")
        hashed.update(len(raw).to_bytes(8, "little") + raw)
    return hashed.hexdigest()


def unit_stem(key: UnitKey) -> str:
    """What the names of all hot files of a unit begin with."""
    unit = [key.model_id, key.revision, key.analysis_key]
    return part_stem(model_id=key.model_id, revision=key.revision, key=unit)


def part_name(table: str, keys: Mapping[str, str]) -> str:
    """File name (without ending) of the part of `table` that holds `keys`, its part key.

    Parts of a commit are named after the unit, then after the sweep, so that all parts of a unit
    can be told by their names.
    """
    columns = TABLES[table].part_key
    unit = [column for column in columns if column != "sweep_id"]
    stem = part_stem(
        model_id=keys.get("model_id", keys.get("sweep_id", "")),
        revision=keys.get("revision", "sweep"),
        key=[keys[column] for column in unit or columns],
    )
    if not unit or len(unit) == len(columns):
        return stem
    return f"{stem}-{digest([keys['sweep_id']])[:16]}"
