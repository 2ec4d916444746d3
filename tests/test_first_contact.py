"""A person who mistyped a path is told in seconds, and where the path may be; a sweep is patient."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Zoo
from tests.hub_folders import fresh_session, put_model
from zoo.errors import NotFoundError, TransientError
from zoo.hub import greeting as greeting_module
from zoo.hub.client import HubClient, HubOptions
from zoo.hub.greeting import Greeting, briefly
from zoo.hub.listing import resolve_model
from zoo.hub.session import process_client
from zoo.io.nearby import nearby
from zoo.loopback import Fault, HubServer

QUICK = HubOptions(attempts=3, wait_initial_s=0.001, wait_max_s=0.01)
Caught = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _session() -> Iterator[None]:
    with fresh_session():
        yield


@pytest.fixture
def black_hole(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An address on loopback where connections are neither taken nor refused: its queue is full."""
    monkeypatch.setattr(greeting_module, "FIRST_ANSWER_S", 0.3)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        monkeypatch.setenv("HF_ENDPOINT", url)
        yield url
        for one in waiting:
            one.close()


class Silent:
    """Takes every connection and says nothing; counts them."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.taken: list[socket.socket] = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while True:
            try:
                self.taken.append(self.socket.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        """Hang up on everybody."""
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for one in self.taken:
            one.close()


def test_analyze_gives_up_a_black_hole_after_one_try_and_names_the_folder_nearby(
    black_hole: str, tmp_path: Path, zoo: Zoo, capsys: Caught, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_model(tmp_path / "models" / "cifar" / "resnet20")
    monkeypatch.chdir(tmp_path)
    assert zoo("analyze", "resnet20") == 1
    said = capsys.readouterr().err
    assert "no answer in 0.3 s" in said and "try 2" not in said
    assert "Did you mean models/cifar/resnet20?" in said


def test_plan_asks_a_black_hole_once_for_all_its_sources(
    black_hole: str, tmp_path: Path, zoo: Zoo, capsys: Caught, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[object] = []
    patient = Greeting._wait
    monkeypatch.setattr(
        Greeting, "_wait", lambda self, ended: (tries.append(self), patient(self, ended))[1]
    )
    sources = "".join(f'[[source]]\nhub = "acme/model{i}"\n' for i in range(3))
    (tmp_path / "spec.toml").write_text(f'[sweep]\nname = "x"\n{sources}')
    assert zoo("plan", tmp_path / "spec.toml", "--format", "json") == 1
    captured = capsys.readouterr()
    assert captured.out.count("no answer in 0.3 s") == 3 and len(tries) == 1


def test_doctor_says_that_a_black_hole_does_not_answer(
    black_hole: str, zoo: Zoo, capsys: Caught
) -> None:
    assert zoo("doctor", "--format", "json") == 0
    assert "no answer in 0.3 s" in capsys.readouterr().out


def test_one_connection_is_made_to_a_hub_that_says_nothing() -> None:
    silent = Silent()
    try:
        client = HubClient(silent.url, options=QUICK, greeting=Greeting(silent.url, 0.3))
        for _ in range(2):
            with pytest.raises(TransientError, match=r"no answer in 0\.3 s"):
                resolve_model(client, "acme/one")
        assert len(silent.taken) == 1
    finally:
        silent.close()


def test_a_hub_that_answers_is_asked_as_patiently_as_in_a_sweep(tmp_path: Path) -> None:
    put_model(tmp_path / "acme" / "one")
    with HubServer(tmp_path) as hub:
        hub.faults.add(Fault("503", times=2))
        client = HubClient(hub.url, options=QUICK, greeting=Greeting(hub.url))
        assert resolve_model(client, "acme/one").id == "acme/one"


def test_a_reply_that_takes_longer_than_its_first_line_is_waited_for() -> None:
    greeting = Greeting("http://hub", 0.05)
    started = threading.Event()

    def slow() -> str:
        greeting.answer()
        started.wait(0.3)
        return "late"

    assert greeting.try_once(slow) == "late"


def test_outside_briefly_clients_are_patient(black_hole: str) -> None:
    assert process_client()._greeting is None
    with briefly():
        assert process_client()._greeting is not None
        assert process_client()._greeting is process_client()._greeting
    assert process_client()._greeting is None


def test_a_name_the_hub_does_not_know_is_looked_for_here(
    tmp_path: Path, zoo: Zoo, capsys: Caught, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_model(tmp_path / "served" / "acme" / "one")
    put_model(tmp_path / "work" / "runs" / "ResNet20")
    monkeypatch.chdir(tmp_path / "work")
    with HubServer(tmp_path / "served") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert zoo("analyze", "me/resnet20") == 2
    said = capsys.readouterr().err
    assert "no such repository" in said and "Did you mean runs/ResNet20?" in said
    assert zoo("analyze", "./ResNet20") == 2
    assert "Did you mean runs/ResNet20?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("resnet20", ("a/resnet20.safetensors", "a/b/resnet20")),
        ("RESNET20.bin", ("a/resnet20.safetensors", "a/b/resnet20")),
        ("owner/deep@main", ()),
        ("beside", ("../beside",)),
        ("hidden", ()),
        ("notes", ()),
        ("/", ()),
    ],
)
def test_what_is_near_comes_first_and_depth_ends(
    text: str, paths: tuple[str, ...], tmp_path: Path
) -> None:
    here = tmp_path / "here"
    for folder in ("a/b/resnet20", "1/2/3/4/5/deep", ".git/hidden", "../beside"):
        (here / folder).mkdir(parents=True, exist_ok=True)
    (here / "a" / "resnet20.safetensors").touch()
    (here / "a" / "notes.txt").touch()
    (here / "loop").symlink_to("loop")
    assert nearby(text, str(here)) == paths


def test_the_search_ends_in_a_large_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.io.nearby._MAX_ENTRIES", 10)
    for i in range(20):
        (tmp_path / f"{i:02d}").mkdir()
    (tmp_path / "19" / "model").mkdir()
    assert nearby("09", str(tmp_path)) == ("09",)
    assert nearby("model", str(tmp_path)) == ()


def test_a_sweep_says_what_is_near_and_asks_the_hub_all_the_same(
    tmp_path: Path, zoo: Zoo, capsys: Caught, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_model(tmp_path / "served" / "gpt")
    put_model(tmp_path / "work" / "runs" / "gpt")
    monkeypatch.chdir(tmp_path / "work")
    with HubServer(tmp_path / "served") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert zoo("sweep", "gpt", "--out", tmp_path / "cat", "-j", 1) == 0
    assert "taken for a Hub id. Did you mean runs/gpt?" in capsys.readouterr().err


def test_an_error_keeps_its_kind_when_a_path_is_suggested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.api import locate

    put_model(tmp_path / "served" / "acme" / "one")
    put_model(tmp_path / "none")
    monkeypatch.chdir(tmp_path)
    with HubServer(tmp_path / "served") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(NotFoundError, match=r"Did you mean none\?"):
            locate("acme/none")
