"""Kinds of sources, the texts that name models, and what one bad source does to the others."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from jobs.sources import registry
from jobs.sources.find import find_targets
from jobs.sources.registry import KINDS, Kind
from jobs.sources.target import Origin, Target
from jobs.spec.load import parse_spec
from jobs.spec.tables import SOURCE_KEYS, Source
from tests.conftest import Zoo
from tests.hub_folders import fresh_session
from tests.models import weights, write_model
from tests.test_sweep import ask
from zoo.io.addresses import address_of
from zoo.io.weight_files import is_model_file
from zoo.loopback.server import HubServer

SPEC = "[[source]]\npath = 'zoo/*'\n"


def targets(folder: Path, text: str) -> tuple[Target, ...]:
    return find_targets(parse_spec(text, folder=folder))


def put_adapter(folder: Path, base: str) -> Path:
    """An adapter of two factors whose settings name `base`."""
    a, b = weights(1, (4, 16), (24, 4)).values()
    stem = "base_model.model.layers.0.q_proj.lora"
    write_model(folder, {f"{stem}_A.weight": a, f"{stem}_B.weight": b})
    settings = {"r": 4, "lora_alpha": 8, "base_model_name_or_path": base}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def put_base(folder: Path) -> Path:
    (matrix,) = weights(2, (24, 16)).values()
    return write_model(folder, {"layers.0.q_proj.weight": matrix})


# Kinds


def test_the_keys_of_the_spec_are_those_of_the_registered_kinds() -> None:
    assert {key for kind in KINDS for key in kind.keys} == set(SOURCE_KEYS)
    assert set(SOURCE_KEYS) <= set(Source.model_fields)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_module_of_every_kind_lists_and_lists_again(kind: Kind) -> None:
    module = kind.load()
    assert callable(module.list_targets) and callable(module.list_again)
    assert module.__doc__ and getattr(module, "KIND", None) == kind.name


def test_a_new_kind_of_source_is_one_module_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def list_targets(source: Source, where: str, say: registry.Say) -> Iterator[Target]:
        yield Target("toy/one", "1" * 40, None, "toy", origin=Origin("toy", "one", "one"))

    module = ModuleType("toys")
    module.list_targets = list_targets  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "toys", module)
    line = Kind("toy", ("path",), "toys", takes=lambda text: text.startswith("toy://"))
    monkeypatch.setattr(registry, "KINDS", (line, *KINDS))
    assert [t.model_id for t in targets(tmp_path, "[[source]]\npath = 'toy://x'\n")] == ["toy/one"]


def test_kind_path_and_identity_are_three_facts(tmp_path: Path) -> None:
    for step in (1, 2):
        write_model(tmp_path / "run" / f"step{step}", weights(step, (9, 5)))
    spec = "[[source]]\npath = '{}run/*'\nstep_pattern = 'step(\\d+)'\n"
    first, second = targets(tmp_path, spec.format(""))
    assert first.origin == Origin("folder", str(tmp_path / "run/step1"), str(tmp_path / "run"))
    assert first.origin.is_same_model(second.origin)
    bucket, _ = targets(tmp_path, spec.format(f"file://{tmp_path}/"))
    assert (bucket.origin.kind, bucket.origin.path) == ("bucket", f"file://{tmp_path}/run/step1")
    assert not bucket.origin.is_same_model(first.origin)


# Texts


@pytest.mark.parametrize(
    ("text", "kind", "place", "revision"),
    [
        ("owner/name", "hub", "owner/name", None),
        ("owner/name@v1", "hub", "owner/name", "v1"),
        ("gpt2", "hub", "gpt2", None),
        ("here/model", "path", "here/model", None),
        ("./gone", "path", "./gone", None),
        ("a/b/c", "path", "a/b/c", None),
        ("x.gguf", "path", "x.gguf", None),
        ("s3://bucket/a", "url", "s3://bucket/a", None),
    ],
)
def test_one_place_says_what_a_text_means(
    tmp_path: Path, text: str, kind: str, place: str, revision: str | None
) -> None:
    (tmp_path / "here" / "model").mkdir(parents=True)
    address = address_of(text, folder=str(tmp_path))
    where = str(tmp_path / place) if kind == "path" else place
    assert (address.kind, os.path.normpath(address.place), address.revision) == (
        kind,
        os.path.normpath(where),
        revision,
    )


def test_without_a_folder_the_disk_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert address_of("owner/name").kind == "hub"
    assert address_of("owner/name", folder="").kind == "path"


def test_a_link_that_leads_nowhere_is_a_path_and_the_hub_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    assert zoo("analyze", "loop") == 2
    assert "a link that leads to itself" in capsys.readouterr().err


def test_training_state_is_no_model_file() -> None:
    assert is_model_file("model.safetensors") and is_model_file("a/pytorch_model.bin")
    for name in ("optimizer.pt", "rng_state_0.pth", "training_args.bin", "README.md"):
        assert not is_model_file(name)


def test_training_state_among_the_matches_is_left_out_and_said(tmp_path: Path) -> None:
    write_model(tmp_path / "zoo", weights(0, (9, 5)))
    (tmp_path / "zoo" / "optimizer.pt").write_bytes(b"x")
    said: list[str] = []
    find_targets(parse_spec(SPEC, folder=tmp_path), said.append)
    assert said == [
        "source[0].path: left out 1 of 3 matches that hold training state: optimizer.pt"
    ]


# Bases


def test_a_hub_model_gets_no_base_from_a_folder_called_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_adapter(tmp_path / "hub", base="lab/base")
    put_base(tmp_path / "base")
    write_model(tmp_path / "shelf" / "acme" / "model", weights(0, (9, 5)))
    monkeypatch.chdir(tmp_path)
    with fresh_session(), HubServer(tmp_path / "shelf") as hub:
        spec = (
            f"[[source]]\nhub = 'acme/model'\nendpoint = '{hub.url}'\n"
            "[[source]]\npath = 'base'\nname = 'lab'\n[layers]\nadapters = 'merged'\n"
        )
        model, base = targets(tmp_path, spec)
    assert (model.model_id, model.base) == ("acme/model", None)
    assert base.model_id == "lab/base"


def test_a_base_on_the_hub_is_not_a_folder_that_happens_to_lie_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_adapter(tmp_path / "specs" / "adapter", base="")
    put_base(tmp_path / "shelf" / "lab" / "base")
    put_base(tmp_path / "lab" / "base")
    monkeypatch.chdir(tmp_path)  # not the spec's folder: relative paths are not meant from here
    with fresh_session(), HubServer(tmp_path / "shelf") as hub:
        spec = (
            f"[[source]]\npath = 'adapter'\nbase = 'lab/base'\nendpoint = '{hub.url}'\n"
            "[layers]\nadapters = 'merged'\n"
        )
        (adapter,) = targets(tmp_path / "specs", spec)
    assert adapter.base is not None and adapter.base.origin.kind == "hub"
    assert [origin.kind for origin in adapter.origins] == ["folder", "hub"]


@pytest.mark.parametrize("prefix", ["", "file://{}/"], ids=["folder", "bucket"])
def test_the_settings_of_adapters_in_a_trajectory_name_their_base(
    tmp_path: Path, prefix: str
) -> None:
    for step in (1, 2):
        put_adapter(tmp_path / "run" / f"step{step}", base="lab/base")
    put_base(tmp_path / "base")
    spec = (
        f"[[source]]\npath = '{prefix.format(tmp_path)}run/*'\nstep_pattern = 'step(\\d+)'\n"
        "[[source]]\npath = 'base'\nname = 'lab'\n[layers]\nadapters = 'merged'\n"
    )
    *steps, base = targets(tmp_path, spec)
    assert [t.step for t in steps] == [1, 2]
    assert [t.base_revision for t in steps] == [base.revision] * 2


def test_a_base_of_several_revisions_is_a_question_not_a_guess(tmp_path: Path) -> None:
    put_adapter(tmp_path / "adapter", base="lab/run")
    for step in (1, 2):
        write_model(tmp_path / "run" / f"step{step}", weights(step, (24, 16)))
    spec = (
        "[[source]]\npath = 'adapter'\n[[source]]\npath = 'run/*'\nname = 'lab'\n"
        "step_pattern = 'step(\\d+)'\n[layers]\nadapters = 'merged'\n"
    )
    adapter = targets(tmp_path, spec)[0]
    assert adapter.failure is not None and "2 revisions" in adapter.failure.message


# One bad source is one failed target


@pytest.fixture
def bad_zoo(tmp_path: Path) -> Iterator[Path]:
    """Two good models among everything that a folder may hold by mistake; the spec's path."""
    for number in range(2):
        write_model(tmp_path / "zoo" / f"good{number}", weights(number, (20, 10)))
    zoo = tmp_path / "zoo"
    write_model(Path(os.fsdecode(os.fsencode(zoo) + b"/caf\xe9")), weights(5, (20, 10)))
    (zoo / "zero").symlink_to("/dev/zero")
    os.mkfifo(zoo / "pipe")
    (zoo / "loop").symlink_to(zoo / "loop")
    (zoo / "dangling").symlink_to(zoo / "nowhere")
    (tmp_path / "spec.toml").write_text(SPEC)
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(zoo)  # the name of a socket is short
        server.bind("socket")
        os.chdir(here)
        yield tmp_path / "spec.toml"


