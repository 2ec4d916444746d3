"""A model read from the loopback Hub by ranges, in good weather and bad."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.hub_folders import fresh_session, put_model, put_settings, put_sharded, weights
from tests.reading import read_many
from zoo.errors import (
    ChangedError,
    CheckpointError,
    GatedError,
    NotFoundError,
    SourceError,
    TransientError,
    TruncatedError,
    UnsafeError,
    UseError,
)
from zoo.hub import repository as store_module
from zoo.hub.client import HubClient, HubOptions
from zoo.hub.hub_file import HEAD_BYTES
from zoo.hub.listing import resolve_model
from zoo.hub.location import HubLocation
from zoo.hub.repository import HubStore
from zoo.io.files import read_bytes
from zoo.io.opening import open_checkpoint
from zoo.loopback import Fault, HubServer, RateLimit

QUICK = HubOptions(
    stall_s=20.0, connect_s=20.0, attempts=3, wait_initial_s=0.001, wait_max_s=0.01, min_rate=1.0
)
"""Waits little between tries, but gives a server on a busy machine time to answer."""
WEIGHTS = "*.safetensors"


@pytest.fixture(autouse=True, scope="module")
def _session() -> Iterator[None]:
    with fresh_session():
        yield


@pytest.fixture(params=[False, True], ids=["one-origin", "redirected"])
def hub(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[HubServer]:
    put_model(tmp_path / "acme" / "one", tensors=weights(0, num=6, rows=256, cols=128))
    put_sharded(tmp_path / "acme" / "many")
    with HubServer(tmp_path, redirect=request.param, page_size=2) as server:
        yield server


def store_of(hub: HubServer, repo_id: str = "acme/one", options: HubOptions = QUICK) -> HubStore:
    client = HubClient(hub.url, options=options)
    sha = resolve_model(client, repo_id).sha
    hub.requests.clear()
    return HubStore(repo_id, sha, client)


def on_disk(hub: HubServer, tmp_path: Path) -> bytes:
    return (tmp_path / "acme" / "one" / "model.safetensors").read_bytes()


def sent(hub: HubServer, suffix: str = ".safetensors") -> int:
    return sum(r.bytes_sent for r in hub.requests if r.path.endswith(suffix))


def test_a_checkpoint_reads_as_the_file_does(hub: HubServer) -> None:
    store = store_of(hub, "acme/many")
    with open_checkpoint(store) as checkpoint:
        read = {name: t.numpy() for name, t in read_many(checkpoint, checkpoint.tensors).items()}
    expected = {f"shard{s}.{k}": v for s in range(3) for k, v in weights(s).items()}
    assert read.keys() == expected.keys()
    assert all(np.array_equal(read[name], expected[name]) for name in expected)


def test_bytes_fetched_stay_within_two_percent(hub: HubServer, tmp_path: Path) -> None:
    store = store_of(hub)
    with open_checkpoint(store) as checkpoint:
        for name in checkpoint.tensors:
            checkpoint.read(name)
        wanted = sum(t.nbytes for t in checkpoint.tensors.values())
    assert sent(hub) <= 1.02 * wanted
    assert store.counters.bytes_read == sum(
        r.bytes_sent for r in hub.requests if "/api/" not in r.path
    )


def test_a_broken_connection_resumes_from_the_byte_reached(hub: HubServer, tmp_path: Path) -> None:
    hub.faults.add(Fault("cut", match=WEIGHTS, at_byte=200_000, times=3, method="GET"))
    store = store_of(hub)
    file = store.open("model.safetensors")
    data = on_disk(hub, tmp_path)
    assert read_bytes(file, 0, file.size) == data
    assert sent(hub) < len(data) + 3 * 2**20  # what was on the way when a line was cut
    starts = [int(r.range[6:].split("-")[0]) for r in hub.requests if r.range and r.bytes_sent]
    assert starts == sorted(starts)
    assert store.verified == ("model.safetensors",)


@pytest.mark.parametrize("kind", ["429", "500", "503", "408"])
def test_passing_errors_are_waited_out(hub: HubServer, tmp_path: Path, kind: str) -> None:
    hub.faults.add(Fault(kind, times=2))  # type: ignore[arg-type]
    store = store_of(hub)
    file = store.open("model.safetensors")
    assert read_bytes(file, 100, 50) == on_disk(hub, tmp_path)[100:150]


def test_errors_that_do_not_pass_are_transient_in_the_end(hub: HubServer) -> None:
    store = store_of(hub)
    hub.faults.add(Fault("503"))
    with pytest.raises(TransientError, match="503"):
        store.files()
    assert len(hub.requests) == QUICK.attempts


def test_a_stall_is_given_up_and_tried_again(hub: HubServer, tmp_path: Path) -> None:
    hub.faults.add(Fault("stall", match=WEIGHTS, at_byte=1000, times=1, method="GET"))
    impatient = replace(QUICK, stall_s=1.0)
    file = store_of(hub, options=impatient).open("model.safetensors")
    assert read_bytes(file, 0, file.size) == on_disk(hub, tmp_path)


def test_a_drip_counts_as_a_stall(hub: HubServer) -> None:
    options = HubOptions(
        stall_s=0.3, attempts=1, wait_initial_s=0.001, wait_max_s=0.01, min_rate=1e6
    )
    store = store_of(hub, options=options)
    store.files()
    hub.faults.add(Fault("slow", match=WEIGHTS, rate=20_000.0))
    with pytest.raises(TransientError, match="stalled"):
        read_bytes(store.open("model.safetensors"), 0, 60_000)


def test_an_ignored_range_is_refused_before_its_body_is_read(tmp_path: Path) -> None:
    folder = put_model(tmp_path / "acme" / "one", tensors=weights(0, num=1, rows=4096, cols=2048))
    size = (folder / "model.safetensors").stat().st_size
    with HubServer(tmp_path, faults=[Fault("ignore_range", match=WEIGHTS)]) as hub:
        store = store_of(hub)
        with pytest.raises(SourceError, match="ignored the range"):
            read_bytes(store.open("model.safetensors"), size // 2, 1000)
        assert store.counters.bytes_read == 0
        assert [r.status for r in hub.requests if r.range] == [200, 200, 200]


def test_a_range_ignored_once_is_asked_for_again(hub: HubServer, tmp_path: Path) -> None:
    hub.faults.add(Fault("ignore_range", match="/*/model.safetensors", times=1))
    file = store_of(hub).open("model.safetensors")
    assert read_bytes(file, 70_000, 9) == on_disk(hub, tmp_path)[70_000:70_009]


def test_only_ranges_ignored_in_a_row_count_as_an_endpoint_without_ranges(
    hub: HubServer, tmp_path: Path
) -> None:
    file = store_of(hub).open("model.safetensors")
    for at in range(70_000, 76_000, 1_000):
        hub.faults.add(Fault("ignore_range", match="/*/model.safetensors", times=1))
        assert read_bytes(file, at, 9) == on_disk(hub, tmp_path)[at : at + 9]


@pytest.mark.parametrize("kind", ["changed_etag", "changed_sha"])
def test_a_file_that_changes_midway_stops_the_model(hub: HubServer, kind: str) -> None:
    store = store_of(hub)
    file = store.open("model.safetensors")
    read_bytes(file, 0, 100)
    hub.faults.add(Fault(kind, match="/acme/one/resolve/*"))  # type: ignore[arg-type]
    hub.faults.add(Fault("expired", match="/lfs/*"))
    with pytest.raises(ChangedError, match=r"etag|commit"):
        read_bytes(file, HEAD_BYTES + 10, 100)


def test_a_file_that_is_replaced_midway_stops_the_model(tmp_path: Path) -> None:
    folder = put_model(tmp_path / "acme" / "one", tensors=weights(0, num=6, rows=256, cols=128))
    with HubServer(tmp_path) as hub:
        file = store_of(hub).open("model.safetensors")
        read_bytes(file, 0, 100)
        put_model(folder, tensors=weights(1, num=2))
        with pytest.raises(NotFoundError, match="RevisionNotFound"):
            read_bytes(file, HEAD_BYTES + 10, 100)


def test_a_wrong_bit_in_a_whole_file_is_found(hub: HubServer) -> None:
    hub.faults.add(Fault("garble", match=WEIGHTS, at_byte=150_000, method="GET"))
    file = store_of(hub).open("model.safetensors")
    with pytest.raises(ChangedError, match="sha256"):
        read_bytes(file, 0, file.size)


def test_signed_links_are_used_again_and_renewed_when_refused(tmp_path: Path) -> None:
    put_model(tmp_path / "acme" / "one", tensors=weights(0, num=6, rows=256, cols=128))
    with HubServer(tmp_path, redirect=True) as hub:
        store = store_of(hub)
        file = store.open("model.safetensors")
        for start in range(100_000, 600_000, 100_000):
            read_bytes(file, start, 1000)
        kinds = [r.kind for r in hub.requests if r.path.endswith(".safetensors")]
        assert (kinds.count("resolvers"), kinds.count("cdn")) == (1, 5)
        hub.faults.add(Fault("expired", times=1))
        read_bytes(file, 650_000, 1000)
        kinds = [r.kind for r in hub.requests if r.path.endswith(".safetensors")]
        assert (kinds.count("resolvers"), kinds.count("cdn")) == (2, 7)


def test_links_signed_for_one_range_are_not_used_for_another(tmp_path: Path) -> None:
    put_model(tmp_path / "acme" / "one", tensors=weights(0, num=6, rows=256, cols=128))
    with HubServer(tmp_path, redirect=True, sign_ranges=True) as hub:
        file = store_of(hub).open("model.safetensors")
        for start in range(100_000, 600_000, 100_000):
            read_bytes(file, start, 1000)
        assert 403 not in {r.status for r in hub.requests}
        read_bytes(file, 0, file.size)


def test_links_that_never_serve_twice_are_given_up(tmp_path: Path) -> None:
    put_model(tmp_path / "acme" / "one", tensors=weights(0, num=6, rows=256, cols=128))
    with HubServer(tmp_path, redirect=True, link_ttl_s=1e9) as hub:
        file = store_of(hub).open("model.safetensors")
        hub.faults.add(Fault("expired", match="/lfs/*", after=1, every=2))
        for start in range(100_000, 600_000, 100_000):
            read_bytes(file, start, 1000)
        assert [r.status for r in hub.requests if r.kind == "cdn"].count(403) <= 3


def test_a_link_that_is_always_refused_is_transient(tmp_path: Path) -> None:
    put_model(tmp_path / "acme" / "one")
    with HubServer(tmp_path, redirect=True, faults=[Fault("expired")]) as hub:
        with pytest.raises(TransientError, match="link just signed"):
            read_bytes(store_of(hub).open("model.safetensors"), 0, 8)


def test_the_token_goes_to_the_hub_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_model(tmp_path / "acme" / "closed")
    put_settings(tmp_path / "acme" / "closed", gated="manual")
    tokens = {"hf_good": ("acme/*",), "hf_other": ()}
    with HubServer(tmp_path, redirect=True, tokens=tokens) as hub:
        monkeypatch.setenv("HF_TOKEN", "hf_good")
        read_bytes(store_of(hub, "acme/closed").open("model.safetensors"), 0, 8)
        assert {r.kind: r.has_token for r in hub.requests} == {
            "api": True,
            "resolvers": True,
            "cdn": False,
        }
        assert "hf_good" not in repr(list(hub.requests))
        for token in ("hf_other", "hf_unknown"):
            monkeypatch.setenv("HF_TOKEN", token)
            with pytest.raises(GatedError, match="no access") as caught:
                read_bytes(store_of(hub, "acme/closed").open("config.json"), 0, 8)
            assert token not in str(caught.value)
        monkeypatch.delenv("HF_TOKEN")
        with pytest.raises(GatedError, match="set HF_TOKEN"):
            read_bytes(store_of(hub, "acme/closed").open("config.json"), 0, 8)


def test_reading_past_the_end_is_a_truncated_file(hub: HubServer) -> None:
    file = store_of(hub).open("config.json")
    with pytest.raises(TruncatedError, match="cut short"):
        read_bytes(file, 0, file.size + 1)


@pytest.mark.parametrize("name", ["../one/config.json", "/etc/passwd", "a\\b", ""])
def test_names_that_lead_out_are_unsafe(hub: HubServer, name: str) -> None:
    with pytest.raises(UnsafeError):
        store_of(hub).open(name)


def test_a_missing_file_is_not_found(hub: HubServer) -> None:
    with pytest.raises(NotFoundError, match="no file 'absent'"):
        store_of(hub).open("absent")


def test_a_repository_of_too_many_files_is_refused_early(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MAX_FILES", 2)
    with pytest.raises(CheckpointError, match="more than 2 files"):
        store_of(hub).files()


def test_a_location_is_picklable_and_opens_anywhere(hub: HubServer) -> None:
    location = HubLocation("acme/one", store_of(hub).revision, hub.url)
    store = pickle.loads(pickle.dumps(location)).open()
    assert list(store.files()) == ["README.md", "config.json", "model.safetensors"]
    assert (store.model_id, store.revision) == ("acme/one", location.sha)
    store.close()


@pytest.mark.parametrize(
    ("repo_id", "sha"),
    [("a/b", "main"), ("../b", "0" * 40), ("a/b/c", "0" * 40), ("a/b?x", "0" * 40), ("", "0" * 40)],
)
def test_a_location_that_is_none_is_refused(repo_id: str, sha: str) -> None:
    with pytest.raises(UseError, match="wanted"):
        HubLocation(repo_id, sha)


# reading ahead


def ranges_of(store: HubStore) -> list[tuple[str, int, int]]:
    with open_checkpoint(HubStore(store.model_id, store.revision, store._client)) as checkpoint:
        return [(t.file, t.start, t.end) for t in checkpoint.tensors.values()]


def read_all(store: HubStore, wanted: list[tuple[str, int, int]]) -> list[bytes]:
    return [read_bytes(store.open(f), start, end - start) for f, start, end in wanted]


def test_reading_ahead_gives_the_same_bytes_in_fewer_requests(
    hub: HubServer, tmp_path: Path
) -> None:
    store = store_of(hub, "acme/many")
    wanted = ranges_of(store)
    plain = read_all(store, wanted)
    hub.requests.clear()
    ahead = HubStore(store.model_id, store.revision, store._client)
    ahead.announce(wanted)
    assert read_all(ahead, wanted) == plain
    assert len([r for r in hub.requests if r.status == 206 or r.status == 200]) <= 1 + 3
    assert len(ahead.verified) == 3
    ahead.close()
    store.close()


def test_memory_read_ahead_is_bounded(hub: HubServer) -> None:
    store = store_of(hub)
    wanted = ranges_of(store)
    small = HubStore(store.model_id, store.revision, store._client, queue_bytes=100_000)
    small.announce(wanted)
    prefetcher = small._prefetcher
    assert prefetcher is not None
    largest = 0
    for name, start, end in wanted:
        read_bytes(small.open(name), start, end - start)
        largest = max(largest, prefetcher._queued_bytes)
    assert largest <= 100_000 + 2**17
    small.close()


@pytest.mark.parametrize("order", ["backwards", "skipping", "twice"])
def test_a_reader_that_leaves_the_plan_still_gets_its_bytes(hub: HubServer, order: str) -> None:
    store = store_of(hub)
    wanted = ranges_of(store)
    plain = dict(zip(wanted, read_all(store, wanted), strict=True))
    ahead = HubStore(store.model_id, store.revision, store._client)
    ahead.announce(wanted)
    asked = {"backwards": wanted[::-1], "skipping": wanted[1::2], "twice": wanted + wanted}[order]
    assert read_all(ahead, asked) == [plain[w] for w in asked]
    ahead.close()


def test_a_read_that_was_not_announced_leaves_the_stream_alone(hub: HubServer) -> None:
    store = store_of(hub)
    wanted = ranges_of(store)
    plain = read_all(store, wanted)
    name, start, end = wanted[-1]
    ahead = HubStore(store.model_id, store.revision, store._client)
    ahead.announce([*wanted[:-1], (name, start + 100, end)])  # nearly all: comes whole
    hub.requests.clear()
    assert read_all(ahead, [(name, start, start + 50)]) == [plain[-1][:50]]
    assert read_all(ahead, wanted[:-1]) == plain[:-1]
    assert len([r for r in hub.requests if r.bytes_sent and r.path.endswith(name)]) <= 3
    ahead.close()


def test_errors_of_the_thread_reach_the_reader(hub: HubServer) -> None:
    store = store_of(hub)
    wanted = ranges_of(store)
    store.files()
    hub.faults.add(Fault("changed_etag"))
    store.announce(wanted)
    with pytest.raises(ChangedError, match="etag"):
        read_all(store, wanted)
    store.close()


def test_closing_ends_the_thread_with_the_plan_half_read(hub: HubServer) -> None:
    store = store_of(hub)
    wanted = ranges_of(store)
    ahead = HubStore(store.model_id, store.revision, store._client, queue_bytes=1000)
    ahead.announce(wanted)
    read_all(ahead, wanted[:1])
    ahead.close()
    assert not [t for t in threading.enumerate() if t.name == "hub-prefetch"]


def test_a_subset_of_tensors_is_fetched_without_the_rest(hub: HubServer) -> None:
    store = store_of(hub)
    wanted = ranges_of(store)[1::3]
    store.announce(wanted)
    hub.requests.clear()
    read_all(store, wanted)
    asked = sum(end - start for _, start, end in wanted)
    assert sent(hub) <= 1.02 * asked + HEAD_BYTES
    store.close()


def test_a_spent_budget_is_waited_for_and_never_overdrawn(tmp_path: Path) -> None:
    put_model(tmp_path / "acme" / "one", tensors=weights(0, num=6, rows=256, cols=128))
    limits = {"resolvers": RateLimit(4, window_s=1.0)}
    with HubServer(tmp_path, rate_limits=limits) as hub:
        pauses: list[float] = []
        client = HubClient(hub.url, options=QUICK, sleep=waiting(pauses))
        sha = resolve_model(client, "acme/one").sha
        store = HubStore("acme/one", sha, client)
        file = store.open("model.safetensors")
        for start in range(70_000, 79_000, 1000):
            read_bytes(file, start, 10)
        assert 429 not in {r.status for r in hub.requests}
        assert pauses


def waiting(pauses: list[float]) -> Callable[[float], None]:
    """A sleep that notes how long it was asked for, and sleeps."""

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        threading.Event().wait(seconds)

    return sleep
