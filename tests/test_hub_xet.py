"""Ranges from Xet storage: a fake stream group, the real hf_xet on loopback, and the way back to
HTTP. Not exercised against a real CAS."""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import hf_xet  # type: ignore[import-untyped,unused-ignore]
import pytest
from huggingface_hub.utils._xet import XetConnectionInfo, is_valid_xet_hash

from tests.hub_folders import fresh_session, put_model, weights
from tests.xet_storage import TOKEN, point_to_xet, serving
from zoo.errors import GatedError, SourceError, TransientError, UseError
from zoo.hub import session, xet
from zoo.hub.client import HubClient, HubOptions
from zoo.hub.listing import resolve_model
from zoo.hub.repository import HubStore
from zoo.hub.session import configure, process_client
from zoo.hub.xet import XetFile, XetRanges, session_settings
from zoo.io.files import Counters, read_bytes
from zoo.io.opening import open_checkpoint
from zoo.loopback import Fault, HubServer
from zoo.loopback.replies import json_reply

XET = HubOptions(
    stall_s=0.5, attempts=2, wait_initial_s=0.001, wait_max_s=0.01, min_rate=1.0, xet=True
)
HASH = "a" * 64
NAME = "model.safetensors"
WEIGHTS = f"*/{NAME}"


class FakeGroup:
    """Stands for `hf_xet.XetDownloadStreamGroup`: records calls and serves canned blocks.

    An exception among the blocks is raised; None means silence until `abort` is called.
    """

    def __init__(self, *blocks: bytes | Exception | None) -> None:
        self.blocks = blocks
        self.calls: list[tuple[str, int, int | None, int | None]] = []
        self.tokens: list[str] = []
        self.aborted = threading.Event()

    def open(self, info: XetConnectionInfo, options: HubOptions) -> FakeGroup:
        self.tokens.append(info.access_token)
        return self

    def download_stream(
        self, file_info: hf_xet.XetFileInfo, start: int | None = None, end: int | None = None
    ) -> Iterator[bytes]:
        self.calls.append((file_info.hash, file_info.file_size, start, end))
        for block in self.blocks:
            if isinstance(block, Exception):
                raise block
            if block is None:
                self.aborted.wait(20.0)
                return
            yield block

    def abort(self) -> None:
        self.aborted.set()


@pytest.fixture(autouse=True, scope="module")
def _session() -> Iterator[None]:
    with fresh_session():
        yield


@pytest.fixture(autouse=True)
def _own_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """hf_xet makes a folder for every storage it meets, and keeps a log."""
    folder = tmp_path_factory.mktemp("xet")
    monkeypatch.setenv("HF_XET_CACHE", str(folder))
    monkeypatch.setenv("HF_XET_LOG_DEST", str(folder / "log"))


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    put_model(tmp_path / "acme" / "one", tensors=weights(0, num=6, rows=256, cols=128))
    with HubServer(tmp_path) as server:
        point_to_xet(server, {NAME: HASH}, "http://127.0.0.1:9")
        yield server


def on_disk(tmp_path: Path) -> bytes:
    return (tmp_path / "acme" / "one" / NAME).read_bytes()


def store_of(hub: HubServer, options: HubOptions = XET) -> HubStore:
    client = HubClient(hub.url, options=options)
    sha = resolve_model(client, "acme/one").sha
    hub.requests.clear()
    return HubStore("acme/one", sha, client)


def faked(hub: HubServer, monkeypatch: pytest.MonkeyPatch, group: FakeGroup) -> HubStore:
    monkeypatch.setattr(xet, "open_hf_xet", group.open)
    return store_of(hub)


def by_http(hub: HubServer) -> list[str | None]:
    """Ranges of the weights that were asked for over HTTP."""
    return [r.range for r in hub.requests if r.path.endswith(NAME)]


def ranges(hub: HubServer, group: FakeGroup, counters: Counters | None = None) -> XetRanges:
    sha = resolve_model(HubClient(hub.url), "acme/one").sha
    client = HubClient(hub.url, options=XET)
    return XetRanges(
        client, "acme/one", sha, counters or Counters(), threading.Lock(), open_group=group.open
    )


def fetch(source: XetRanges, start: int, end: int) -> bytes:
    return b"".join(source.blocks(XetFile(HASH, 1000), start, end, what="f"))


# the ranges themselves


