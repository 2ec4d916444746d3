"""What lies where in a catalog's folder: the file that makes it a catalog, and generations of parts.

<root>/_zoo-catalog.json           the marker (`MARKER`)
<root>/<table>/hot/*.parquet       parts as commits write them (`HOT`)
<root>/<table>/g000001/*.parquet   compacted files (`generation(1)`)
<root>/<table>/g000000/*.parquet   an empty file for every schema version (`seed`)
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from catalog.errors import NotACatalogError
from catalog.files.folder import OLD_MARKER, Folder
from catalog.schema import SCHEMA_VERSION

MARKER = "_zoo-catalog.json"
"""The file at the root that makes a folder a catalog; `OLD_MARKER` in one that version 0.1.0 made."""

HOT = "hot"
"""The generation (folder) of parts as commits write them. It sorts after every compacted one."""

SEEDS = "g000000"
"""The generation (folder) of a table's empty files, one for every schema version it has seen."""


def seed(version: int) -> tuple[str, str]:
    """Folder and name of the empty file of a table under schema `version`.

    So no glob is ever without a file. It stays when the catalog gets a newer schema: a program of
    the older version that is open takes its columns from it, the first file by name.
    """
    return SEEDS, f"schema-{version}.parquet"


def generation(number: int) -> str:
    """Folder of the compacted files of one run of `compact`; a greater one is newer."""
    return f"g{number:06d}"


@dataclass(frozen=True, slots=True)
class Marker:
    """What the marker says of the files of a catalog."""

    version: int
    """Schema version that writers keep to."""
    oldest: int
    """Schema version that the oldest files may have: that of the program that made the catalog.

    A compaction that leaves no such file does not raise it. A program of the older version may still
    be open, and commit a file of its own at any time; and the empty file of its version, which it takes
    its columns from, would be the first one by name, which a catalog of one version is read by. It
    costs nothing where it could be raised: there are few files then.
    """

    def to_bytes(self) -> bytes:
        """The marker as it is stored."""
        return json.dumps({"zoo.schema": self.version, "zoo.oldest": self.oldest}).encode()


def marker_name(folder: Folder) -> str | None:
    """Name of the marker of the catalog in `folder`; None when there is no catalog."""
    return next((name for name in (OLD_MARKER, MARKER) if folder.exists(name)), None)


def read_marker(folder: Folder) -> Marker:
    """The marker of the catalog in `folder`; NotACatalogError without one, or one of a newer schema."""
    name = marker_name(folder)
    if name is None:
        raise NotACatalogError(
            f"no catalog in {folder.root} (no {MARKER}); give the folder a sweep wrote to, "
            f"or make one with `zoo sweep SPEC --out {folder.root}`"
        )
    try:
        stored = json.loads(folder.read(name))
        version = stored["zoo.schema"]
        oldest = stored.get("zoo.oldest", 1)
    except (ValueError, KeyError, TypeError) as error:
        raise NotACatalogError(f"{folder.at(name)} is not readable as JSON: {error}") from error
    if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
        raise NotACatalogError(
            f"{folder.root} has schema {version!r}, this program knows up to {SCHEMA_VERSION}: a "
            f"newer zoo wrote it; update this one (pip install --upgrade spectral-zoo), or use "
            f"another catalog (--out)"
        )
    return Marker(version, oldest if isinstance(oldest, int) else 1)


def check_marker(folder: Folder) -> int:
    """The schema version of the catalog in `folder`; NotACatalogError without one, or a newer."""
    return read_marker(folder).version
