"""Retention: what no sweep lists any more is given up by a tombstone and deleted by compaction."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from catalog.care.check import check
from catalog.care.compact import compact
from catalog.care.prune import prune
from catalog.files.folder import Folder
from catalog.read.query import ask
from catalog.read.views import connect
from catalog.write.commits import record_listing, record_sweep
from catalog.write.finished import done_units
from tests.catalogs import NOON, commit

LATER = NOON + timedelta(days=40)


@pytest.fixture
def root(tmp_path: Path) -> str:
    """Two models with an old revision each; the last listing names the new one of `org/a`."""
    root = str(tmp_path / "cat")
    for minute, revision in enumerate(("old", "new")):
        for name in ("org/a", "org/b"):
            commit(
                root, name, revision=revision, minute=minute, sweep_id=f"s{minute}", layers=[{}, {}]
            )
    record_sweep(root, {"sweep_id": "s1", "name": "nightly", "started_at": NOON, "status": "done"})
    row = {"sweep_id": "s1", "model_id": "org/a", "revision": "new", "analysis_key": "k1",
           "listed_at": NOON}  # fmt: skip
    record_listing(root, "s1", [row])
    return root


def shown(root: str) -> list[tuple[str, str, int]]:
    """(model, revision, layers) of every unit that the views show."""
    query = (
        "select model_id, revision, count(*) as n from layers group by all "
        "order by model_id, revision"
    )
    with connect(root) as con:
        rows = [tuple(row.values()) for row in ask(con, query).to_pylist()]
        models = ask(con, "select model_id, revision from models").to_pylist()
    assert len(models) == len(rows)
    assert {(key.model_id, key.revision) for key in done_units(root)} == {r[:2] for r in rows}
    return rows


def pruned(root: str, **options: object) -> list[tuple[str, str]]:
    units = prune(root, now=LATER, **{"older_than_days": 30, "keep": 1, "dry_run": False} | options)  # type: ignore[arg-type]
    return [(unit.model_id, unit.revision) for unit in units]


def test_old_revisions_that_nobody_lists_vanish_and_compaction_deletes_them(root: str) -> None:
    assert pruned(root, dry_run=True) == [("org/a", "old"), ("org/b", "old")]
    assert len(shown(root)) == 4
    assert pruned(root) == [("org/a", "old"), ("org/b", "old")]
    left = [("org/a", "new", 2), ("org/b", "new", 2)]
    assert shown(root) == left
    compact(root, grace_s=0)
    assert shown(root) == left and pruned(root) == []
    folder = Folder.parse(root)
    assert folder.names("models", "hot") == () and folder.names("layers", "hot") == ()
    assert check(root) == ()


def test_rows_of_a_large_generation_go_too(root: str) -> None:
    compact(root, grace_s=0, target_bytes=1)  # large enough to be left alone from now on
    assert len(pruned(root)) == 2
    compact(root, grace_s=0, target_bytes=1)
    folder = Folder.parse(root)
    assert folder.names("models", "g000001") == () and folder.names("layers", "g000001") == ()
    assert check(root) == ()
    assert [row[:2] for row in shown(root)] == [("org/a", "new"), ("org/b", "new")]


def test_what_is_listed_young_or_among_the_newest_stays(root: str) -> None:
    assert pruned(root, older_than_days=50) == []
    assert pruned(root, keep=2) == []
    assert pruned(root, model="org/b") == [("org/b", "old")]
    assert pruned(root, keep=0) == [("org/a", "old"), ("org/b", "new")]
    assert [row[:2] for row in shown(root)] == [("org/a", "new")]


def test_a_unit_that_is_measured_again_comes_back_whole(root: str) -> None:
    assert ("org/a", "old") in pruned(root)
    commit(root, "org/a", revision="old", sweep_id="s9", layers=[{}])
    compact(root, grace_s=0)
    assert ("org/a", "old", 1) in shown(root)
