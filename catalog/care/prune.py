"""`zoo prune`: units that no sweep lists any more are given up, the old ones.

A tombstone takes the place of a unit's `models` row, so all of it vanishes in one rename and nothing else is
written; the next compaction deletes the rows. A unit that is listed again later is measured again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from catalog.files.folder import Folder
from catalog.files.layout import check_marker
from catalog.files.lock import compact_lock
from catalog.read.query import ask
from catalog.read.views import connect
from catalog.write.commits import prune_unit

_CANDIDATES = """
with dated as (
    select *, dense_rank() over (partition by model_id order by newest desc, revision) as place from (
        select m.*, max(committed_at) over (partition by model_id, revision) as newest from models as m
    )
)
select * exclude (newest, place) from dated as d
where committed_at < $before
    and place > $keep
    and model_id glob $model
    and not exists (
        select 1 from listed as l
        where l.model_id = d.model_id and l.revision = d.revision
            and (l.analysis_key = d.analysis_key or l.options_key = coalesce(d.options_key, d.analysis_key))
    )
order by model_id, committed_at, revision, analysis_key
"""
"""Rows of `models` that may go. `place`: 1 is the revision of a model that was measured last."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """A unit that was given up, or would be."""

    model_id: str
    revision: str
    analysis_key: str
    committed_at: datetime
    num_layers: int


def prune(
    root: str, *, now: datetime, older_than_days: float, keep: int, model: str = "*", dry_run: bool
) -> tuple[Pruned, ...]:
    """Give up the units of `root` that no sweep's last listing names and that were committed more than
    `older_than_days` days before `now`; of every model the `keep` revisions measured last stay in any case.

    `model`: a glob that the model's id has to match. `dry_run`: they are named, and nothing is written.
    LockedError beside a compaction, a refit or probes.
    """
    folder = Folder.parse(root)
    check_marker(folder)
    with compact_lock(root):
        with connect(root) as con:
            before = now - timedelta(days=older_than_days)
            values: Mapping[str, Any] = {"before": before, "keep": keep, "model": model}
            rows = ask(con, _CANDIDATES, values).to_pylist()
        for row in () if dry_run else rows:
            prune_unit(root, {**row, "pruned_at": now})
    return tuple(
        Pruned(
            row["model_id"],
            row["revision"],
            row["analysis_key"],
            row["committed_at"],
            row["layers_analysed"],
        )
        for row in rows
    )
