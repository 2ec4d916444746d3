"""The client itself: redirects, limits, the process-wide session, what leaks nowhere."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import stamina.instrumentation
from huggingface_hub import HfApi, close_session, constants, set_client_factory
from huggingface_hub.utils._http import default_client_factory

from tests.hub_folders import fresh_session, put_model
from zoo.errors import ChangedError, NotFoundError, SourceError, TransientError, UseError
from zoo.hub import client as client_module
from zoo.hub import session
from zoo.hub.client import HubClient, HubOptions, default_endpoint, env_token
from zoo.hub.listing import resolve_model
from zoo.hub.pacing import HubPacing
from zoo.hub.retries import Retry, tell_retries_to
from zoo.hub.session import configure, process_client
from zoo.loopback import Fault, HubServer, RateLimit
from zoo.loopback.replies import Reply, Request, json_reply

QUICK = HubOptions(stall_s=20.0, attempts=3, wait_initial_s=0.001, wait_max_s=0.01)


@pytest.fixture(autouse=True, scope="module")
def _session() -> Iterator[None]:
    with fresh_session():
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("served")
    put_model(root / "acme" / "one")
    return root


@pytest.fixture
def hub(root: Path) -> Iterator[HubServer]:
    with HubServer(root) as server:
        yield server


@pytest.fixture
def _configured() -> Iterator[None]:
    """Puts the process-wide settings back, and starts from none."""
    session._PROCESS.tells_retries = False
    tell_retries_to(None)
    levels = {name: logging.getLogger(name).level for name in ("httpx", "httpx2")}
    yield
    configure()
    tell_retries_to(None)
    set_client_factory(default_client_factory)
    stamina.instrumentation.set_on_retry_hooks(None)
    session._PROCESS.tells_retries = False
    close_session()
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


class Renamed:
    """A Hub that has renamed `acme/old` to `acme/one`."""

    def __init__(self, hub: HubServer, location: str) -> None:
        self.inner, self.location = hub.routes.answer, location
        hub.routes.answer = self  # type: ignore[assignment,method-assign]

    def __call__(self, request: Request, faults: dict[str, Fault]) -> Reply:
        if "/old" in request.path:
            return Reply(307, {"Location": self.location})
        return self.inner(request, faults)


def test_a_renamed_repository_is_followed_on_the_same_origin(hub: HubServer) -> None:
    Renamed(hub, "/api/models/acme/one/revision/main")
    assert resolve_model(HubClient(hub.url, options=QUICK), "acme/old").id == "acme/one"


@pytest.mark.parametrize("location", ["http://127.0.0.1:9/x", "/api/models/acme/old"])
def test_other_redirects_of_the_api_are_refused(hub: HubServer, location: str) -> None:
    Renamed(hub, location)
    with pytest.raises(SourceError, match="redirected in a circle or off"):
        resolve_model(HubClient(hub.url, options=QUICK), "acme/old")


def test_a_reply_that_is_too_long_is_refused(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "MAX_JSON_BYTES", 100)
    with pytest.raises(SourceError, match="longer than 100 bytes"):
        resolve_model(HubClient(hub.url, options=QUICK), "acme/one")


def test_a_hub_that_does_not_answer_is_transient() -> None:
    with pytest.raises(TransientError, match="ConnectError"):
        resolve_model(HubClient("http://127.0.0.1:9", options=QUICK), "acme/one")


def test_offline_mode_is_respected(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE"):
        resolve_model(HubClient(hub.url, options=QUICK), "acme/one")
    assert not hub.requests


def test_an_endpoint_that_is_no_address_is_a_source_error() -> None:
    with pytest.raises(SourceError, match="impossible"):
        resolve_model(HubClient("gopher://x", options=QUICK), "acme/one")


def test_transient_errors_are_tried_again_and_others_are_not() -> None:
    client = HubClient("http://127.0.0.1:9", options=QUICK)
    for error, tries in ((TransientError, 3), (ChangedError, 1), (NotFoundError, 1)):
        calls: list[int] = []

        def once(error: type[Exception] = error, calls: list[int] = calls) -> None:
            calls.append(1)
            raise error("as told")

        with pytest.raises(error, match="as told"):
            client.retrying(once)
        assert len(calls) == tries


@pytest.mark.timeout(60)  # the window is five minutes
def test_a_wait_beyond_patience_fails_instead_of_sleeping(root: Path) -> None:
    options = HubOptions(attempts=1, max_pause_s=1.0)
    with HubServer(root, rate_limits={"api": RateLimit(1)}) as hub:
        client = HubClient(hub.url, options=options)
        resolve_model(client, "acme/one")
        with pytest.raises(TransientError, match="budget of api requests is spent"):
            resolve_model(client, "acme/one")


def test_the_token_comes_from_the_environment_or_the_file_it_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(variable, raising=False)
    assert env_token() is None
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    assert env_token() is None  # an optional secret that nobody made
    (tmp_path / "token").write_text("hf_c\n")
    assert env_token() == "hf_c"
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path))
    with pytest.raises(UseError, match="HF_TOKEN_PATH: cannot read"):
        env_token()
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", "hf_a")
    monkeypatch.setenv("HF_TOKEN", " hf_b\n")
    assert env_token() == "hf_b"


class Sleeper:
    """A clock that moves only while somebody sleeps by it, and remembers for how long."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)


