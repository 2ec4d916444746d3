"""What can be seen of a sweep: the line with causes, a watched catalog, metrics, a dashboard, a profile."""

from __future__ import annotations

import json
import pstats
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from jobs.__main__ import run
from jobs.runners.ray_metrics import METRICS
from jobs.screen import progress as progress_module
from jobs.screen.progress import Progress, UnitSummary
from jobs.screen.watch import Watched
from tests.catalogs import commit, sweep

DASHBOARD = Path(__file__).parents[1] / "deploy" / "grafana" / "zoo.json"


class Written:
    """A meter that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def ended(self, outcome: str, *, num_layers: int, nbytes: int) -> None:
        self.heard.append((outcome, num_layers, nbytes))

    def stands(self, *, num_running: int, num_left: int, left_s: float | None) -> None:
        self.heard.append((num_running, num_left, left_s))


def test_the_line_of_a_sweep_counts_failures_by_cause_and_a_meter_hears_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress_module, "LINE_EVERY_S", 0.0)
    said = Progress(quiet=False, is_terminal=False)
    said.meter = meter = Written()
    said.begin(4, 4, 0, 0)
    said.done("a/b", None, UnitSummary(3, 0, 0, 100, 1.0))
    for cause in ("data", "bug", "data"):
        said.failed("a/c", None, cause, "m")
    said.tick(["a/d"], 0)
    assert "4/4 units, 3 layers, 3 failed (bug 1, data 2), 1 running" in capsys.readouterr().err
    assert meter.heard == [("done", 3, 100), ("data", 0, 0), ("bug", 0, 0), ("data", 0, 0), (1, 0, None)]  # fmt: skip


def test_a_watched_catalog_tells_rate_and_time_left() -> None:
    def facts(done: int, failed: int, waiting: int) -> list[dict[str, object]]:
        counts = {"done": done, "failed": failed, "not done yet": waiting}
        return [{"topic": "units", "item": item, "value": n} for item, n in counts.items()]

    watched = Watched()
    watched.look(facts(10, 0, 20), 100.0)
    assert watched.words() == "0 units ended in 0 s, 20 to go"
    watched.look(facts(14, 1, 15), 160.0)
    assert watched.words() == "5 units ended in 60 s, 15 to go, 5 a minute, 3 min left"
    watched.look(facts(29, 1, 0), 200.0)
    assert watched.words() == "nothing that is listed waits to be done" and watched.num_waiting == 0


def test_watching_a_full_catalog_ends_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(tmp_path / "cat")
    commit(root, "org/a")
    sweep(root, "s1", ["org/a"])
    assert run(["status", root, "--watch", "60"]) == 0
    said = capsys.readouterr()
    assert "done" in said.out and "nothing that is listed waits" in said.err
    assert run(["status", root, "--watch", "0"]) == 2


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    expressions = [t["expr"] for panel in dashboard["panels"] for t in panel["targets"]]
    named = set(re.findall(r"ray_(zoo_\w+)", " ".join(expressions)))
    assert named == set(METRICS)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert (
            place["x"] + place["w"] <= 24
            and panel["title"]
            and panel["type"] in ("stat", "timeseries")
        )
    assert "model" not in " ".join(expressions).replace(
        "zoo_models_running", ""
    )  # no label by model


def test_a_profile_of_one_model_is_written_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m").mkdir()
    weight = np.random.default_rng(0).standard_normal((40, 40), np.float32)
    save_file({"a.weight": weight}, tmp_path / "m" / "model.safetensors")
    path = tmp_path / "m.prof"
    assert run(["analyze", str(tmp_path / "m"), "--profile", str(path), "--format", "csv"]) == 0
    assert f"wrote {path}; " in capsys.readouterr().err
    assert pstats.Stats(str(path)).total_calls > 1000  # type: ignore[attr-defined]
    assert run(["analyze", str(tmp_path / "m"), "--profile", str(tmp_path)]) == 2
