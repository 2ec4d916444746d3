"""Builds small catalogs: rows with sensible values, units with a few layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from catalog.write.commits import commit_unit, record_listing, record_sweep

ROOT = Path(__file__).parents[1]
"""Working folder of subprocesses that import tests."""
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def keys(model_id: str = "org/a", **changes: str) -> dict[str, object]:
    """Common keys of one commit."""
    return {"sweep_id": "s1", "model_id": model_id, "revision": "f" * 40, "analysis_key": "k1",
            **changes}  # fmt: skip


def model_row(model_id: str = "org/a", *, minute: int = 0, **columns: object) -> dict[str, object]:
    """A row of `models`, committed `minute` minutes after noon."""
    row = keys(model_id)
    row |= {"name": model_id.rsplit("/", 1)[-1], "layers_analysed": 0, "layers_skipped": 0}
    row |= {"layers_failed": 0, "committed_at": NOON + timedelta(minutes=minute)}
    return {**row, **columns}


def layer_row(index: int = 0, **columns: object) -> dict[str, object]:
    """A measured row of `layers`, without the common keys."""
    return {
        "layer_index": index,
        "tensor": f"block.{index}.weight",
        "status": "ok",
        "lambda_max": 9.0,
        "alpha": 3.0,
        "tail_status": "ok",
        "num_traps": 0.0,
        "erg_log_ratio": 0.5,
        "erg_delta": 0.1,
        **columns,
    }


def commit(
    root: str,
    model_id: str = "org/a",
    *,
    layers: Sequence[Mapping[str, object]] = (),
    minute: int = 0,
    evaluations: Sequence[Mapping[str, object]] = (),
    traps: Sequence[Mapping[str, object]] = (),
    spectra: Sequence[Mapping[str, object]] = (),
    **columns: object,
) -> str:
    """Commit a unit with these layers (one by default)."""
    rows = [layer_row(i, **row) for i, row in enumerate(layers)] if layers else [layer_row()]
    model = model_row(model_id, minute=minute, layers_analysed=len(rows), **columns)
    return commit_unit(
        root, model=model, layers=rows, evaluations=evaluations, traps=traps, spectra=spectra
    )


def sweep(root: str, sweep_id: str, models: Sequence[str], *, name: str = "nightly",
          minute: int = 0) -> None:  # fmt: skip
    """Record a sweep that listed these models."""
    at = NOON + timedelta(minutes=minute)
    record_sweep(root, {"sweep_id": sweep_id, "name": name, "started_at": at, "status": "running"})
    rows = [{**keys(m), "sweep_id": sweep_id, "listed_at": at} for m in models]
    record_listing(root, sweep_id, rows)
