"""Sweeps of a Hub end to end: real processes, the real client, a loopback Hub that misbehaves."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from jobs.runners.local import LocalRunner
from jobs.screen.progress import Progress
from jobs.spec.load import load_spec
from jobs.sweep.ledger import Ledger
from jobs.sweep.loop import run_sweep
from jobs.sweep.work import MEASURING
from jobs.units import plan
from jobs.units.listed import units_of
from tests.conftest import Zoo
from tests.hub_folders import fresh_session, put_model, put_settings, put_sharded
from tests.test_sweep import ask, numbers
from zoo.hub.client import HubOptions
from zoo.hub.session import configure
from zoo.loopback.faults import Fault
from zoo.loopback.quota import RateLimit
from zoo.loopback.server import HubServer

TOKEN = "hf_loopbackOnlyNeverReal0123456789"
PATIENCE = HubOptions(stall_s=3.0, wait_initial_s=0.05, wait_max_s=0.2, attempts=6)
TABLES = ("layers", "traps", "spectra", "tensors", "evaluations")


@pytest.fixture(autouse=True)
def _hub_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Impatient, without a token, and with a cache folder that must stay empty."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    with fresh_session():
        configure(options=PATIENCE)
        yield
        configure()


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """What the Hub serves."""
    return tmp_path / "shelf"


def write_spec(tmp_path: Path, *sources: str) -> Path:
    path = tmp_path / "spec.toml"
    path.write_text("".join(f"[[source]]\n{source}\n" for source in sources))
    return path


def weights_asked_for(hub: HubServer) -> list[str]:
    return [r.path for r in hub.requests if r.path.endswith(".safetensors") and r.method == "GET"]


def folder_numbers(tmp_path: Path, hub_spec: Path, shelf: Path, table: str) -> list[object]:
    """What a sweep of the same folders gives, under the revisions that the Hub names them by."""
    out = tmp_path / "folders"
    if not out.exists():
        spec, _ = load_spec(hub_spec)
        units = []
        for unit in units_of(spec):
            text = f"[[source]]\npath = '{shelf / unit.target.model_id}'\n"
            (tmp_path / "one.toml").write_text(text)
            (local,) = units_of(load_spec(tmp_path / "one.toml")[0])
            sha = unit.target.revision
            location = replace(local.target.location, revision=sha, model_id=unit.target.model_id)  # type: ignore[type-var]
            target = replace(
                local.target, model_id=unit.target.model_id, revision=sha, location=location
            )
            units.append(replace(local, target=target))
        run_sweep(
            spec,
            ledger=Ledger(str(out), name="folders", spec_text=""),
            units=units,
            start_runner=lambda: LocalRunner(MEASURING, workers=1),
            overwrite="never",
            limit=None,
            progress=Progress(quiet=True),
        )
    return numbers(out, table)  # type: ignore[return-value]


BAD_DAYS = {
    "sound": (),
    "busy": (Fault("429", match="*/acme/busy/*", times=2),),
    "down": (Fault("503", match="*/acme/down/resolve/*", times=1, seconds=1),),
    "cut": (Fault("cut", match="/lfs/acme/cut/*", at_byte=70_000, times=2, method="GET"),),
    "stall": (Fault("stall", match="/lfs/acme/stall/*", at_byte=1000, times=1, method="GET"),),
    "whole": (Fault("ignore_range", match="/lfs/acme/whole/*", times=1),),
    "moved": (
        Fault("changed_etag", match="/acme/moved/resolve/*.safetensors", after=1, times=1),
        Fault("expired", match="/lfs/acme/moved/*", after=1, times=1),
    ),
}


def test_values_survive_every_fault_of_the_line(
    tmp_path: Path, shelf: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, name in enumerate(BAD_DAYS):
        put_model(shelf / "acme" / name, seed=seed, tensors=matrices(seed))
    faults = [fault for found in BAD_DAYS.values() for fault in found]
    with HubServer(shelf, redirect=True, faults=faults) as hub:
        sources = [f"hub = 'acme/{name}'\nendpoint = '{hub.url}'" for name in BAD_DAYS]
        spec = write_spec(tmp_path, *sources)
        cat = tmp_path / "cat"
        assert zoo("sweep", spec, "--out", cat, "-j", 2) == 0, capsys.readouterr().err
        found = ask(cat, "select model_id, layers_analysed, layers_failed from models order by 1")
        assert found == [(f"acme/{name}", 4, 0) for name in sorted(BAD_DAYS)]
        for table in TABLES:
            assert numbers(cat, table) == folder_numbers(tmp_path, spec, shelf, table)
    assert {r.kind for r in hub.requests if r.path.startswith("/lfs/")} == {"cdn"}
    opened = [r.path.split("/")[4] for r in hub.requests if "/tree/" in r.path and r.status == 200]
    assert sorted(opened) == sorted(BAD_DAYS)  # once, also where a task was begun again
    assert_no_weights_on_disk(tmp_path)


def test_what_the_hub_asks_of_workers_is_said(
    tmp_path: Path, shelf: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        put_model(shelf / "acme" / f"small{number}", seed=number)
    busy = Fault("429", match="*/resolve/*", times=4, seconds=1)
    with HubServer(shelf, redirect=True, faults=[busy]) as hub:
        spec = write_spec(tmp_path, f"query = {{ author = 'acme' }}\nendpoint = '{hub.url}'")
        assert zoo("sweep", spec, "--out", tmp_path / "cat", "-j", 1) == 0
    said = capsys.readouterr().err
    assert said.count("the Hub asks to wait 1 s (its budget of resolvers requests)") >= 1
    assert "3 done" in said


def matrices(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {f"layers.{i}.weight": rng.standard_normal((96, 64 + i), np.float32) for i in range(4)}


def assert_no_weights_on_disk(tmp_path: Path) -> None:
    left = [p for name in ("hf", "tmp") for p in (tmp_path / name).rglob("*") if p.is_file()]
    assert [p for p in left if p.stat().st_size > 10_000] == []


def test_a_model_that_cannot_be_read_becomes_a_row_and_the_others_are_done(
    tmp_path: Path, shelf: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("open", "gated", "private", "disabled"):
        put_model(shelf / "acme" / name)
    put_settings(shelf / "acme" / "gated", gated="manual")
    put_settings(shelf / "acme" / "private", private=True)
    put_settings(shelf / "acme" / "disabled", disabled=True)
    names = ("open", "gated", "private", "disabled", "gone")
    with HubServer(shelf) as hub:
        sources = [f"hub = 'acme/{name}'\nendpoint = '{hub.url}'" for name in names]
        spec = write_spec(
            tmp_path, *sources, f"hub = 'acme/open'\nrevision = 'v9'\nendpoint = '{hub.url}'"
        )
        cat = tmp_path / "cat"
        assert zoo("sweep", spec, "--out", cat, "-j", 1) == 1
        assert ask(cat, "select model_id from models") == [("acme/open",)]
        found = ask(cat, "select model_id, cause, message from failures_open order by 1")
        assert [row[:2] for row in found] == [
            (f"acme/{name}", "hub_permanent")
            for name in ("disabled", "gated", "gone", "open", "private")
        ]
        assert "HF_TOKEN" in str(found[1][2]) and "v9" in str(found[3][2])
        said = capsys.readouterr().err
        assert "acme/gated: failed (hub_permanent)" in said
        assert zoo("plan", spec) == 1
        assert "acme/gone" in capsys.readouterr().out


def test_a_token_opens_a_gated_model_and_is_kept_nowhere(
    tmp_path: Path,
    shelf: Path,
    zoo_process: Callable[..., subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("mine", "theirs"):
        put_model(shelf / "acme" / name)
        put_settings(shelf / "acme" / name, gated="auto")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with HubServer(shelf, tokens={TOKEN: ("acme/mine",)}, redirect=True) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        spec = write_spec(tmp_path, "query = { author = 'acme' }")
        cat = tmp_path / "cat"
        sweep = zoo_process("sweep", spec, "--out", cat, "-j", 1)
        said = "".join(sweep.communicate(timeout=120))
        assert sweep.returncode == 1, said
        assert ask(cat, "select model_id from models") == [("acme/mine",)]
        ((model, message),) = ask(cat, "select model_id, message from failures_open")
        assert model == "acme/theirs" and "no access" in str(message)
        assert any(r.has_token for r in hub.requests if r.kind == "resolvers")
        assert not any(r.has_token for r in hub.requests if r.kind == "cdn")
    assert "acme/theirs: failed" in said
    assert TOKEN not in said
    files = [p for p in tmp_path.rglob("*") if p.is_file() and shelf not in p.parents]
    assert any(p.suffix == ".parquet" for p in files)
    for path in files:
        assert TOKEN.encode() not in path.read_bytes(), path
        if path.suffix == ".parquet":
            assert TOKEN not in str(pq.read_table(path).to_pylist())


def test_a_query_costs_pages_and_a_second_run_reads_no_weights(
    tmp_path: Path, shelf: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(3):
        put_model(shelf / "acme" / f"small{seed}", seed=seed)
        put_settings(shelf / "acme" / f"small{seed}", downloads=100 - seed, likes=7)
    put_model(shelf / "acme" / "big", tensors={"w": np.zeros((300, 300), np.float32)})
    put_model(shelf / "other" / "model")
    with HubServer(shelf) as hub:
        query = "{ author = 'acme', sort = 'downloads', limit = 2, max_params = '20K' }"
        spec = write_spec(tmp_path, f"query = {query}\nendpoint = '{hub.url}'")
        cat = tmp_path / "cat"
        assert zoo("sweep", spec, "--out", cat, "-j", 1) == 0
        found = ask(
            cat,
            "select model_id, author, downloads, likes, licence, base_model, library, pipeline_tag, "
            "architecture, num_params, bytes_read > 0, requests > 0 from models order by 1",
        )
        assert found == [
            (f"acme/small{i}", "acme", 100 - i, 7, "mit", "acme/base", "transformers",
             "text-generation", "Toy", 8192, True, True)
            for i in range(2)
        ]  # fmt: skip
        told = ask(cat, "select distinct task, dataset, metric, value from evaluations")
        assert told == [("text-generation", "toy (test)", "accuracy", 0.5)]
        hub.requests.clear()
        capsys.readouterr()
        assert zoo("sweep", spec, "--out", cat, "-j", 1) == 0
        assert "nothing to compute" in capsys.readouterr().err
        assert [r.path for r in hub.requests] == ["/api/models"]
        put_model(shelf / "acme" / "small1", seed=9)
        assert zoo("sweep", spec, "--out", cat, "-j", 1) == 0
        assert ask(cat, "select count(*), count(distinct model_id) from models") == [(3, 2)]
        assert {p.split("/")[2] for p in weights_asked_for(hub)} == {"small1"}


def test_a_query_that_cannot_be_listed_does_not_stop_other_sources(
    tmp_path: Path, shelf: Path, zoo: Zoo
) -> None:
    put_model(shelf / "acme" / "one")
    with HubServer(shelf, faults=[Fault("503", match="/api/models")]) as hub:
        spec = write_spec(
            tmp_path,
            f"query = {{ author = 'acme' }}\nendpoint = '{hub.url}'",
            f"hub = 'acme/one'\nendpoint = '{hub.url}'",
        )
        assert zoo("sweep", spec, "--out", tmp_path / "cat", "-j", 1) == 1
        assert ask(tmp_path / "cat", "select model_id from models") == [("acme/one",)]
        assert ask(tmp_path / "cat", "select cause from failures") == [("hub_transient",)]


def test_revisions_become_a_trajectory(tmp_path: Path, shelf: Path, zoo: Zoo) -> None:
    repo = put_model(shelf / "acme" / "trained", seed=1)
    for step in (0, 5, 100):
        put_model(repo / ".hub" / "branches" / f"step{step}", seed=10 + step)
    put_model(repo / ".hub" / "tags" / "v1", seed=2)
    with HubServer(shelf) as hub:
        spec = write_spec(
            tmp_path, f"hub = 'acme/trained'\nrevisions = 'step*'\nendpoint = '{hub.url}'"
        )
        assert zoo("sweep", spec, "--out", tmp_path / "cat", "-j", 1) == 0
        found = ask(
            tmp_path / "cat",
            "select model_id, step, count(distinct revision) from layers group by 1, 2 order by 2",
        )
        assert found == [("acme/trained", 0, 1), ("acme/trained", 5, 1), ("acme/trained", 100, 1)]
        assert ask(tmp_path / "cat", "select count(*) > 0 from trajectories") == [(True,)]


@pytest.mark.parametrize("change", ["replaced", "deleted"])
def test_a_repository_changed_between_plan_and_sweep_is_a_row_not_a_mixture(
    change: str, tmp_path: Path, shelf: Path
) -> None:
    for seed, name in enumerate(("stays", "changes")):
        put_model(shelf / "acme" / name, seed=seed)
    with HubServer(shelf) as hub:
        path = write_spec(tmp_path, f"query = {{ author = 'acme' }}\nendpoint = '{hub.url}'")
        spec, text = load_spec(path)
        units = units_of(spec)
        if change == "replaced":
            put_model(shelf / "acme" / "changes", seed=99)
        else:
            (shelf / "acme" / "changes").rename(tmp_path / "elsewhere")
        result = run_sweep(
            spec,
            ledger=Ledger(str(tmp_path / "cat"), name="test", spec_text=text),
            units=units,
            start_runner=lambda: LocalRunner(MEASURING, workers=1, hub=PATIENCE),
            overwrite="never",
            limit=None,
            progress=Progress(quiet=True),
        )
        assert result.exit_code == 1
        assert ask(tmp_path / "cat", "select model_id from models") == [("acme/stays",)]
        found = ask(tmp_path / "cat", "select model_id, cause from failures_open")
        assert found == [("acme/changes", "hub_permanent")]


def test_a_limit_reads_no_headers_beyond_it(tmp_path: Path, shelf: Path, zoo: Zoo) -> None:
    for seed in range(30):
        put_model(shelf / "acme" / f"m{seed:02d}", seed=seed)
    with HubServer(shelf, page_size=10) as hub:
        spec = write_spec(tmp_path, f"query = {{ author = 'acme' }}\nendpoint = '{hub.url}'")
        assert zoo("sweep", spec, "--out", tmp_path / "cat", "-j", 1, "--limit", 1) == 0
        touched = {r.path for r in hub.requests if "/resolve/" in r.path or "/tree/" in r.path}
        assert {p.removeprefix("/api/models/").lstrip("/").split("/")[1] for p in touched} == {
            "m00"
        }
        assert sum(r.path == "/api/models" for r in hub.requests) == 3
        assert ask(tmp_path / "cat", "select count(*) from missing") == [(29,)]


def test_bytes_fetched_stay_within_two_percent_of_the_bytes_analysed(
    tmp_path: Path, shelf: Path, zoo: Zoo
) -> None:
    rng = np.random.default_rng(0)
    shards = [
        {f"layers.{i}.{p}.weight": rng.standard_normal((600, 250), np.float32) for p in "qkvo"}
        for i in range(3)
    ]
    put_model(shelf / "acme" / "single", tensors=shards[0] | shards[1])
    folder = shelf / "acme" / "sharded"
    put_sharded(folder, num_shards=3)
    write_shards(folder, shards)
    limits = {kind: RateLimit(8, window_s=2.0) for kind in ("api", "resolvers")}
    with HubServer(shelf, redirect=True, rate_limits=limits) as hub:
        spec = write_spec(tmp_path, f"query = {{ author = 'acme' }}\nendpoint = '{hub.url}'")
        assert zoo("sweep", spec, "--out", tmp_path / "cat", "-j", 2) == 0
        assert 429 not in {r.status for r in hub.requests}  # two workers share one pacing
        found = ask(
            tmp_path / "cat", "select model_id, bytes_read, bytes_analysed from models order by 1"
        )
        assert [row[0] for row in found] == ["acme/sharded", "acme/single"]
        sent = sum(r.bytes_sent for r in hub.requests if r.kind != "api")
        assert sent <= 1.02 * sum(int(str(row[2])) for row in found)
        for _, read, analysed in found:
            assert int(str(analysed)) > 4_000_000
            assert int(str(read)) <= 1.02 * int(str(analysed))
    assert_no_weights_on_disk(tmp_path)


def test_bytes_fetched_stay_within_two_percent_for_small_checkpoints_too(
    tmp_path: Path, shelf: Path, zoo: Zoo
) -> None:
    rng = np.random.default_rng(0)
    matrices = {f"layers.{i}.up.weight": (128, 256) for i in range(5)}
    shapes = {"embed_tokens.weight": (500, 128), **matrices, "lm_head.weight": (500, 128)}
    tensors = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    put_model(shelf / "acme" / "small", tensors=tensors)
    card = "---\nlicense: mit\n---\n" + "A long story. " * 5_000
    (shelf / "acme" / "small" / "README.md").write_text(card)
    with HubServer(shelf) as hub:
        spec = write_spec(tmp_path, f"hub = 'acme/small'\nendpoint = '{hub.url}'")
        assert zoo("sweep", spec, "--out", tmp_path / "cat", "-j", 1) == 0
    ((read, analysed),) = ask(tmp_path / "cat", "select bytes_read, bytes_analysed from models")
    assert int(str(analysed)) < 1_200_000
    assert int(str(read)) <= 1.02 * int(str(analysed))


def write_shards(folder: Path, shards: list[dict[str, np.ndarray]]) -> None:
    from safetensors.numpy import save_file

    weight_map: dict[str, str] = {}
    for number, tensors in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(tensors, folder / name, {"format": "pt"})
        weight_map |= dict.fromkeys(tensors, name)
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_a_model_in_several_tasks_gives_the_same_rows(
    tmp_path: Path, shelf: Path, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_sharded(shelf / "acme" / "big", num_shards=3)
    put_model(shelf / "acme" / "gated")
    put_settings(shelf / "acme" / "gated", gated="auto")
    with HubServer(shelf) as hub:
        spec = write_spec(tmp_path, f"query = {{ author = 'acme' }}\nendpoint = '{hub.url}'")
        assert zoo("sweep", spec, "--out", tmp_path / "whole", "-j", 1) == 1
        hub.requests.clear()
        monkeypatch.setattr(plan, "PLAN_ABOVE_BYTES", 0)
        monkeypatch.setattr(plan, "TASK_BYTES", 40_000)
        assert zoo("sweep", spec, "--out", tmp_path / "split", "-j", 2) == 1
    opened = [r.path.split("/")[4] for r in hub.requests if "/tree/" in r.path]
    assert opened.count("big") == 1  # by the driver, for three tasks of four matrices
    failed = ask(tmp_path / "split", "select model_id, cause from failures_open")
    assert failed == [("acme/gated", "hub_permanent")]
    for table in TABLES:
        assert numbers(tmp_path / "split", table) == numbers(tmp_path / "whole", table)


def test_a_killed_sweep_leaves_no_process_behind(
    tmp_path: Path, shelf: Path, zoo_process: Callable[..., subprocess.Popen[str]]
) -> None:
    put_model(shelf / "acme" / "one")
    with HubServer(shelf, faults=[Fault("stall", match="*.safetensors", at_byte=1000)]) as hub:
        spec = write_spec(tmp_path, f"hub = 'acme/one'\nendpoint = '{hub.url}'")
        sweep = zoo_process("sweep", spec, "--out", tmp_path / "cat", "-j", 1)
        deadline = time.monotonic() + 60
        while not weights_asked_for(hub) and time.monotonic() < deadline:
            assert sweep.poll() is None, sweep.communicate()
            time.sleep(0.05)
        family = psutil.Process(sweep.pid).children(recursive=True)
        assert len(family) >= 2  # a worker, and the process of the pacing
        sweep.kill()
        _, left = psutil.wait_procs(family, timeout=15)
        assert left == []


@pytest.mark.ray
def test_ray_reads_a_hub_as_the_local_pool_does(
    tmp_path: Path, shelf: Path, zoo: Zoo, ray_session: None
) -> None:
    put_model(shelf / "acme" / "one")
    put_sharded(shelf / "acme" / "two", num_shards=2)
    with HubServer(shelf, redirect=True, faults=[Fault("503", every=5)]) as hub:
        spec = write_spec(tmp_path, f"query = {{ author = 'acme' }}\nendpoint = '{hub.url}'")
        assert zoo("sweep", spec, "--out", tmp_path / "ray", "--runner", "ray", "-j", 2) == 0
        assert zoo("sweep", spec, "--out", tmp_path / "local", "-j", 1) == 0
    for table in TABLES:
        assert numbers(tmp_path / "ray", table) == numbers(tmp_path / "local", table)


def test_analyze_takes_a_hub_id_and_says_what_is_wrong_with_it(
    shelf: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_model(shelf / "acme" / "one")
    with HubServer(shelf) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert zoo("analyze", "acme/one@main", "--format", "json", "--shuffle", "none") == 0
        assert len(json.loads(capsys.readouterr().out)) == 4
        assert zoo("analyze", "acme/none") != 0
        assert "acme/none" in capsys.readouterr().err
    assert os.environ["HF_ENDPOINT"] == hub.url
