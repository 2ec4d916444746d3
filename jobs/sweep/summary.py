"""What a sweep came to, for machines and for a page: JSON, Markdown, and a last line for schedulers.

The names in them are kept from version to version.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Literal

from jobs.screen.secrets import redacted
from jobs.screen.text import printable
from jobs.sweep.loop import SweepResult

SummaryFormat = Literal["md", "json"]
"""How `zoo sweep --summary` prints."""
_MAX_FAILURES = 1000
"""Failures that are named one by one; the counts are of all."""


def facts(result: SweepResult, *, catalog: str, name: str, exit_code: int) -> Mapping[str, object]:
    """Everything there is to say, as JSON has it. Counts are of units; `nbytes` were read for those done."""
    causes = Counter(failed.cause for failed in result.failures)
    return {
        "sweep_id": result.sweep_id,
        "name": name,
        "catalog": redacted(catalog),
        "status": "interrupted" if result.interrupted else "done",
        "exit_code": exit_code,
        "listed": result.num_listed,
        "done": result.num_done,
        "taken_over": result.num_taken_over,
        "skipped": result.num_skipped,
        "failed": result.num_failed,
        "failed_before": result.num_failed_before,
        "seconds": round(result.seconds, 3),
        "nbytes": result.nbytes,
        "failed_by_cause": dict(sorted(causes.items())),
        "failures": [
            {
                "model_id": failed.model_id,
                "step": failed.step,
                "cause": failed.cause,
                "message": redacted(failed.message),
            }
            for failed in result.failures[:_MAX_FAILURES]
        ],
    }


def as_json(said: Mapping[str, object]) -> str:
    """One line: a file of them is a log of nights."""
    return json.dumps(said, ensure_ascii=False)


def as_markdown(said: Mapping[str, object]) -> str:
    """A heading, the counts, and a row a failure."""
    counts = ("listed", "done", "taken_over", "skipped", "failed", "failed_before")
    lines = [
        f"## Sweep {_cell(said['name'])}: {said['status']}",
        "",
        f"`{_cell(said['sweep_id'])}` into `{_cell(said['catalog'])}`, {said['seconds']:.0f} s, "
        f"{said['nbytes']:,} bytes read, exit code {said['exit_code']}.",
        "",
        "| " + " | ".join(name.replace("_", " ") for name in counts) + " |",
        "|" + " ---: |" * len(counts),
        "| " + " | ".join(str(said[name]) for name in counts) + " |",
    ]
    failures = said["failures"]
    assert isinstance(failures, list)
    if failures:
        lines += ["", "| failed model | step | cause | message |", "| --- | ---: | --- | --- |"]
        for failed in failures:
            cells = [failed[key] for key in ("model_id", "step", "cause", "message")]
            lines.append("| " + " | ".join("" if c is None else _cell(c) for c in cells) + " |")
        more = sum(_counts(said).values()) - len(failures)
        if more:
            lines += ["", f"and {more} more (`zoo status`, table `failures`)"]
    return "\n".join(lines)


def last_line(said: Mapping[str, object]) -> str:
    """`zoo-sweep status=done exit_code=0 …`: words and numbers without blanks, for a scheduler's log."""
    names = ("status", "exit_code", "listed", "done", "taken_over", "skipped", "failed", "failed_before",
             "seconds", "nbytes", "sweep_id")  # fmt: skip
    causes = ",".join(f"{cause}:{number}" for cause, number in _counts(said).items())
    pairs = [f"{name}={said[name]}" for name in names]
    return " ".join(["zoo-sweep", *pairs, f"causes={causes or 'none'}"])


def _counts(said: Mapping[str, object]) -> Mapping[str, int]:
    counts = said["failed_by_cause"]
    assert isinstance(counts, dict)
    return counts


def _cell(value: object) -> str:
    text = printable(str(value)).replace("\\", "\\\\").replace("|", "\\|")
    return text.replace("<", "&lt;").replace("`", "\\`")
