"""Folders of the Hub's cache are the models that they were fetched from; without a network they are read.

Every cache here is made by huggingface_hub itself, from a Hub on loopback.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest
from huggingface_hub import constants, hf_hub_download, scan_cache_dir, snapshot_download

from jobs.sources.bases import listed_again
from jobs.sources.find import find_targets
from jobs.sources.target import Target
from jobs.spec.load import parse_spec
from tests.conftest import Zoo
from tests.hub_folders import fresh_session, put_model, weights
from zoo.api import analyze, locate, open_source
from zoo.errors import CheckpointError, MissingPathError, NotFoundError, UnsafeError
from zoo.io.hub_cache import repo_id_of, snapshots_of
from zoo.loopback import HubServer
from zoo.options import AnalysisOptions, LayerSelection

Caught = pytest.CaptureFixture[str]
QUICK = AnalysisOptions(metrics="tail")


@pytest.fixture(autouse=True, scope="module")
def _session() -> Iterator[None]:
    with fresh_session():
        yield


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    root = tmp_path_factory.mktemp("served")
    put_model(root / "acme" / "one", seed=1)
    for step in (1, 2):
        put_model(root / "acme" / "one" / ".hub" / "tags" / f"step{step}", seed=10 + step)
    put_model(root / "acme" / "two", seed=2)
    put_model(root / "solo", seed=3)
    with HubServer(root) as server:
        yield server


@pytest.fixture(scope="module")
def fetched(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three repositories: one with its main and two tags, one at main, one of which a config was fetched."""
    cache = tmp_path_factory.mktemp("fetched") / "hub"
    for repo, revision in (
        ("acme/one", "main"),
        ("acme/one", "step1"),
        ("acme/one", "step2"),
        ("acme/two", "main"),
    ):
        snapshot_download(repo, revision=revision, endpoint=hub.url, cache_dir=cache, token=False)
    hf_hub_download("solo", "config.json", endpoint=hub.url, cache_dir=cache, token=False)
    return cache


