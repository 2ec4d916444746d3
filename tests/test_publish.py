"""Releases: what is in them, what stops them, and what the Hub, a folder and a URL get."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from catalog.write.commits import record_failure
from jobs.publish.release import MANIFEST, check
from jobs.publish.secrets import Guard
from jobs.publish.send import parse_place
from tests.catalogs import NOON, commit, keys, sweep
from tests.conftest import Zoo
from tests.hub_folders import fresh_session
from zoo.errors import UnsafeError, UseError
from zoo.loopback import HubServer
from zoo.loopback.uploads import BadCommit, parse_commit


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    root = tmp_path / "cat"
    sweep(str(root), "s1", ["org/a", "org/b", "org/broken"])
    for name in ("org/a", "org/b"):
        commit(str(root), name, layers=[{}] * 6, host="gpu-box-17", source="/home/me/models",
               evaluations=[{"dataset": "digits", "metric": "accuracy", "value": 0.5}])  # fmt: skip
    failure = {"cause": "data", "error_type": "HeaderError", "attempts": 1, "failed_at": NOON}
    failure |= {
        "message": "torn: /home/me/x.bin",
        "traceback": "File /home/me/zoo.py",
        "log_uri": "file:///tmp/l",
    }
    record_failure(str(root), {**keys("org/broken"), **failure})
    return root


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub that a token of ours may write to."""
    (tmp_path / "served").mkdir()
    with (
        fresh_session(),
        HubServer(tmp_path / "served", tokens={"t0ken-of-me": ("me/*",)}, writable=True) as server,
    ):
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", "t0ken-of-me")
        yield server


def files_of(hub: HubServer, repo_id: str, kind: str) -> list[str]:
    return sorted(HfApi(endpoint=hub.url).list_repo_files(repo_id, repo_type=kind))


def test_a_dataset_gets_tables_boards_card_and_manifest(
    catalog: Path, hub: HubServer, zoo: Zoo, tmp_path: Path
) -> None:
    options = ("--quiet", "--tables-only")
    assert zoo("publish", catalog, "hf://datasets/me/zoo", *options, "--spectra") == 0
    names = files_of(hub, "me/zoo", "dataset")
    for name in (
        "README.md",
        MANIFEST,
        "data/layers.parquet",
        "data/spectra.parquet",
        "boards/traps.parquet",
    ):
        assert name in names
    repo = tmp_path / "served/.datasets/me/zoo"
    manifest = json.loads((repo / MANIFEST).read_text())
    assert {f["path"] for f in manifest["files"]} == set(names) - {MANIFEST}
    for file in manifest["files"]:
        data = (repo / file["path"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["bytes"], file["sha256"])
    assert {f["path"]: f.get("rows") for f in manifest["files"]}["data/layers.parquet"] == 12
    assert "create or replace view leaderboard_traps" in manifest["boards"]["traps"]["sql"]
    assert manifest["versions"]["duckdb"] and manifest["catalog"]["models"] == 2
    # again, with less: what the new release lacks is deleted
    assert zoo("publish", catalog, "hf://datasets/me/zoo", *options) == 0
    assert set(names) - set(files_of(hub, "me/zoo", "dataset")) == {"data/spectra.parquet"}


def test_a_space_is_the_site_itself(
    catalog: Path, hub: HubServer, zoo: Zoo, tmp_path: Path
) -> None:
    assert zoo("publish", catalog, "hf://spaces/me/board", "--quiet", "--title", "A: <b>") == 0
    names = files_of(hub, "me/board", "space")
    assert {"index.html", "README.md", "data/layers.parquet", "data/names.js"} <= set(names)
    card = (tmp_path / "served/.spaces/me/board/README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert (head["sdk"], head["app_file"], head["title"]) == ("static", "index.html", "A: <b>")
    assert "# A: &lt;b>" in card


def test_columns_of_machines_stay_and_paths_in_messages_are_cut(
    catalog: Path, zoo: Zoo, tmp_path: Path
) -> None:
    assert zoo("publish", catalog, tmp_path / "out", "--quiet", "--tables-only") == 0
    models = pq.read_table(tmp_path / "out/data/models.parquet")
    assert not {"host", "source"} & set(models.column_names)
    failures = pq.read_table(tmp_path / "out/data/failures.parquet")
    assert not {"traceback", "log_uri"} & set(failures.column_names)
    assert failures.column("message").to_pylist() == ["torn: …/x.bin"]
    written = b"".join(p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert b"gpu-box-17" not in written and b"/home/me" not in written


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("hf_" + "abcdefgh" * 4, "a token of the Hub"),
        ("ghp_" + "a1" * 18, "a token of GitHub"),
        ("AKIA" + "A" * 16, "a key of AWS"),
        ("https://me:secret@host/x", "a password in an address"),
        ("Authorization: Bearer " + "x" * 20, "a bearer token"),
        ("in /home/me/zoo", "an absolute path"),
        ("s3kr3t-of-this-process", "a token of this machine"),
    ],
)
def test_what_must_not_leave_is_recognised(
    monkeypatch: pytest.MonkeyPatch, text: str, what: str
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "s3kr3t-of-this-process")
    assert what in list(Guard.of_this_machine().find(f"before {text} behind"))


def test_names_of_machines_are_recognised_where_they_are_no_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "node-17.cluster")
    guard = Guard.of_this_machine()
    assert list(guard.find("on node-17: died")) == ["the name of this machine"]
    assert not list(guard.find("decode-node-17b and /model/layers.0/MatMul at https://h.co/tmp/x"))
    monkeypatch.setattr(socket, "gethostname", lambda: "bert")
    assert not list(Guard.of_this_machine().find("bert-base"))


