"""What a unit would cost, how it is cut into tasks, and how tasks come to the schedule."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from jobs.sources.target import Failure
from jobs.spec.load import parse_spec
from jobs.units import plan
from jobs.units.listed import units_of
from jobs.units.plan import TaskFeed, UnitPlan, plan_unit, plan_units, tasks_of
from jobs.units.unit import GIB, Task, Unit
from tests.models import weights, write_model
from tests.test_model import EXPERTS, GPT_OSS, mxfp4_experts
from zoo.errors import HeaderError, ZooError
from zoo.measure import pieces as pieces_module

Fed = list[tuple[Unit, tuple[Task, ...] | ZooError]]


def units(root: Path, more: str = "") -> tuple[Unit, ...]:
    return units_of(parse_spec(f"[[source]]\npath = 'zoo/*'\n{more}", folder=root))


def feed_all(feed: TaskFeed, *, room: int) -> Fed:
    """Everything a feed gives, asked again until it has no more."""
    found: Fed = []
    deadline = time.monotonic() + 60
    while not feed.is_exhausted:
        assert time.monotonic() < deadline
        found += feed.take(room)
        time.sleep(0.01)
    return found


def test_a_plan_counts_only_the_experts_that_will_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path / "zoo" / "moe", mxfp4_experts(), config=GPT_OSS)
    monkeypatch.setattr(pieces_module, "_WHOLE_BYTES", 0)
    (everything,) = map(plan_unit, units(tmp_path))
    (sample,) = map(plan_unit, units(tmp_path, "[layers]\nexperts = 'sample:1'\n"))
    assert (everything.num_layers, sample.num_layers) == (3 * EXPERTS, 3)
    assert sample.nbytes * EXPERTS == everything.nbytes
    gate_up = max(w.peak_bytes for w in sample.weights)
    assert gate_up == GIB + 3 * 4 * (2 * 160 * 320)


def test_tasks_hold_whole_weights_and_every_weight_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path / "zoo" / "a", weights(0, *[(40, 30)] * 7))
    (found,) = map(plan_unit, units(tmp_path))
    monkeypatch.setattr(plan, "TASK_BYTES", 2 * 40 * 30 * 4)
    tasks = tasks_of(found, device="cpu")
    assert [len(task.weights or ()) for task in tasks] == [2, 2, 2, 1]
    assert [name for task in tasks for name in task.weights or ()] == [
        w.name for w in found.weights
    ]


def test_a_huge_model_becomes_larger_tasks_not_ever_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path / "zoo" / "a", weights(0, *[(10, 8)] * 60))
    (found,) = map(plan_unit, units(tmp_path))
    monkeypatch.setattr(plan, "TASK_BYTES", 1)
    monkeypatch.setattr(plan, "MAX_TASKS", 6)
    assert [len(task.weights or ()) for task in tasks_of(found, device="cpu")] == [10] * 6


def test_small_models_are_fed_at_once_and_large_ones_when_their_headers_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path / "zoo" / "small", weights(0, (20, 20)))
    write_model(tmp_path / "zoo" / "large", weights(0, (90, 90), (90, 90)))
    monkeypatch.setattr(plan, "PLAN_ABOVE_BYTES", 10_000)
    monkeypatch.setattr(plan, "TASK_BYTES", 90 * 90 * 4)
    feed = TaskFeed(units(tmp_path), device="cpu")
    first = list(feed.take(8))
    assert [unit.target.model_id for unit, _ in first][-1] == "local/small"
    rest = feed_all(feed, room=8)
    tasks = {unit.target.model_id: found for unit, found in [*first, *rest]}
    assert not isinstance(tasks["local/large"], ZooError) and len(tasks["local/large"]) == 2


def test_a_feed_gives_no_more_than_there_is_room_for(tmp_path: Path) -> None:
    for number in range(5):
        write_model(tmp_path / "zoo" / f"m{number}", weights(number, (20, 20)))
    feed = TaskFeed(units(tmp_path), device="cpu")
    assert list(feed.take(0)) == list(feed.take(-3)) == []
    assert len(list(feed.take(2))) == 2
    assert list(feed.take(-1)) == []
    assert len(feed_all(feed, room=1)) == 3


def test_a_large_model_that_cannot_be_read_comes_out_as_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_model(tmp_path / "zoo" / "bad", weights(0, (20, 20)))
    (folder / "model.safetensors").write_bytes(b"\xff" * 1000)
    monkeypatch.setattr(plan, "PLAN_ABOVE_BYTES", 0)
    ((_, found),) = feed_all(TaskFeed(units(tmp_path), device="cpu"), room=4)
    assert isinstance(found, HeaderError)


def test_headers_are_read_of_the_first_units_only(tmp_path: Path) -> None:
    for number in range(3):
        write_model(tmp_path / "zoo" / f"m{number}", weights(number, (20, 20)))
    (tmp_path / "zoo" / "m0" / "model.safetensors").write_bytes(b"")
    found = [result for _, result in plan_units(units(tmp_path), headers=2)]
    assert isinstance(found[0], Failure) and isinstance(found[1], UnitPlan) and found[2] is None