@pytest.mark.usefixtures("_configured")
def test_a_hub_that_says_how_long_to_wait_is_asked_again_just_then(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clock = Sleeper()
    with HubServer(root, faults=[Fault("429", times=6, seconds=1)]) as hub:
        pacing = HubPacing(clock=clock)
        client = HubClient(hub.url, options=QUICK, pacing=pacing, sleep=clock.sleep)
        assert len(resolve_model(client, "acme/one").sha) == 40
    assert clock.slept == [1.0] * 6  # more often than QUICK would try what just fails
    assert pacing.pauses()["api"].number == 6
    assert caplog.text.count("the Hub asks to wait 1 s") == 6


def test_pauses_that_are_asked_for_without_end_are_given_up(root: Path) -> None:
    clock = Sleeper()
    options = replace(QUICK, max_pause_s=10.0)
    with HubServer(root, faults=[Fault("503", seconds=4)]) as hub:
        pacing = HubPacing(clock=clock)
        client = HubClient(hub.url, options=options, pacing=pacing, sleep=clock.sleep)
        with pytest.raises(TransientError, match="503"):
            resolve_model(client, "acme/one")
    assert clock.slept[:2] == [4.0, 4.0]


def test_the_endpoint_can_be_set_after_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1/")
    assert default_endpoint() == "http://127.0.0.1:1/"
    assert HubClient().endpoint == "http://127.0.0.1:1"


@pytest.mark.usefixtures("_configured")
def test_other_users_of_the_session_are_paced_with_us(hub: HubServer) -> None:
    class Counting(HubPacing):
        """Counts what is booked."""

        booked = 0

        def acquire(self, kind: str) -> float:
            type(self).booked += 1
            return super().acquire(kind)

    pacing = Counting()
    configure(pacing=pacing, options=QUICK)
    list(HfApi(endpoint=hub.url, token=False).list_models())
    assert pacing.booked == 1
    resolve_model(process_client(hub.url), "acme/one")  # ours are booked once, not twice
    assert pacing.booked == 2


@pytest.mark.usefixtures("_configured")
def test_a_process_has_one_pacing_for_each_endpoint(hub: HubServer) -> None:
    configure(options=QUICK)
    assert process_client(hub.url).pacing is process_client(hub.url + "/").pacing
    assert process_client(hub.url).pacing is not process_client("http://127.0.0.1:1").pacing


@pytest.mark.usefixtures("_configured")
def test_signed_links_and_tokens_stay_out_of_the_logs(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from zoo.hub.repository import HubStore
    from zoo.io.files import read_bytes

    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    caplog.set_level(logging.INFO)
    configure(options=QUICK)
    faults = [Fault("expired", times=1), Fault("500", match="/lfs/*", times=1)]
    with HubServer(root, redirect=True, faults=faults) as hub:
        client = process_client(hub.url)
        sha = resolve_model(client, "acme/one").sha
        store = HubStore("acme/one", sha, client)
        read_bytes(store.open("model.safetensors"), 0, 100)
    assert "try 2 in" in caplog.text
    assert "Signature" not in caplog.text
    assert "hf_secret" not in caplog.text


@pytest.mark.usefixtures("_configured")
def test_retries_are_told_to_the_listener_by_number(hub: HubServer) -> None:
    heard: list[Retry] = []
    configure(options=QUICK)
    tell_retries_to(heard.append)
    hub.faults.add(Fault("503", times=2, seconds=0.0))
    resolve_model(process_client(hub.url), "acme/one")
    assert [retry.attempt for retry in heard] == [2, 3]
    assert all(retry.wait_s >= 0.0 and "HTTP 503" in str(retry) for retry in heard)


def test_a_listing_of_empty_pages_is_empty(hub: HubServer) -> None:
    hub.routes.answer = lambda request, faults: json_reply([])  # type: ignore[method-assign]
    client = HubClient(hub.url, options=QUICK)
    assert list(client.pages(client.api_url("models"), what="x")) == [[]]


def test_a_page_that_is_no_list_is_a_source_error(hub: HubServer) -> None:
    hub.routes.answer = lambda request, faults: json_reply({"a": 1})  # type: ignore[method-assign]
    client = HubClient(hub.url, options=QUICK)
    with pytest.raises(SourceError, match="got a dict, expected a list"):
        list(client.pages(client.api_url("models"), what="x"))
