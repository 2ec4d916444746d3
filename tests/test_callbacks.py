"""A watched training: its rows are those of a sweep, nothing waits, nothing is lost half written."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

import zoo as python
from jobs.sidecar.onset import begun, begun_at
from jobs.sidecar.run import spec_text
from jobs.spec.load import parse_spec
from tests.conftest import Zoo
from zoo.callbacks import TrapOnsetWarning, Watch, WatchState, watch
from zoo.callbacks.loggers import loggers_of
from zoo.callbacks.scratch import Scratch, place_for, remove_orphans
from zoo.callbacks.snapshot import Snapshot, weights_of
from zoo.errors import UseError
from zoo.options import AnalysisOptions, LayerSelection

QUICK = {"idle_only": False, "max_share": 1.0}
"""A busy machine must not decide what a test sees."""
TIMES = {"read_s", "spectrum_s", "shuffle_s", "total_s", "bytes_read", "step"}


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(120, 90), torch.nn.ReLU(), torch.nn.Linear(90, 40), torch.nn.Tanh()
    )


def train(model: torch.nn.Sequential, step: int) -> None:
    """One step of a training that plants a large weight at step 20."""
    with torch.no_grad():
        model[0].weight += 0.001 * torch.randn_like(model[0].weight)
        if step >= 20:
            model[0].weight[3, 5] = 8.0


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A run of 35 steps, measured every ten and at its end; the weights of step 20 beside it."""
    folder = tmp_path_factory.mktemp("watched")
    catalog, checkpoint = folder / "catalog", folder / "step20"
    checkpoint.mkdir()
    model = network()
    heard: list[tuple[int, dict[str, int]]] = []
    logged: list[int] = []
    with (
        pytest.warns(TrapOnsetWarning, match=r"1 layer .* step 30: 0\.weight \(step 20\)") as warned,
        watch(
            model, catalog, every=10, model_id="local/run", wait=True, **QUICK,
            on_onset=lambda step, onset: heard.append((step, dict(onset))),
            loggers=[lambda step, numbers: logged.append(step)],
        ) as watching,
    ):  # fmt: skip
        for step in range(36):
            train(model, step)
            if step == 20:
                save_file(dict(model.state_dict()), checkpoint / "model.safetensors")
            watching(step)
    return SimpleNamespace(
        catalog=catalog, checkpoint=checkpoint, state=watching.state, heard=heard, logged=logged,
        line_of_warning=warned[0].filename, scratch=watching._scratch.folder,
    )  # fmt: skip