def test_a_range_is_asked_for_by_hash_size_start_and_end(hub: HubServer) -> None:
    group, counters = FakeGroup(b"ab", b"", b"cde"), Counters()
    source = ranges(hub, group, counters)
    assert fetch(source, 10, 15) == b"abcde"
    assert group.calls == [(HASH, 1000, 10, 15)]
    assert counters.requests == 2  # the token and the range


def test_one_token_serves_all_ranges_of_a_model(hub: HubServer) -> None:
    group = FakeGroup(b"x")
    source = ranges(hub, group)
    hub.requests.clear()
    assert [fetch(source, i, i + 1) for i in range(3)] == [b"x"] * 3
    assert [r.path.split("/")[-2] for r in hub.requests] == ["xet-read-token"]
    assert group.tokens == [TOKEN] * 3


def test_a_token_about_to_end_is_renewed(hub: HubServer) -> None:
    group = FakeGroup(b"x")
    source = ranges(hub, group)
    fetch(source, 0, 1)
    assert source._info is not None
    source._info = replace(source._info, access_token="old", expiration_unix_epoch=int(time.time()))
    fetch(source, 0, 1)
    assert group.tokens == [TOKEN, TOKEN]


def test_bytes_beyond_the_range_are_not_delivered(hub: HubServer) -> None:
    assert fetch(ranges(hub, FakeGroup(b"abc", b"defgh")), 0, 5) == b"abcde"


def test_a_stream_that_ends_early_is_transient(hub: HubServer) -> None:
    with pytest.raises(TransientError, match="ended after 3 of 5 bytes"):
        fetch(ranges(hub, FakeGroup(b"abc")), 0, 5)


@pytest.mark.timeout(60)
def test_silence_is_given_up_after_the_stall_time_and_ended(hub: HubServer) -> None:
    group = FakeGroup(b"abc", None)
    source = ranges(hub, group)
    with pytest.raises(TransientError, match="no byte from Xet"):
        fetch(source, 0, 5)
    assert group.aborted.wait(30.0)


def test_a_reader_that_stops_ends_the_stream(hub: HubServer) -> None:
    group = FakeGroup(b"a", None)
    blocks = ranges(hub, group).blocks(XetFile(HASH, 1000), 0, 5, what="f")
    assert next(blocks) == b"a"
    blocks.close()
    assert group.aborted.wait(5.0)


