"""A catalog to the folder of a release, checked before anybody may send it.

<root>/README.md          the card
<root>/release.json       every file with size, hash and rows; versions; the SQL of each board
<root>/data/*.parquet     the tables
<root>/boards/*.parquet   the leaderboards
<root>/site/              the web pages (of a Space: in <root> itself)
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from catalog.read.board_kinds import BOARDS
from catalog.read.query import ask_rows
from catalog.read.views import connect
from catalog.schema import SCHEMA_VERSION
from jobs.publish.card import card
from jobs.publish.secrets import LEFT_OUT, Guard
from jobs.publish.tables import write_boards, write_tables
from jobs.site.build import build_site
from jobs.site.pages.queries import board_sql
from jobs.units.versions import versions
from zoo.errors import UnsafeError

MANIFEST = "release.json"
"""The file of a release that lists the others."""
Kind = Literal["dataset", "space"]
"""Kinds of repositories on the Hub."""
_ESCAPED = re.compile(r"\\(?:u[0-9a-f]{4}|[nrt])")
"""A letter that JSON writes as a code; behind one a path begins as it does behind a space."""
_TOLD = 5
"""Places that a refusal names."""
_FACTS = """
select count(distinct model_id) as models, coalesce(sum(layers_analysed), 0)::bigint as layers,
    epoch_us(max(committed_at)) as newest from models_latest
"""


def make_release(
    catalog: str,
    root: Path,
    *,
    kind: Kind,
    title: str,
    spectra: bool,
    site: bool,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Write the release of a catalog into the empty folder `root`; its manifest.

    UnsafeError where a file holds what must not leave this machine.
    """
    with connect(catalog) as con:
        (facts,) = ask_rows(con, _FACTS).to_pylist()
        tables = write_tables(con, root, spectra=spectra, say=say)
        boards = write_boards(con, root)
    newest = facts["newest"] and datetime.fromtimestamp(facts["newest"] / 1e6, UTC)
    facts["newest"] = newest and f"{newest:%Y-%m-%d %H:%M}"
    program = json.loads(versions())
    facts["version"] = program["spectral-zoo"]
    if site:
        build_site(
            catalog, root if kind == "space" else root / "site", title=title, say=say, anew=True
        )
    text = card(title, kind, tables, facts, has_site=site)
    (root / "README.md").write_text(text, encoding="utf-8")
    rows = {written.path: written.rows for written in (*tables, *boards.values())}
    manifest = {
        "release": 1,
        "kind": kind,
        "title": title,
        "made_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "catalog": {key: facts[key] for key in ("models", "layers", "newest")},
        "schema": SCHEMA_VERSION,
        "versions": program,
        "left_out": {
            "tables": [] if spectra else ["spectra"],
            "columns": {table: sorted(columns) for table, columns in LEFT_OUT.items()},
        },
        "boards": {
            board.name: {
                "title": board.title,
                "direction": board.direction,
                "file": boards[board.name].path,
                "rows": boards[board.name].rows,
                "sql": board_sql(board),
            }
            for board in BOARDS.values()
        },
        "files": [_file(root, path, rows) for path in _files(root)],
    }
    (root / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    check(root, Guard.of_this_machine(*([] if "://" in catalog else [catalog])))
    return manifest


def check(root: Path, guard: Guard) -> None:
    """UnsafeError, saying where, when a file below `root` holds what must not leave."""
    places = []
    for path in _files(root):
        for where, text in _texts(root / path):
            places += [f"{path}{where}: {what}" for what in guard.find(text)]
            if len(places) >= _TOLD:
                break
    if places:
        raise UnsafeError(
            f"not published, it holds what must not leave this machine: {'; '.join(places[:_TOLD])}. Mend or delete "
            "these rows, or sweep the models again, then publish again"
        )


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    """(place in the file, text) of everything that is text in it."""
    if path.suffix != ".parquet":
        if "vendor" not in path.parts:  # libraries of others, as they were shipped
            written = path.read_text(encoding="utf-8", errors="replace")
            yield "", _ESCAPED.sub(" ", written) if path.suffix == ".js" else written
        return
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches():
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                if pa.types.is_string(column.type):
                    yield f" column {name}", "\n".join(filter(None, column.unique().to_pylist()))


def _files(root: Path) -> Iterable[str]:
    paths = (path for path in root.rglob("*") if path.is_file())
    return sorted(path.relative_to(root).as_posix() for path in paths)


def _file(root: Path, path: str, rows: dict[str, int]) -> dict[str, object]:
    data = (root / path).read_bytes()
    told: dict[str, object] = {
        "path": path,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return told | ({"rows": rows[path]} if path in rows else {})