def test_a_release_with_a_token_in_a_table_is_refused_without_showing_it(
    catalog: Path, hub: HubServer, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    token = "hf_" + "Zz9" * 10
    commit(
        str(catalog), "org/leak", evaluations=[{"dataset": token, "metric": "acc", "value": 1.0}]
    )
    assert zoo("publish", catalog, "hf://datasets/me/zoo", "--quiet", "--tables-only") == 1
    said = capsys.readouterr().err
    assert "data/evaluations.parquet column dataset: a token of the Hub" in said
    assert token not in said
    assert not hub.requests


def test_pages_are_looked_through_too(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/index.html").write_text("<p>/home/me/catalog</p>")
    with pytest.raises(UnsafeError, match=r"site/index.html: an absolute path"):
        check(tmp_path, Guard.of_this_machine())


def test_a_place_that_holds_something_else_is_left_alone(
    catalog: Path, hub: HubServer, zoo: Zoo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years")
    theirs = tmp_path / "served/.datasets/me/zoo"
    theirs.mkdir(parents=True)
    (theirs / "train.csv").write_text("a,b")
    for place in (tmp_path / "mine", "hf://datasets/me/zoo"):
        assert zoo("publish", catalog, place, "--quiet", "--tables-only") == 2
        assert "holds something else" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    assert [p.name for p in theirs.iterdir()] == ["train.csv"]


def test_a_url_gets_what_changed_and_loses_what_is_gone(catalog: Path, zoo: Zoo) -> None:
    place, memory = "memory://releases/zoo", fsspec.filesystem("memory")
    assert zoo("publish", catalog, place, "--quiet", "--tables-only", "--spectra") == 0
    assert memory.exists("/releases/zoo/data/spectra.parquet")
    before = memory.info("/releases/zoo/data/layers.parquet")["created"]
    assert zoo("publish", catalog, place, "--quiet", "--tables-only") == 0
    assert not memory.exists("/releases/zoo/data/spectra.parquet")
    assert memory.info("/releases/zoo/data/layers.parquet")["created"] == before


def test_a_dry_run_sends_nothing(catalog: Path, hub: HubServer, zoo: Zoo, tmp_path: Path) -> None:
    dry = tmp_path / "dry"
    assert (
        zoo(
            "publish", catalog, "hf://datasets/me/zoo", "--tables-only", "--dry-run", dry, "--quiet"
        )
        == 0
    )
    assert (dry / MANIFEST).exists() and not hub.requests


def test_a_token_that_may_not_write_is_told_so(
    catalog: Path, hub: HubServer, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    assert zoo("publish", catalog, "hf://datasets/they/zoo", "--quiet", "--tables-only") == 1
    said = capsys.readouterr().err
    assert "needs a token that may write there" in said and "t0ken-of-me" not in said


def test_places_are_told_apart() -> None:
    assert parse_place("hf://spaces/me/board").kind == "space"
    assert parse_place("./out").repo_id is None
    with pytest.raises(UseError, match="wanted hf://datasets/OWNER/NAME"):
        parse_place("hf://me/zoo")
    with pytest.raises(UseError, match=r"hf://datasets/me/zoo; a folder here: \./me/zoo"):
        parse_place("me/zoo")


def test_a_served_folder_takes_no_commit_unless_told_to(tmp_path: Path) -> None:
    tokens = {"t0ken-of-me": ("me/*",)}
    with fresh_session(), HubServer(tmp_path, tokens=tokens) as server:
        api = HfApi(endpoint=server.url, token="t0ken-of-me")
        with pytest.raises(HfHubHTTPError):
            api.create_repo("me/zoo", repo_type="dataset")
    assert not list(tmp_path.iterdir())


def test_the_client_makes_a_model_and_deletes_files_of_it(tmp_path: Path, hub: HubServer) -> None:
    api = HfApi(endpoint=hub.url, token="t0ken-of-me")
    assert api.create_repo("me/model").repo_id == "me/model"
    (tmp_path / "a.txt").write_text("one")
    sha = api.upload_file(
        path_or_fileobj=tmp_path / "a.txt", path_in_repo="in/a.txt", repo_id="me/model"
    ).oid
    assert api.model_info("me/model").sha == sha
    api.delete_file("in/a.txt", "me/model")
    assert api.list_repo_files("me/model") == []


@pytest.mark.parametrize(
    "line",
    [
        b'{"key": "file", "value": {"path": "../x", "content": ""}}',
        b'{"key": "file", "value": {"path": ".hub/repo.json", "content": ""}}',
        b'{"key": "file", "value": {"path": "a//b", "content": ""}}',
        b'{"key": "lfsFile", "value": {"path": "a"}}',
        b'{"key": "file", "value": {"path": "a", "content": "no base 64"}}',
        b"[1]",
    ],
)
def test_a_commit_that_cannot_be_made_is_refused_whole(line: bytes) -> None:
    with pytest.raises(BadCommit):
        parse_commit(b'{"key": "header", "value": {}}\n' + line)