@pytest.fixture
def cache(fetched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to break, which is the cache of this process."""
    cache = tmp_path / "hf" / "hub"
    shutil.copytree(fetched, cache, symlinks=True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    return cache


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def targets(*sources: str, said: list[str] | None = None) -> tuple[Target, ...]:
    spec = parse_spec("".join(f"[[source]]\n{s}\n" for s in sources), folder=Path.cwd())
    return find_targets(spec, None if said is None else said.append)


def names(models: tuple[Target, ...]) -> list[tuple[str, str]]:
    return [(model.model_id, model.revision) for model in models]


def one(cache: Path) -> Path:
    return cache / "models--acme--one"


def main_of(repository: Path) -> Path:
    return repository / "snapshots" / (repository / "refs" / "main").read_text()


def test_a_cache_is_read_as_its_own_library_reads_it(cache: Path) -> None:
    theirs = {
        (repo.repo_id, revision.commit_hash, revision.snapshot_path, tuple(sorted(revision.refs)))
        for repo in scan_cache_dir(cache).repos
        for revision in repo.revisions
    }
    ours = {
        (s.repo_id, s.commit, s.folder, s.refs)
        for folder in cache.iterdir()
        if repo_id_of(folder)
        for s in snapshots_of(folder)
    }
    assert ours == theirs and len(ours) == 5


def test_a_whole_cache_is_every_model_at_every_commit(cache: Path) -> None:
    said: list[str] = []
    hugging_face_home = cache.parent
    commits = {path.name for path in (one(cache) / "snapshots").iterdir()}
    models = targets(f"path = '{cache}'", said=said)
    assert {r for m, r in names(models) if m == "acme/one"} == commits and len(commits) == 3
    assert {m for m, _ in names(models)} == {"acme/one", "acme/two"}
    assert all(m.failure is None and m.metadata.author == "acme" for m in models)
    assert any("left out 1 folders" in text and "models--solo/snapshots" in text for text in said)
    assert names(targets(f"path = '{hugging_face_home}'")) == names(models)
    assert names(targets(f"path = '{cache}/models--*'")) == names(models)


def test_one_repository_and_one_snapshot_go_by_the_names_of_the_hub(
    hub: HubServer, cache: Path
) -> None:
    on_the_hub = names(targets(f"hub = 'acme/one'\nendpoint = '{hub.url}'"))
    assert names(targets(f"path = '{main_of(one(cache))}'")) == on_the_hub
    assert set(on_the_hub) < set(names(targets(f"path = '{one(cache)}'")))
    (two,) = targets(f"path = '{cache / 'models--acme--two'}'")
    assert two.model_id == "acme/two" and two.revision == main_of(cache / "models--acme--two").name


def test_the_hub_and_its_cache_may_be_sources_of_one_sweep(hub: HubServer, cache: Path) -> None:
    both = targets(f"hub = 'acme/one'\nendpoint = '{hub.url}'", f"path = '{main_of(one(cache))}'")
    assert [model.origin.kind for model in both] == ["hub"]


def test_steps_are_found_in_the_tags_of_cached_commits(cache: Path) -> None:
    models = targets(f"path = '{one(cache)}'\nstep_pattern = 'step(\\d+)'")
    assert sorted(model.step or 0 for model in models) == [1, 2]
    assert {model.revision for model in models} == {
        (one(cache) / "refs" / f"step{step}").read_text() for step in (1, 2)
    }


@pytest.mark.parametrize("place", ["repository", "snapshot", "link"])
def test_analyze_of_a_cached_folder_is_analyze_of_the_repository(
    place: str, hub: HubServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    wanted = analyze("acme/one", options=QUICK)
    (tmp_path / "link").symlink_to(main_of(one(cache)))
    path = {"repository": one(cache), "snapshot": main_of(one(cache)), "link": tmp_path / "link"}
    given = analyze(path[place], options=QUICK)
    assert (given.model_id, given.revision) == (wanted.model_id, wanted.revision)
    assert [row["alpha"] for row in given.layers] == [row["alpha"] for row in wanted.layers]


def test_of_several_commits_without_a_main_one_has_to_be_named(cache: Path) -> None:
    (one(cache) / "refs" / "main").unlink()
    with pytest.raises(CheckpointError, match="holds 3 snapshots and no refs/main; wanted one"):
        locate(one(cache))


def test_a_whole_cache_is_no_single_model(cache: Path, zoo: Zoo, capsys: Caught) -> None:
    assert zoo("analyze", cache) == 2
    assert "holds 4 models (acme/one@" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="a cache of the Hub with 3 models"):
        locate(cache)


def test_a_download_that_did_not_end_is_named(cache: Path) -> None:
    for link in main_of(cache / "models--acme--two").iterdir():
        link.unlink()
    (failed,) = targets(f"path = '{cache / 'models--acme--two'}'")
    assert failed.model_id == "acme/two" and failed.location is not None
    with pytest.raises(CheckpointError, match="no weights in"):
        with open_source(cache / "models--acme--two", LayerSelection()):
            pass
    main_of(cache / "models--acme--two").rmdir()
    (failed,) = targets(f"path = '{cache / 'models--acme--two'}'")
    assert failed.model_id == "acme/two" and failed.failure is not None
    assert "its download did not end" in failed.failure.message


def test_a_blob_that_was_removed_is_named(cache: Path) -> None:
    link = main_of(one(cache)) / "model.safetensors"
    link.resolve().unlink()
    with pytest.raises(MissingPathError, match=r"no file 'model\.safetensors'"):
        analyze(main_of(one(cache)), options=QUICK)


def test_links_out_of_a_cached_repository_are_not_followed(cache: Path) -> None:
    link = main_of(one(cache)) / "model.safetensors"
    link.unlink()
    link.symlink_to(main_of(cache / "models--acme--two") / "model.safetensors")
    with pytest.raises(UnsafeError, match="leads out of the folder"):
        analyze(main_of(one(cache)), options=QUICK)


def test_a_cached_model_that_changed_is_listed_again_under_its_commit(cache: Path) -> None:
    (target,) = targets(f"path = '{cache / 'models--acme--two'}'")
    assert names((listed_again(target),)) == names((target,))


@pytest.mark.parametrize("revision", ["", "@main", "@step2"])
def test_offline_a_repository_is_read_from_the_cache(
    revision: str, hub: HubServer, cache: Path, offline: None, zoo: Zoo, capsys: Caught
) -> None:
    asked = len(hub.requests)
    assert zoo("analyze", f"acme/one{revision}", "--format", "json", "--metrics", "tail") == 0
    captured = capsys.readouterr()
    commit = (one(cache) / "refs" / (revision[1:] or "main")).read_text()
    assert len(json.loads(captured.out)) == 4 and f"acme/one@{commit[:12]}" in captured.err
    assert len(hub.requests) == asked


def test_offline_a_sweep_reads_the_cache_under_the_keys_of_the_hub(
    hub: HubServer,
    cache: Path,
    tmp_path: Path,
    zoo: Zoo,
    capsys: Caught,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = tmp_path / "spec.toml"
    text = '[sweep]\nname = "x"\n[layers]\nmetrics = "tail"\n[[source]]\nhub = "acme/one"\n'
    spec.write_text(text + '[[source]]\nhub = "acme/one"\nrevisions = "step*"\n')
    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert zoo("plan", spec, "--format", "json") == 0
        assert [row["step"] for row in json.loads(capsys.readouterr().out)] == [None, 1, 2]
        assert zoo("sweep", spec, "--out", tmp_path / "cat", "-j", 1) == 0
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    assert zoo("sweep", spec, "--out", tmp_path / "cat", "-j", 1) == 0
    assert "0 done, 3 skipped" in capsys.readouterr().err
    rows = duckdb.sql(f"select distinct model_id from '{tmp_path}/cat/layers/*/*.parquet'")
    assert rows.fetchall() == [("acme/one",)]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("acme/none", "it is not in the cache at"),
        ("acme/one@step9", "which has main, step1, step2"),
        ("acme/one@" + "0" * 40, "hf download acme/one"),
    ],
)
def test_offline_a_missing_model_says_so_and_where_it_looked(
    asked: str, words: str, cache: Path, offline: None, zoo: Zoo, capsys: Caught
) -> None:
    assert zoo("analyze", asked) == 2
    said = capsys.readouterr().err
    assert "HF_HUB_OFFLINE is set" in said and words in said and str(cache) in said


def test_offline_what_cannot_be_listed_is_a_row_and_the_others_are_swept(
    cache: Path, offline: None
) -> None:
    missing, query, model = targets(
        "hub = 'acme/none'", "query = { author = 'acme' }", "hub = 'acme/two'"
    )
    assert missing.failure is not None and "not in the cache" in missing.failure.message
    assert query.failure is not None and "a cache answers none" in query.failure.message
    assert model.failure is None and model.source == "cache:acme/two@main"


def test_a_hub_out_of_reach_is_answered_with_the_cache(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Exception, match="HF_HUB_OFFLINE=1 reads it from the cache at"):
        locate("acme/one")


@pytest.mark.parametrize("variable", ["HF_HOME", "HF_HUB_CACHE"])
def test_the_environment_says_where_the_cache_is(
    variable: str,
    cache: Path,
    zoo_process: Callable[..., subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, str(cache.parent if variable == "HF_HOME" else cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    process = zoo_process("analyze", "acme/two", "--metrics", "tail", "--format", "csv")
    out, err = process.communicate()
    assert process.returncode == 0 and "acme/two@" in err and len(out.splitlines()) == 5


@pytest.mark.parametrize(
    "name", ["models--a--b--c", "models--", "models--..--b", "datasets--a--b", "models--a b"]
)
def test_other_names_are_no_repository(name: str, tmp_path: Path) -> None:
    (tmp_path / name / "snapshots").mkdir(parents=True)
    assert repo_id_of(tmp_path / name) is None


def test_a_data_set_in_the_cache_is_no_model(tmp_path: Path) -> None:
    folder = tmp_path / "datasets--acme--data" / "snapshots" / ("0" * 40)
    put_model(folder, tensors=weights(5))
    put_model(tmp_path / "plain")
    said: list[str] = []
    assert [m for m, _ in names(targets(f"path = '{tmp_path}'", said=said))] == ["local/plain"]
    assert "datasets--acme--data" in said[0]


def test_a_commit_not_named_by_a_ref_is_read_by_its_hash(
    hub: HubServer, cache: Path, offline: None
) -> None:
    commit = main_of(one(cache)).name
    (one(cache) / "refs" / "main").unlink()
    with open_source(f"acme/one@{commit}", LayerSelection()) as (model_id, model):
        assert (model_id, model.revision) == ("acme/one", commit)
    with pytest.raises(NotFoundError, match=commit):
        locate("acme/one")