BAD = {
    "local/caf\\xe9": "not UTF-8",
    "local/zero": "is a device",
    "local/pipe": "is a pipe",
    "local/socket": "is a socket",
    "local/loop": "a link that leads to itself",
    "local/dangling": "a link that leads nowhere",
}


def real_zoo(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobs", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_bad_matches_are_rows_of_failures_and_the_others_are_swept(bad_zoo: Path) -> None:
    cat = bad_zoo.parent / "cat"
    swept = real_zoo("sweep", bad_zoo, "--out", cat, "-j", 1)
    assert swept.returncode == 1 and "Traceback" not in swept.stderr
    assert ask(cat, "select model_id from models order by 1") == [
        ("local/good0",),
        ("local/good1",),
    ]
    failures = ask(cat, "select model_id, cause, message from failures_open")
    assert {str(row[0]) for row in failures} == set(BAD)
    for model, cause, message in failures:
        assert cause == "data" and BAD[str(model)] in str(message)
        assert str(model).isprintable() and "\udce9" not in str(message)


def test_bad_matches_are_rows_of_the_plan(bad_zoo: Path) -> None:
    planned = real_zoo("plan", bad_zoo, "--format", "json")
    assert planned.returncode == 1 and "Traceback" not in planned.stderr
    notes = {row["model"]: row["note"] for row in json.loads(planned.stdout)}
    assert set(notes) == {*BAD, "local/good0", "local/good1"}
    assert all(BAD[model] in notes[model] for model in BAD)


def test_a_model_below_a_folder_that_is_not_utf8_is_measured(tmp_path: Path, zoo: Zoo) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    write_model(odd / "model", weights(0, (20, 10)))
    (tmp_path / "spec.toml").write_text("[[source]]\npath = '*/model'\n")
    assert zoo("sweep", tmp_path / "spec.toml", "--out", tmp_path / "cat", "-j", 1) == 0
    ((source,),) = ask(tmp_path / "cat", "select source from models")
    assert str(source).endswith("caf\\xe9/model")


@pytest.mark.parametrize("what", ["loop", "gone"])
def test_a_folder_that_is_not_there_is_bad_data_not_the_hubs_fault(
    tmp_path: Path, what: str
) -> None:
    write_model(tmp_path / "zoo" / "a", weights(0, (20, 10)))
    (tmp_path / "zoo" / "loop").symlink_to("loop")
    path = {"loop": "zoo/loop", "gone": "zoo/[ab]"}[what]
    if what == "gone":
        (tmp_path / "zoo" / "b").symlink_to(tmp_path / "removed")
    failed = targets(tmp_path, f"[[source]]\npath = '{path}'\n")[-1].failure
    assert failed is not None and failed.cause == "data"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_one_failure(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_model(tmp_path / "zoo" / name, weights(0, (20, 10)))
    (tmp_path / "zoo" / "a").chmod(0)
    closed, good = targets(tmp_path, SPEC)
    assert closed.failure is not None and closed.failure.cause == "data" and good.failure is None


def test_a_service_that_cannot_be_asked_is_one_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.local import LocalFileSystem

    def broken(self: object, *arguments: object, **options: object) -> None:
        raise ConnectionError("no route to the bucket")

    write_model(tmp_path / "zoo" / "a", weights(0, (20, 10)))
    monkeypatch.setattr(LocalFileSystem, "glob", broken)
    unreachable, good = targets(tmp_path, f"[[source]]\npath = 'file://{tmp_path}/x*'\n{SPEC}")
    assert unreachable.failure is not None and unreachable.failure.cause == "hub_transient"
    assert good.failure is None
