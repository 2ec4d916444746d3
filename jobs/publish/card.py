"""The card of a release: what it is, for people and for the Hub, which reads the part between the dashes."""

from __future__ import annotations

from collections.abc import Sequence

import yaml  # type: ignore[import-untyped]

from catalog.read.board_kinds import BOARDS
from catalog.schema import TABLES
from jobs.publish.tables import Written

_HEAD: dict[str, dict[str, object]] = {
    "dataset": {"tags": ["spectral-zoo", "weights", "model-analysis"], "pretty_name": ""},
    "space": {"sdk": "static", "app_file": "index.html", "title": "", "emoji": "📈", "pinned": False,
              "tags": ["spectral-zoo", "leaderboard"]},
}  # fmt: skip


def card(
    title: str, kind: str, tables: Sequence[Written], facts: dict[str, object], *, has_site: bool
) -> str:
    """README.md of the release."""
    head = dict(_HEAD[kind])
    head["title" if kind == "space" else "pretty_name"] = title
    if kind == "dataset":
        # on the Hub a default configuration is what its viewer opens
        head["configs"] = [
            {"config_name": name, "data_files": path}
            for name, path in (
                *((f"board-{board}", f"boards/{board}.parquet") for board in BOARDS),
                *((table.path[5:-8], table.path) for table in tables if table.rows),
            )
        ]
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False, allow_unicode=True).strip(),
        "---",
        "",
        f"# {_plain(title)}",
        "",
        f"Spectra of the weights of {facts['models']:,} models, {facts['layers']:,} layers, without any data, by "
        f"spectral-zoo {facts['version']}; newest measurement {facts['newest'] or 'none'} UTC.",
        "",
    ]
    if has_site and kind == "dataset":
        lines += ["`site/index.html` opens in a browser once this repository is downloaded.", ""]
    lines += [
        "| file | rows | what |",
        "| --- | --- | --- |",
        *(f"| `boards/{b.name}.parquet` | | {b.title}: {b.direction} |" for b in BOARDS.values()),
        *(
            f"| `{table.path}` | {table.rows:,} | {TABLES[table.path[5:-8]].meaning} |"
            for table in tables
        ),
        "",
        "A number that could not be computed is NULL, and `status` or `reason` says why. `release.json` lists every "
        "file with its size, SHA-256 and rows, the versions that measured and wrote it, and the SQL of each board.",
        "",
        "```python",
        "import duckdb",
        "duckdb.sql(\"select model_id, mean_traps, low, high from 'boards/traps.parquet' where rank <= 10\")",
        "```",
        "",
        "What the numbers mean: alpha, the exponent of a layer's power-law tail; Correlation Traps, eigenvalues of the "
        "shuffled matrix beyond the edge of noise; alignment, how far the tail starts from the ERG condition. Names of "
        "machines, paths, specs and logs of the sweeps are left out.",
        "",
    ]
    return "\n".join(lines)


def _plain(title: str) -> str:
    return title.replace("\n", " ").replace("<", "&lt;")