def test_every_step_that_is_due_and_the_last_one_are_in_the_catalog(
    watched: SimpleNamespace, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    state: WatchState = watched.state
    assert state.measured == [0, 10, 20, 30, 35] == watched.logged
    assert not (state.skipped_busy or state.skipped_cost or state.failed or state.stopped)
    query = "select step, total_traps, mean_alpha from trajectories where model_id = 'local/run'"
    assert zoo("sql", watched.catalog, query, "--format", "json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["step"] for row in rows] == state.measured
    assert rows[-1]["mean_alpha"] == state.last["mean_alpha"] and state.last_step == 35
    assert not watched.scratch.exists()


def test_rows_are_those_of_the_same_weights_in_a_folder(watched: SimpleNamespace) -> None:
    stored = python.open(watched.catalog).arrow(
        "select l.* from layers_latest as l join models_latest as m using (model_id, revision) "
        "where m.step = 20 order by layer_index"
    )
    measured = python.analyze(watched.checkpoint).reports
    assert stored.num_rows == len(measured) == 2
    for row, report in zip(stored.to_pylist(), measured, strict=True):
        for name, value in report.columns.items():
            if name not in TIMES:
                assert row[name] == value, name


def test_the_onset_is_warned_of_once_where_the_training_stands(watched: SimpleNamespace) -> None:
    assert watched.heard == [(30, {"0.weight": 20})]
    assert watched.state.onset == {"0.weight": 20}
    assert watched.line_of_warning == __file__


def test_two_steps_of_a_training_are_compared(
    watched: SimpleNamespace, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any mixture of names: the whole id, its last piece, a step, nothing for the newest."""
    assert zoo("compare", watched.catalog, "run@step10", "local/run", "--format", "json") == 0
    rows = {row["tensor"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["0.weight"]["num_traps_a"] == 0 and rows["0.weight"]["num_traps_delta"] == 1
    assert zoo("compare", watched.catalog, "local/run@step10", "local/run@step10") == 0
    assert "0 of 2 layers of both differ" in capsys.readouterr().err
    assert zoo("check", watched.catalog) == 0


def test_a_training_that_goes_on_measures_anew_and_never_waits(
    watched: SimpleNamespace, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the checkpoint of step 20 with other data: step 30 is another one now, and is the one that counts."""
    model = network()
    model.load_state_dict(load_file(watched.checkpoint / "model.safetensors"))
    watching = watch(model, watched.catalog, every=1, model_id="local/run", **QUICK)
    watching.measure(20)
    for step in range(21, 31):
        train(model, step)
        watching(step)  # at once: nothing can be measured between two of these
    with pytest.raises(UseError, match="already runs"):
        watch(model, watched.catalog, every=1, model_id="local/run", **QUICK)
    with pytest.warns(TrapOnsetWarning, match="step 20"):  # as it measures step 30 again
        state = watching.close(30)
    assert state.skipped_busy[:3] == [21, 22, 23] and set(state.measured) >= {20, 30}
    assert not state.failed and state.seconds < 5.0
    query = "select count(*) as n, count(distinct revision) as r from models where step in (20, 30)"
    (row,) = python.open(watched.catalog).arrow(query).to_pylist()
    assert (row["n"], row["r"]) == (3, 3)  # equal weights at step 20 are one unit
    assert zoo("show", watched.catalog, "local/run@step30", "--format", "json") == 0
    shown = {row["tensor"]: row["alpha"] for row in json.loads(capsys.readouterr().out)}
    report = python.analyze(model)
    assert shown["0.weight"] == pytest.approx(report.reports[0].columns["alpha"], rel=1e-9)


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[Watch]:
    watching = watch(network(), tmp_path / "catalog", every=1, model_id="local/run", **QUICK)
    yield watching
    watching.abandon()


def test_a_process_that_dies_costs_one_step_and_is_started_again_and_dear_copies_are_skipped(
    starting: Watch,
) -> None:
    starting(1)
    assert starting._beside is not None
    os.kill(starting._beside._process.pid, signal.SIGKILL)
    starting._beside._process.wait()
    starting(2)
    assert "ended with code -9" in starting.state.failed[1]
    starting._settle(None)
    starting._max_share, starting._copy_s = 0.02, 1e6  # copying is said to take days
    starting(3)
    state = starting.abandon()
    assert state.measured == [2] and state.skipped_cost == [3] and state.stopped is None


def test_when_the_training_is_gone_the_process_leaves_whole_books(
    starting: Watch, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    """Amid a measurement: what the kernel does to a killed training is to close its pipes."""
    starting(1)
    beside = starting._beside
    assert beside is not None and beside._process.stdin is not None
    beside._process.stdin.close()
    assert beside._process.wait(60) == 75
    assert not starting._scratch.folder.exists()
    assert zoo("check", starting.catalog) == 0
    query = "select status, num_done from sweeps"
    (sweep,) = python.open(starting.catalog).arrow(query).to_pylist()
    assert sweep == {"status": "interrupted", "num_done": 0}


def test_a_catalog_that_cannot_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UseError, match="file"):
        watch(network(), tmp_path / "file", every=1, model_id="local/run", **QUICK)


@pytest.mark.parametrize(
    ("series", "step", "begun_step"),
    [
        ({0: 0, 10: 1, 20: 1}, 20, 10),
        ({0: 0, 10: 1}, 10, None),  # one step may be a false alarm
        ({0: 0, 10: 1, 20: 0, 30: 1}, 30, None),
        ({0: 0, 10: 1, 20: 1, 30: 1}, 30, None),  # said at 20
        ({0: 0, 10: 1, 20: 1, 30: 1}, 20, 10),  # 30 is of an earlier life
        ({0: 2, 10: 1}, 10, None),  # from the start: no onset in this training
        ({0: 2, 10: 0, 20: 1, 30: 1}, 30, 20),
    ],
)
def test_traps_have_begun_when_two_steps_in_a_row_have_one(
    series: dict[int, float], step: int, begun_step: int | None
) -> None:
    assert begun_at(series, step) == begun_step
    rows = [
        {"tensor": "w", "part": "q", "expert": 2, "step": s, "num_traps": t}
        for s, t in series.items()
    ]
    assert begun(rows, step) == ({} if begun_step is None else {"w q expert 2": begun_step})


def test_a_snapshot_is_the_checkpoint_that_would_be_saved(tmp_path: Path) -> None:
    """Without wrappers, a tied matrix once, every type, and again in the same file."""
    model = torch.nn.ModuleDict(
        {"a": torch.nn.Linear(6, 4), "b": torch.nn.Linear(6, 4, bias=False)}
    )
    model["b"].weight = model["a"].weight
    model["a"].register_buffer("scale", torch.arange(6).view(2, 3).T.to(torch.bfloat16))
    model["a"].register_buffer("count", torch.tensor(3))
    wrapped = torch.nn.DataParallel(model)
    assert [name for name, *_ in weights_of(wrapped)] == [
        "a.count",
        "a.bias",
        "a.weight",
        "a.scale",
    ]
    snapshot = Snapshot(tmp_path)
    for value in (1.0, 2.0):
        with torch.no_grad():
            model["a"].weight.fill_(value)
        snapshot.write(wrapped, {"model_type": "mlp"})
        stored = load_file(tmp_path / "model.safetensors")
        assert stored["a.weight"].eq(value).all() and stored["a.count"].item() == 3
        assert torch.equal(stored["a.scale"], model["a"].scale)
    assert json.loads((tmp_path / "config.json").read_text()) == {"model_type": "mlp"}


def test_weights_that_are_spread_over_processes_are_refused() -> None:
    model = network()
    model[0].weight.ds_id = 1  # type: ignore[attr-defined]
    with pytest.raises(UseError, match=r"ZeRO-3.*zoo sweep"):
        weights_of(model)


def test_only_rank_0_of_a_distributed_training_does_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with watch(network(), tmp_path / "catalog", every=1, model_id="local/run") as watching:
        watching(1)
    assert watching.state == WatchState() and not (tmp_path / "catalog").exists()


def test_the_spec_of_a_training_is_read_back_as_its_options() -> None:
    options = AnalysisOptions(seed=7, replicates=3, farms=True, device="cpu")
    selection = LayerSelection(include=("*.mlp.*",), experts="sample:2")
    spec = parse_spec(spec_text("training", "local/a", options, selection), folder=Path())
    assert spec.options == AnalysisOptions(seed=7, replicates=3, farms=True)
    assert spec.selection == selection


def test_a_scratch_folder_whose_owner_was_killed_is_removed(tmp_path: Path) -> None:
    alive, dead = Scratch(0, tmp_path), Scratch(0, tmp_path)
    os.close(dead._lock)
    remove_orphans(tmp_path)
    assert alive.folder.exists() and not dead.folder.exists()
    alive.remove()
    assert place_for(1 << 62, None) != Path("/dev/shm")
    with pytest.raises(UseError, match="no folder"):
        place_for(0, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"every": 0}, "every"),
        ({"model_id": " "}, "model_id"),
        ({"max_share": 0.0}, "max_share"),
        ({"loggers": ["tensorboard"]}, "tensorboard:FOLDER"),
        ({"loggers": "print"}, "print"),
    ],
)
def test_bad_arguments_are_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    arguments = {"every": 1, "model_id": "local/run", **changes}
    with pytest.raises(UseError, match=message):
        watch(network(), tmp_path / "catalog", **arguments)  # type: ignore[arg-type]


def test_tensorboard_gets_the_numbers_at_their_step(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (log,) = loggers_of([f"tensorboard:{tmp_path}"])
    log(500, {"total_traps": 2.0})
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("zoo/total_traps")] == [(500, 2.0)]
