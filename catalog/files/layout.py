"""What lies where in a catalog's folder: the file that makes it a catalog, and generations of parts.

<root>/zoo-catalog.json            MARKER
<root>/<table>/hot/*.parquet       HOT: as commits write them
<root>/<table>/g000001/*.parquet   generation(1): compacted files
<root>/<table>/g000000/*.parquet   SEED: an empty file that pins the columns
"""

from __future__ import annotations

import json

from catalog.errors import NotACatalogError
from catalog.files.folder import Folder
from catalog.schema import SCHEMA_VERSION

MARKER = "zoo-catalog.json"
"""File at the root that makes a folder a catalog."""

HOT = "hot"
"""Generation (folder) of parts as commits write them. Sorts after every compacted generation."""

SEED = ("g000000", f"schema-{SCHEMA_VERSION}.parquet")
"""The empty file of every table: it pins the columns, and no glob is ever without a file."""


def generation(number: int) -> str:
    """Folder of the compacted files of one run of `compact`; a greater one is newer."""
    return f"g{number:06d}"


def check_marker(folder: Folder) -> int:
    """The schema version of the catalog in `folder`; NotACatalogError without one, or a newer."""
    if not folder.exists(MARKER):
        raise NotACatalogError(
            f"no catalog in {folder.root} (no {MARKER}); give the folder a sweep wrote to, "
            f"or make one with `zoo sweep SPEC --out {folder.root}`"
        )
    try:
        version = json.loads(folder.read(MARKER))["zoo.schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise NotACatalogError(f"{folder.at(MARKER)} is not readable as JSON: {error}") from error
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise NotACatalogError(
            f"{folder.root} has schema {version!r}, this program knows up to {SCHEMA_VERSION}; "
            f"update it"
        )
    return version
