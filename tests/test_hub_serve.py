"""The loopback Hub as the real clients see it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
from huggingface_hub import HfApi, HfFileSystem, hf_hub_download, hf_hub_url, snapshot_download
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import disable_progress_bars, parse_ratelimit_headers
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from tests.hub_folders import fresh_session, put_model, put_settings, put_sharded, weights
from zoo.errors import UseError
from zoo.loopback import KINDS, Fault, HubServer, RateLimit, parse_fault, run
from zoo.loopback.faults import Faults
from zoo.loopback.replies import BadRange, parse_range


@pytest.fixture(autouse=True, scope="module")
def _session() -> Iterator[None]:
    with fresh_session():
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    disable_progress_bars()
    root = tmp_path_factory.mktemp("served")
    put_model(root / "acme" / "one")
    put_model(root / "acme" / "one" / ".hub" / "branches" / "step1", seed=5)
    put_model(root / "acme" / "one" / ".hub" / "tags" / "v1", seed=6)
    put_sharded(root / "acme" / "many")
    put_model(root / "solo", seed=2)
    put_settings(put_model(root / "acme" / "closed"), gated="manual")
    put_settings(put_model(root / "acme" / "gone"), disabled=True)
    return root


@pytest.fixture(params=[False, True], ids=["one-origin", "redirected"])
def hub(root: Path, request: pytest.FixtureRequest) -> Iterator[HubServer]:
    tokens = {"hf_in": ("acme/*",), "hf_out": ()}
    with HubServer(root, page_size=2, redirect=request.param, tokens=tokens) as server:
        yield server


def api(hub: HubServer, token: str | bool = False) -> HfApi:
    return HfApi(endpoint=hub.url, token=token)


def get(hub: HubServer, repo: str, name: str, cache: Path, **more: object) -> str:
    return hf_hub_download(  # type: ignore[call-overload,no-any-return]
        repo, name, endpoint=hub.url, cache_dir=cache, **{"token": False, **more}
    )


def test_the_client_lists_models_over_pages(hub: HubServer) -> None:
    found = list(api(hub).list_models(expand=["sha", "safetensors"]))
    assert [m.id for m in found] == ["acme/closed", "acme/gone", "acme/many", "acme/one", "solo"]
    assert all(m.sha and len(m.sha) == 40 for m in found)
    assert len(hub.requests) == 3
    assert [m.id for m in api(hub).list_models(author="acme", search="/one")] == ["acme/one"]
    assert len(list(api(hub).list_models(limit=3))) == 3


def test_the_client_reads_a_models_info(hub: HubServer, root: Path) -> None:
    info = api(hub).model_info("acme/one", files_metadata=True)
    sizes = {s.rfilename: s.size for s in info.siblings or ()}
    folder = root / "acme" / "one"
    assert sizes == {p.name: p.stat().st_size for p in folder.iterdir() if p.is_file()}
    assert info.card_data is not None
    assert info.card_data.license == "mit"
    assert info.safetensors is not None
    assert info.safetensors.total == 4 * 64 * 32


def test_the_client_finds_revisions(hub: HubServer) -> None:
    refs = api(hub).list_repo_refs("acme/one")
    assert [b.name for b in refs.branches] == ["main", "step1"]
    assert [t.name for t in refs.tags] == ["v1"]
    assert len({r.target_commit for r in (*refs.branches, *refs.tags)}) == 3
    resolved = api(hub).model_info("acme/one", revision="step1").sha
    assert resolved == refs.branches[1].target_commit


def test_the_client_lists_a_tree_and_paths(hub: HubServer) -> None:
    names = [f.path for f in api(hub).list_repo_tree("acme/many", recursive=True)]
    assert len(names) == 5
    (info,) = api(hub).get_paths_info("acme/many", ["config.json", "absent"])
    assert info.size == 2  # type: ignore[union-attr]


def test_the_client_reads_headers_both_ways(hub: HubServer) -> None:
    slow = api(hub).get_safetensors_metadata("acme/many")
    quick = api(hub).get_sharded_safetensors_metadata("acme/many")
    assert slow.weight_map == quick.weight_map
    assert len(slow.weight_map) == 12


def test_the_client_downloads_and_caches(hub: HubServer, tmp_path: Path) -> None:
    path = get(hub, "solo", "model.safetensors", tmp_path)
    expected = weights(2)
    assert all(np.array_equal(v, expected[k]) for k, v in load_file(path).items())
    hub.requests.clear()
    assert get(hub, "solo", "model.safetensors", tmp_path) == path
    assert {r.method for r in hub.requests} == {"HEAD"}


def test_the_client_takes_a_snapshot_of_a_revision(hub: HubServer, tmp_path: Path) -> None:
    folder = snapshot_download(
        "acme/one", revision="step1", endpoint=hub.url, cache_dir=tmp_path, token=False
    )
    loaded = load_file(Path(folder) / "model.safetensors")
    assert np.array_equal(loaded["layers.0.weight"], weights(5)["layers.0.weight"])


def test_the_file_system_reads_ranges(hub: HubServer, root: Path) -> None:
    data = (root / "acme" / "one" / "model.safetensors").read_bytes()
    fs = HfFileSystem(endpoint=hub.url, token=False, skip_instance_cache=True)
    assert fs.cat_file("acme/one/model.safetensors", start=8, end=40) == data[8:40]


def test_errors_are_the_clients_own_types(hub: HubServer, tmp_path: Path) -> None:
    with pytest.raises(RepositoryNotFoundError, match="404"):
        api(hub).model_info("acme/absent")
    with pytest.raises(RevisionNotFoundError, match="404"):
        api(hub).model_info("acme/one", revision="absent")
    with pytest.raises(EntryNotFoundError, match="404"):
        get(hub, "acme/one", "absent", tmp_path)
    with pytest.raises(DisabledRepoError, match="403"):
        api(hub).model_info("acme/gone")


def test_gated_files_need_a_token_that_opens_them(hub: HubServer, tmp_path: Path) -> None:
    for token, status in ((False, 401), ("hf_out", 403)):
        with pytest.raises(GatedRepoError, match=str(status)):
            get(hub, "acme/closed", "config.json", tmp_path, token=token)
    assert Path(get(hub, "acme/closed", "model.safetensors", tmp_path, token="hf_in")).is_file()
    assert not any(r.has_token for r in hub.requests if r.kind == "cdn")
    assert api(hub, "hf_in").whoami()["name"] == "loopback"


def test_transformers_loads_a_model_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    saved = transformers.LlamaForCausalLM(config)
    saved.save_pretrained(tmp_path / "served" / "acme" / "llama")
    with HubServer(tmp_path / "served", redirect=True) as hub:
        # transformers knows no endpoint= argument; it asks huggingface_hub's constant
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        )
        loaded = transformers.AutoModelForCausalLM.from_pretrained(
            "acme/llama", cache_dir=tmp_path / "cache", token=False
        )
        assert any(r.path.endswith("model.safetensors") for r in hub.requests)
    tokens = torch.arange(5)[None]
    with torch.no_grad():
        assert torch.equal(loaded(tokens).logits, saved.eval()(tokens).logits)


# the line itself


@pytest.mark.parametrize(
    ("header", "status", "part"),
    [
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=10-", 206, slice(10, None)),
        ("bytes=-7", 206, slice(-7, None)),
        ("bytes=5-99999999", 206, slice(5, None)),
        ("bytes=99999999-", 416, slice(0, 0)),
        ("bytes=9-5", 416, slice(0, 0)),
        ("bytes=0-1,5-6", 200, slice(None)),
        ("lines=0-1", 200, slice(None)),
    ],
)
def test_ranges_are_answered_as_the_standard_says(
    hub: HubServer, root: Path, header: str, status: int, part: slice
) -> None:
    data = (root / "solo" / "model.safetensors").read_bytes()
    url = hf_hub_url("solo", "model.safetensors", endpoint=hub.url)
    reply = httpx2.get(url, headers={"Range": header}, follow_redirects=True)
    assert (reply.status_code, reply.content) == (status, data[part])
    assert hub.requests[-1].bytes_sent == len(reply.content)


@given(st.text(max_size=30) | st.from_regex(r"bytes=\d{0,4}-\d{0,4}"), st.integers(0, 2000))
def test_any_range_header_gives_bytes_inside_the_file(header: str, size: int) -> None:
    found = parse_range(header, size)
    if isinstance(found, tuple):
        assert 0 <= found[0] and 1 <= found[1] and found[0] + found[1] <= size
    else:
        assert found is None or isinstance(found, BadRange)


@pytest.mark.parametrize(
    "path",
    [
        "/acme/one/resolve/main/../../../outside.txt",
        "/acme/one/resolve/main/..%2F..%2F..%2Foutside.txt",
        "/acme/one/resolve/main/link.txt",
        "/acme/one/resolve/main/folder/outside.txt",
        "/acme/one/resolve/main/.hub/repo.json",
        "/acme/one/resolve/..%2F..%2F/outside.txt",
        "/..%2F/outside.txt/resolve/main/x",
        "/out/resolve/main/outside.txt",
        "/api/models/..",
        "/api/models/acme/one/tree/main/..",
        "//acme/one",
    ],
)
def test_nothing_outside_the_folder_is_served(tmp_path: Path, path: str) -> None:
    (tmp_path / "outside.txt").write_text("secret")
    folder = put_model(tmp_path / "served" / "acme" / "one")
    (folder / "link.txt").symlink_to(tmp_path / "outside.txt")
    (folder / "folder").symlink_to(tmp_path)
    (folder / "loop").symlink_to(folder)
    (tmp_path / "served" / "out").symlink_to(tmp_path)
    with HubServer(tmp_path / "served") as hub:
        reply = httpx2.get(hub.url + path)
        assert reply.status_code in {404, 200}
        assert "secret" not in reply.text
        assert "outside" not in httpx2.get(f"{hub.url}/api/models/acme/one").text


def test_links_inside_the_folder_are_served(tmp_path: Path) -> None:
    folder = put_model(tmp_path / "acme" / "one")
    put_model(tmp_path / "acme" / "two", seed=1)
    (folder / ".hub" / "branches").mkdir(parents=True)
    (folder / ".hub" / "branches" / "step2").symlink_to(tmp_path / "acme" / "two")
    with HubServer(tmp_path) as hub:
        refs = api(hub).list_repo_refs("acme/one").branches
        assert refs[1].target_commit == api(hub).model_info("acme/two").sha


def test_a_changed_byte_moves_the_commit_and_retires_the_old_one(tmp_path: Path) -> None:
    folder = put_model(tmp_path / "acme" / "one")
    with HubServer(tmp_path) as hub:
        before = api(hub).model_info("acme/one").sha
        assert before == api(hub).model_info("acme/one", revision=before).sha
        put_model(folder, seed=9)
        assert api(hub).model_info("acme/one").sha != before
        with pytest.raises(RevisionNotFoundError, match="404"):
            api(hub).model_info("acme/one", revision=before)


def test_a_commit_depends_on_content_alone(tmp_path: Path) -> None:
    put_model(tmp_path / "a" / "x")
    put_model(tmp_path / "b" / "y")
    os.utime(tmp_path / "b" / "y" / "config.json", (1, 1))
    with HubServer(tmp_path) as hub:
        assert api(hub).model_info("a/x").sha == api(hub).model_info("b/y").sha


def test_rate_limits_are_announced_and_kept(root: Path) -> None:
    with HubServer(root, rate_limits={"api": RateLimit(2, window_s=60.0)}) as hub:
        replies = [httpx2.get(f"{hub.url}/api/models/solo") for _ in range(3)]
        infos = [parse_ratelimit_headers(r.headers) for r in replies]
        assert [r.status_code for r in replies] == [200, 200, 429]
        assert [i.remaining for i in infos if i] == [1, 0, 0]
        assert all(i and i.limit == 2 and 0 < i.reset_in_seconds <= 61 for i in infos)
        assert httpx2.get(f"{hub.url}/solo/resolve/main/config.json").status_code == 200


@pytest.mark.parametrize("kind", ["429", "503"])
def test_the_client_outlasts_a_short_fault(hub: HubServer, kind: str) -> None:
    hub.faults.add(Fault(kind, match="/api/models", times=1, seconds=0.0))  # type: ignore[arg-type]
    assert len(list(api(hub).list_models())) == 5


def test_a_fault_that_stays_reaches_the_caller(hub: HubServer) -> None:
    hub.faults.add(Fault("500"))
    with pytest.raises(HfHubHTTPError, match="500"):
        api(hub).model_info("solo")


def test_the_client_notices_a_cut_body_and_asks_again(hub: HubServer, tmp_path: Path) -> None:
    hub.faults.add(Fault("cut", match="*.safetensors", method="GET", at_byte=9000, times=1))
    path = get(hub, "solo", "model.safetensors", tmp_path)
    assert load_file(path).keys() == weights(2).keys()
    assert [r.bytes_sent for r in hub.requests if r.method == "GET"][-2:] == [9000, 33120]


def test_closing_ends_stalled_requests_and_every_thread(root: Path) -> None:
    hub = HubServer(root, faults=[Fault("stall", match="*.safetensors")])
    url = f"{hub.url}/solo/resolve/main/model.safetensors"
    seen: list[type[BaseException]] = []

    def read() -> None:
        try:
            httpx2.get(url, timeout=30)
        except httpx2.HTTPError as err:
            seen.append(type(err))

    reader = threading.Thread(target=read)
    reader.start()
    while not hub.requests:
        threading.Event().wait(0.01)
    hub.close()
    reader.join(timeout=5)
    assert seen == [httpx2.RemoteProtocolError]
    assert not [t for t in threading.enumerate() if "hub-serve" in t.name]


def test_run_serves_until_told_to_stop(root: Path) -> None:
    stop, started = threading.Event(), threading.Event()
    urls: list[str] = []

    def on_start(url: str) -> None:
        urls.append(url)
        started.set()

    thread = threading.Thread(
        target=run, args=(root,), kwargs={"port": 0, "stop": stop, "on_start": on_start}
    )
    thread.start()
    assert started.wait(5)
    assert httpx2.get(f"{urls[0]}/api/models/solo").status_code == 200
    stop.set()
    thread.join(5)
    assert not thread.is_alive()


def test_run_says_what_is_wrong_with_folder_and_port(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UseError, match="no folder"):
        run(tmp_path / "absent", port=0)
    with HubServer(root) as hub, pytest.raises(UseError, match="cannot listen"):
        run(root, port=int(hub.url.rsplit(":", 1)[1]))


# faults


def test_faults_are_counted_skipped_and_ended() -> None:
    faults = Faults([Fault("503", match="/a*", after=1, every=2, times=2)])
    hits = [bool(faults.hits("GET", "/abc")) for _ in range(8)]
    assert hits == [False, False, True, False, True, False, False, False]
    assert not faults.hits("GET", "/b")
    faults.clear()
    assert not faults.hits("GET", "/abc")


def test_faults_come_and_go_with_time() -> None:
    now = [0.0]
    faults = Faults([Fault("slow", from_s=1.0, until_s=2.0)], clock=lambda: now[0])
    seen = []
    for now[0] in (0.5, 1.5, 2.5):
        seen.append(bool(faults.hits("GET", "/")))
    assert seen == [False, True, False]


def test_faults_parse_from_the_command_line() -> None:
    assert parse_fault("503:every=10,match=*/resolve/*") == Fault(
        "503", every=10, match="*/resolve/*"
    )
    assert parse_fault("slow:rate=1e4") == Fault("slow", rate=1e4)
    assert all(parse_fault(kind).kind == kind for kind in KINDS)


@pytest.mark.parametrize("text", ["", "teapot", "503:every", "503:every=x", "503:color=red"])
def test_faults_that_are_unclear_are_bad_use(text: str) -> None:
    with pytest.raises(UseError, match=r"unknown fault|expected one of|number"):
        parse_fault(text)
