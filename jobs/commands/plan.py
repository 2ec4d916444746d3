"""`zoo plan SPEC`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jobs.output import Format

if TYPE_CHECKING:
    from jobs.plan import UnitPlan
    from jobs.units import Unit

COLUMNS = (
    "model", "revision", "step", "params", "tensors", "analysed", "companion", "skipped", "unknown",
    "layers", "bytes", "requests", "est_s", "note",
)  # fmt: skip


def plan(
    spec: Path, *, format: Format = "table", account: bool = False, quiet: bool = False
) -> int:
    """Read headers only: what a sweep would do and cost, and what it could not read. Spends no compute.

    Parameters
    ----------
    spec
        Sweep spec (TOML).
    format
        How to print.
    account
        Print every stored tensor that is not analysed, with the reason, instead of one row a model.
    quiet
        No summary on standard error.
    """
    from jobs.output import print_rows
    from jobs.plan import plan_unit
    from jobs.progress import Progress
    from jobs.spec import load_spec
    from jobs.sweep import units_of
    from zoo.errors import ZooError

    parsed, _ = load_spec(spec)
    rows: list[dict[str, object]] = []
    plans: list[UnitPlan] = []
    failed = 0
    for unit in units_of(parsed):
        failure = unit.target.failure
        if failure is None:
            try:
                found = plan_unit(unit)
            except ZooError as error:
                rows.append(_failed_row(unit, f"{error.cause}: {error}"))
                failed += 1
            else:
                plans.append(found)
                rows.append(_row(found))
        else:
            rows.append(_failed_row(unit, f"{failure.cause}: {failure.message}"))
            failed += 1
    if account:
        entries = [
            {
                "model": p.unit.target.model_id,
                "tensor": e.tensor,
                "fate": e.fate,
                "reason": e.reason,
            }
            for p in plans
            for e in p.entries
            if e.fate != "analysed"
        ]
        print_rows(entries, columns=("model", "tensor", "fate", "reason"), format=format)
    else:
        print_rows(rows, columns=COLUMNS, format=format)
    unknown = sum(p.fates.get("unknown", 0) for p in plans)
    seconds = sum(p.seconds for p in plans)
    Progress(quiet=quiet).say(
        f"{len(plans)} units, {sum(p.num_layers for p in plans)} layers, "
        f"{sum(p.nbytes for p in plans) / 1e9:.2f} GB to read, about {seconds:.0f} s on one worker; "
        f"{unknown} tensors nobody can decode, {failed} units that cannot be opened"
        + (" (see --account)" if unknown else "")
    )
    return 1 if failed else 0


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
