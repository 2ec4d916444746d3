"""What an experiment found, as a Markdown page with what made it: set-up, versions, machine, command."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.experiments.place import Findings, Row


def write_report(findings: Findings, folder: Path, *, seconds: float) -> Path:
    """Write `folder`/report.md: first what contradicts the papers, then claims, tables, figures, set-up."""
    against = [claim for claim in findings.claims if claim.verdict == "contradicts"]
    lines = [f"# {findings.title}", ""]
    lines += [f"- **Contradicts the papers**: {c.claim}. Ours: {c.ours}." for c in against]
    lines += ["", *_table([claim.row() for claim in findings.claims])]
    for table in findings.tables:
        lines += ["", f"## {table.title}", "", *_table(table.rows)]
    for figure in findings.figures:
        lines += ["", f"![{findings.title}]({figure.relative_to(folder).as_posix()})"]
    lines += ["", "## What made it", ""]
    lines += [f"- {note}" for note in findings.notes]
    lines += [f"- {name}: {value}" for name, value in findings.setup.items()]
    versions = ", ".join(
        f"{n} {importlib.metadata.version(n)}" for n in ("torch", "numpy", "scipy")
    )
    lines += [
        f"- Python {platform.python_version()}, {versions}; {_processor()}",
        f"- {seconds:.0f} s on this machine; `zoo {shlex.join(sys.argv[1:])}`",
        "",
    ]
    path = folder / "report.md"
    aside = path.with_name(".report.md.partial")
    aside.write_text("\n".join(lines), encoding="utf-8")
    aside.rename(path)
    return path


def _processor() -> str:
    """As Linux calls it, where it is Linux."""
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        models = [line for line in text.splitlines() if line.startswith("model name")]
        return models[0].partition(":")[2].strip() if models else platform.machine()
    return platform.machine()


def _table(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return ["(no rows)"]
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(_cell(row[name]) for name in names) + " |" for row in rows]
    return lines


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")
