"""`zoo plan SPEC`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jobs.screen.output import Format

if TYPE_CHECKING:
    from jobs.units.plan import UnitPlan
    from jobs.units.unit import Unit

COLUMNS = (
    "model", "revision", "step", "params", "tensors", "analysed", "companion", "skipped", "unknown",
    "layers", "bytes", "requests", "est_s", "note",
)  # fmt: skip


def plan(
    spec: Path,
    *,
    headers: int = 500,
    account: bool = False,
    format: Format = "table",
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
        Print every stored tensor that is not analysed, with the reason, instead of one row a model.
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
    from jobs.sweep.loop import units_of
    from jobs.units.plan import plan_units

    if headers < 0:
        raise SpecError(f"--headers: got {headers}; wanted 0 or more")
    parsed, _ = load_spec(spec)
    progress = Progress(quiet=quiet)
    hear_hub(progress)
    rows: list[dict[str, object]] = []
    entries: list[dict[str, object]] = []
    total = {"planned": 0, "layers": 0, "bytes": 0, "unknown": 0, "failed": 0, "unread": 0}
    seconds = 0.0
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
            seconds += unit_plan.seconds
            rows.append(_row(unit_plan))
            if account:
                entries += _entries(unit_plan)
    if account:
        print_rows(
            entries, columns=("model", "tensor", "fate", "reason"), format=format, quiet=quiet
        )
    else:
        print_rows(rows, columns=COLUMNS, format=format, quiet=quiet)
    summary = (
        f"{total['planned']} units, {total['layers']} layers, {total['bytes'] / 1e9:.2f} GB to read, "
        f"about {seconds:.0f} s on one worker; {total['unknown']} tensors nobody can decode"
        f"{' (see --account)' if total['unknown'] else ''}, {total['failed']} units that cannot be opened"
    )
    if total["unread"]:
        summary += f"; {total['unread']} more units listed, their headers not read (see --headers)"
    progress.say(summary)
    return 1 if total["failed"] else 0


def _entries(found: UnitPlan) -> list[dict[str, object]]:
    model = found.unit.target.model_id
    return [
        {"model": model, "tensor": e.tensor, "fate": e.fate, "reason": e.reason}
        for e in found.entries
        if e.fate != "analysed"
    ]


def _unread_row(unit: Unit) -> dict[str, object]:
    target = unit.target
    return {
        "model": target.model_id,
        "revision": target.revision[:12],
        "step": target.step,
        "params": target.num_params,
        "note": "headers not read",
    }


def _row(found: UnitPlan) -> dict[str, object]:
    target = found.unit.target
    return {
        "model": target.model_id,
        "revision": target.revision[:12],
        "step": target.step,
        "params": found.num_params,
        "tensors": sum(found.fates.values()),
        **{
            fate: found.fates.get(fate, 0)
            for fate in ("analysed", "companion", "skipped", "unknown")
        },
        "layers": found.num_layers,
        "bytes": found.nbytes,
        "requests": found.requests,
        "est_s": round(found.seconds, 1),
        "note": "; ".join(f"{count} {reason}" for reason, count in sorted(found.reasons.items()))
        or None,
    }


def _failed_row(unit: Unit, message: str) -> dict[str, object]:
    target = unit.target
    return {
        "model": target.model_id,
        "revision": target.revision[:12],
        "step": target.step,
        "note": message,
    }
