"""`zoo plan SPEC`"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.screen.shown import AS_USUAL, Format, Shown

if TYPE_CHECKING:
    from jobs.spec.tables import RunTable
    from jobs.units.plan import UnitPlan, WeightCost
    from jobs.units.unit import Unit

COLUMNS = (
    "model", "revision", "step", "params", "tensors", "analysed", "companion", "skipped", "unknown",
    "layers", "bytes", "peak_bytes", "requests", "est_s", "note",
)  # fmt: skip
FIRST = (
    "model",
    "note",
    "layers",
    "bytes",
    "est_s",
    "peak_bytes",
    "params",
    "unknown",
    "skipped",
    "step",
    "revision",
)
"""What a terminal has room for first."""
ACCOUNT_COLUMNS = ("model", "tensor", "fate", "reason", "file", "nbytes")
"""Of `--account`: a row a tensor that is not analysed, and the rest of every file."""


def plan(
    spec: Path,
    *,
    headers: int = 500,
    account: bool = False,
    format: Format = "table",
    shown: Shown = AS_USUAL,
    quiet: bool = False,
) -> int:
    """Read headers only: what a sweep would do and cost, and what it could not read. Spends no compute.

    Parameters
    ----------
    spec
        Sweep spec (TOML).
    headers
        Read the headers of at most this many units; of the rest, print what the listing tells.
    account
        Instead of one row a model, print every stored tensor that is not analysed and every file that is
        not read, with the reason and the bytes; these add up to the bytes of the repository.
    format
        How to print.
    quiet
        No summary on standard error.
    """
    from jobs.errors import SpecError
    from jobs.screen.output import print_rows
    from jobs.screen.progress import Progress, hear_hub
    from jobs.sources.target import Failure
    from jobs.spec.load import load_spec
    from jobs.units.listed import units_of
    from jobs.units.plan import plan_units
    from jobs.units.speed import slowness
    from zoo.hub.greeting import briefly
    from zoo.machine.later import torch_when_used

    if headers < 0:
        raise SpecError(f"--headers: got {headers}; wanted 0 or more")
    torch_when_used()  # headers are read without it
    parsed, _ = load_spec(spec)
    progress = Progress(quiet=quiet)
    hear_hub(progress)
    rows: list[dict[str, object]] = []
    entries: list[dict[str, object]] = []
    total = {"planned": 0, "layers": 0, "bytes": 0, "unknown": 0, "failed": 0, "unread": 0}
    seconds, slow = 0.0, 0.0
    largest: list[tuple[WeightCost | None, str]] = []
    limit_bytes = _limit_bytes(parsed.run)
    with briefly():  # somebody waits: a Hub that cannot be reached is given up after one try
        for unit, unit_plan in plan_units(units_of(parsed, progress.say), headers=headers):
            if unit_plan is None:
                total["unread"] += 1
                rows.append(_unread_row(unit))
            elif isinstance(unit_plan, Failure):
                total["failed"] += 1
                rows.append(_failed_row(unit, f"{unit_plan.cause}: {unit_plan.message}"))
            else:
                total["planned"] += 1
                total["layers"] += unit_plan.num_layers
                total["bytes"] += unit_plan.nbytes
                total["unknown"] += unit_plan.fates.get("unknown", 0)
                slow = slow or slowness()
                seconds += slow * unit_plan.seconds
                largest.append((unit_plan.largest, unit_plan.unit.target.model_id))
                rows.append(_row(unit_plan, limit_bytes, slow))
                if account:
                    entries += _entries(unit_plan)
    if account:
        print_rows(entries, columns=ACCOUNT_COLUMNS, format=format, quiet=quiet, shown=shown)
    else:
        print_rows(rows, columns=COLUMNS, format=format, quiet=quiet, shown=shown, first=FIRST)
    summary = (
        f"{total['planned']} units, {total['layers']} layers, {total['bytes'] / 1e9:.2f} GB to read, "
        f"about {seconds:.0f} s on one worker; {total['unknown']} tensors nobody can decode"
        f"{' (see --account)' if total['unknown'] else ''}, {total['failed']} units that cannot be opened"
    )
    summary += _memory_words(largest)
    if total["unread"]:
        summary += f"; {total['unread']} more units listed, their headers not read (see --headers)"
    progress.say(summary)
    return 1 if total["failed"] else 0


def _limit_bytes(run: RunTable) -> int | None:
    """Memory that one task can have, alone; None where other machines do the work."""
    from zoo.machine.memory import process_limit

    if run.memory is not None:
        return run.memory
    return None if run.runner == "ray" else process_limit().nbytes


def _memory_words(largest: list[tuple[WeightCost | None, str]]) -> str:
    """What the largest matrix of all asks of the worker that measures it."""
    known = [(cost, model) for cost, model in largest if cost is not None]
    if not known:
        return ""
    cost, model = max(known, key=lambda pair: pair[0].peak_bytes)
    return (
        f"; a worker takes up to {cost.peak_bytes / 1e9:.2f} GB of memory ({cost.name} of {model})"
    )


def _entries(unit_plan: UnitPlan) -> list[dict[str, object]]:
    """Every tensor that is not analysed, what is analysed of each file in one row, and the rest of
    each file: `nbytes` adds up to the bytes of the repository."""
    model = unit_plan.unit.target.model_id
    rows: list[dict[str, object]] = []
    analysed: dict[str, list[int]] = {}
    for row in unit_plan.account:
        if row.fate == "analysed":
            analysed.setdefault(row.file, []).append(row.nbytes)
        else:
            rows.append({"model": model, **asdict(row)})
    for file, sizes in analysed.items():
        count = f"{len(sizes)} tensors"
        of_file = {"tensor": file, "fate": "analysed", "reason": count, "file": file}
        rows.append({"model": model, **of_file, "nbytes": sum(sizes)})
    return rows


def _unread_row(unit: Unit) -> dict[str, object]:
    target = unit.target
    return {
        "model": target.model_id,
        "revision": target.revision[:12],
        "step": target.step,
        "params": target.num_params,
        "note": "headers not read",
    }


def _row(unit_plan: UnitPlan, limit_bytes: int | None, slow: float) -> dict[str, object]:
    target = unit_plan.unit.target
    largest = unit_plan.largest
    return {
        "model": target.model_id,
        "revision": target.revision[:12],
        "step": target.step,
        "params": unit_plan.num_params,
        "tensors": sum(unit_plan.fates.values()),
        **{
            fate: unit_plan.fates.get(fate, 0)
            for fate in ("analysed", "companion", "skipped", "unknown")
        },
        "layers": unit_plan.num_layers,
        "bytes": unit_plan.nbytes,
        "peak_bytes": largest.peak_bytes if largest is not None else None,
        "requests": unit_plan.requests,
        "est_s": round(slow * unit_plan.seconds, 1),
        "note": _note(unit_plan, limit_bytes),
    }


def _note(unit_plan: UnitPlan, limit_bytes: int | None) -> str | None:
    """What may go wrong for want of memory; what is not analysed and why: tensors by reason, and files."""
    from zoo.io.left_out import in_one_line

    parts = [f"{count} {reason}" for reason, count in sorted(unit_plan.reasons.items())]
    if not unit_plan.num_measurable and not unit_plan.num_failed:
        parts.insert(0, "no layer to measure: [layers] of the spec leaves out all of them")
    largest = unit_plan.largest
    if largest is not None and limit_bytes is not None and largest.peak_bytes > limit_bytes:
        needs, there_is = f"{largest.peak_bytes / 1e9:.2f} GB", f"{limit_bytes / 1e9:.2f} GB"
        parts.insert(0, f"{largest.name} takes up to {needs} of memory, there are {there_is}")
    if unit_plan.num_deltas:
        base = unit_plan.unit.target.base
        named = f" {base.model_id}@{base.revision[:12]}" if base else ""
        parts.insert(0, f"{unit_plan.num_deltas} of the layers minus the base{named}")
    return "; ".join([*parts, *filter(None, [in_one_line(unit_plan.left_out)])]) or None


def _failed_row(unit: Unit, message: str) -> dict[str, object]:
    target = unit.target
    return {
        "model": target.model_id,
        "revision": target.revision[:12],
        "step": target.step,
        "note": message,
    }
