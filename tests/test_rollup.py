"""Scores kept for merged units: the same as from the layers, never older than them, and read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from catalog.care.compact import compact
from catalog.files.folder import Folder
from catalog.read import rollup
from catalog.read.boards import BOARDS, leaderboard, views_of_board
from catalog.read.query import ask_rows
from catalog.read.views import connect
from tests.catalogs import commit

SCORES = "select * exclude (sweep_id) from internal.analysis_scores order by model_id, analysis_key"


def scores(root: str) -> list[dict[str, Any]]:
    with connect(root, only=("analysis_scores",)) as con:
        return ask_rows(con, SCORES).to_pylist()


def files(root: str) -> list[Path]:
    return sorted(Path(root, rollup.ROLLUP).rglob("*.parquet"))


@pytest.fixture
def root(tmp_path: Path) -> str:
    """Two models with layers, and one without a scored one."""
    root = str(tmp_path / "it's a catalog")
    for number, name in enumerate(("org/a", "org/b")):
        commit(root, name, layers=[
            {"alpha": 2.0 + number + i, "erg_delta": float(i), "num_traps": float(i % 2), "num_params": 10}
            for i in range(6)
        ])  # fmt: skip
    commit(root, "org/none", layers=[{"status": "failed", "reason": "torn"}])
    return root


def test_compaction_keeps_the_scores_that_the_layers_give(root: str) -> None:
    before = scores(root)
    compact(root, grace_s=0)
    (file,) = files(root)
    assert pq.read_table(file).num_rows == 3 and rollup.is_there(Folder.parse(root))
    assert scores(root) == before


def test_a_unit_that_is_measured_again_is_not_read_from_the_kept_scores(root: str) -> None:
    compact(root, grace_s=0)
    commit(root, "org/a", layers=[{"alpha": 9.0}] * 5, minute=9)
    found = {row["model_id"]: row["mean_alpha"] for row in scores(root)}
    assert (found["org/a"], found["org/b"]) == (9.0, 5.5)
    compact(root, grace_s=0)
    assert [file.name for file in files(root)] == ["g000002.parquet"]
    assert {row["model_id"]: row["mean_alpha"] for row in scores(root)} == found


def test_the_kept_scores_are_what_boards_read(root: str) -> None:
    """The layers' files are emptied; a board has its scores all the same, but no interval."""
    compact(root, grace_s=0)
    for file in Path(root, "layers").rglob("g000001/*.parquet"):
        pq.write_table(pq.read_table(file).slice(0, 0), file)
    with connect(root, only=views_of_board()) as con:
        found = leaderboard(con, BOARDS["alpha"], top=None)
    assert [row["mean_alpha"] for row in found.rows[:2]] == [4.5, 5.5]


def test_scores_of_another_program_are_not_read_and_go_with_the_next_compaction(root: str) -> None:
    compact(root, grace_s=0)
    (file,) = files(root)
    other = file.parent.with_name("0" * 16)
    file.parent.rename(other)
    assert not rollup.is_there(Folder.parse(root)) and len(scores(root)) == 3
    compact(root, grace_s=0)
    assert [kept.parent.name for kept in files(root)] == [rollup.version()]