@pytest.mark.parametrize(
    "error",
    [
        hf_xet.XetAuthenticationError("secret"),
        hf_xet.XetObjectNotFoundError("secret"),
        ConnectionError("secret"),
        RuntimeError("secret"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_hf_xet_are_transient_and_told_by_type_alone(
    hub: HubServer, error: Exception
) -> None:
    with pytest.raises(TransientError, match=type(error).__name__) as caught:
        fetch(ranges(hub, FakeGroup(b"a", error)), 0, 5)
    assert "secret" not in str(caught.value)


def test_a_token_reply_without_a_storage_is_a_source_error(hub: HubServer) -> None:
    source = ranges(hub, FakeGroup())
    hub.routes.answer = lambda request, faults: json_reply({})  # type: ignore[method-assign]
    with pytest.raises(SourceError, match="names no storage"):
        fetch(source, 0, 5)


# behind a store


def test_a_file_with_a_hash_is_read_from_xet_and_its_sha256_checked(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = on_disk(tmp_path)
    group = FakeGroup(data[:1000], data[1000:])
    store = faked(hub, monkeypatch, group)
    assert read_bytes(store.open(NAME), 0, len(data)) == data
    assert group.calls == [(HASH, len(data), 0, len(data))]
    assert by_http(hub) == []
    assert store.verified == (NAME,)
    assert store.counters.bytes_read == len(data)


def test_a_file_without_a_hash_is_read_by_http(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = FakeGroup()
    store = faked(hub, monkeypatch, group)
    assert read_bytes(store.open("config.json"), 0, 1) == b"{"
    assert group.tokens == []


def test_off_means_that_nothing_of_xet_is_asked_for(hub: HubServer, tmp_path: Path) -> None:
    store = store_of(hub, replace(XET, xet=False))
    assert read_bytes(store.open(NAME), 0, 9) == on_disk(tmp_path)[:9]
    assert not [r for r in hub.requests if "xet" in r.path]


@pytest.mark.parametrize("end", [None, RuntimeError("x"), b""], ids=["stall", "error", "short"])
def test_http_goes_on_from_the_byte_that_xet_reached(
    hub: HubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    end: bytes | Exception | None,
) -> None:
    data = on_disk(tmp_path)
    group = FakeGroup(data[:100_000], end)
    store = faked(hub, monkeypatch, group)
    with caplog.at_level(logging.INFO, "zoo.hub"):
        assert read_bytes(store.open(NAME), 0, len(data)) == data
    assert by_http(hub) == [f"bytes=100000-{len(data) - 1}"]
    assert store.verified == (NAME,)
    read_bytes(store.open(NAME), 200_000, 10)
    assert len(group.calls) == 1  # and Xet is not asked again
    assert caplog.text.count("read by HTTP ranges") == 1


def test_a_refused_token_leads_to_the_error_that_http_gives(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = faked(hub, monkeypatch, FakeGroup())
    store.files()
    hub.faults.add(Fault("gated"))
    with pytest.raises(GatedError, match="set HF_TOKEN"):
        read_bytes(store.open(NAME), 0, 9)


def test_without_hf_xet_all_is_read_by_http(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xet, "is_xet_available", lambda: False)
    assert read_bytes(store_of(hub).open(NAME), 0, 9) == on_disk(tmp_path)[:9]
    assert not [r for r in hub.requests if "xet" in r.path]


def test_wrong_bytes_from_xet_are_found(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = on_disk(tmp_path)
    store = faked(hub, monkeypatch, FakeGroup(bytes(len(data))))
    with pytest.raises(TransientError, match="another sha256"):
        read_bytes(store.open(NAME), 0, len(data))


# the switch


@pytest.mark.parametrize(("said", "expected"), [("1", True), ("0", False), ("", False)])
def test_the_environment_switches_it_on_when_configured(
    monkeypatch: pytest.MonkeyPatch, said: str, expected: bool
) -> None:
    monkeypatch.setenv("ZOO_HUB_XET", said)
    monkeypatch.setattr(session._PROCESS, "options", None)
    assert process_client("http://127.0.0.1:9").options.xet is expected
    monkeypatch.setenv("ZOO_HUB_XET", "1")  # too late: it was read once
    assert process_client("http://127.0.0.1:9").options.xet is expected


def test_any_other_value_is_a_use_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_HUB_XET", "yes")
    with pytest.raises(UseError, match="got ZOO_HUB_XET='yes', wanted 1"):
        configure()


# the real hf_xet


def test_hf_xet_has_what_is_called() -> None:
    session_call = inspect.signature(hf_xet.XetSession.new_download_stream_group)
    used = {"endpoint", "token", "token_expiry_unix_secs", "custom_headers"}
    assert used <= session_call.parameters.keys()
    stream_call = inspect.signature(hf_xet.XetDownloadStreamGroup.download_stream)
    assert list(stream_call.parameters) == ["self", "file_info", "start", "end"]
    assert callable(hf_xet.XetDownloadStreamGroup.abort)
    assert list(inspect.signature(hf_xet.XetFileInfo).parameters) == ["hash", "file_size"]
    assert issubclass(hf_xet.XetAuthenticationError, OSError)
    assert issubclass(hf_xet.XetObjectNotFoundError, OSError)
    assert is_valid_xet_hash(HASH)


def test_hf_xet_takes_the_settings() -> None:
    wanted = session_settings(1.0, 2.0)
    config = hf_xet.XetConfig().with_config(wanted)
    assert {key: config.get(key) for key in wanted} == wanted


def test_the_real_hf_xet_reads_a_checkpoint_from_a_storage_on_loopback(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serving({HASH: on_disk(tmp_path)}) as storage:
        point_to_xet(hub, {NAME: HASH}, storage.url)
        store = store_of(hub)
        with open_checkpoint(store) as checkpoint:
            read = {n: t.numpy().tobytes() for n, t in checkpoint.read_many(checkpoint.tensors)}
        assert {said for _, said in storage.asked} <= {f"Bearer {TOKEN}", ""}
    assert read == {n: w.tobytes() for n, w in weights(0, num=6, rows=256, cols=128).items()}
    assert by_http(hub) == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize("trouble", ["refuse", "stall", "cut"])
def test_a_storage_in_trouble_costs_no_bytes(hub: HubServer, tmp_path: Path, trouble: str) -> None:
    data = on_disk(tmp_path)
    with serving({HASH: data}) as storage:
        storage.trouble = trouble  # type: ignore[assignment]
        point_to_xet(hub, {NAME: HASH}, storage.url)
        store = store_of(hub)
        assert read_bytes(store.open(NAME), 50_000, 300_000) == data[50_000:350_000]
    assert len(by_http(hub)) == 1
