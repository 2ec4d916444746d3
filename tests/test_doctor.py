"""`zoo doctor` against a loopback Hub, and against none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Zoo
from tests.hub_folders import fresh_session, put_model
from zoo.loopback.server import HubServer

TOKEN = "hf_loopbackOnlyNeverReal0123456789"
Caught = pytest.CaptureFixture[str]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    put_model(tmp_path / "acme" / "one")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with fresh_session(), HubServer(tmp_path, tokens={TOKEN: ("*",)}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def told(zoo: Zoo, capsys: Caught) -> dict[str, tuple[str, str]]:
    capsys.readouterr()
    assert zoo("doctor", "--format", "json") == 0
    out, err = capsys.readouterr()
    assert TOKEN not in out + err
    rows = json.loads(out)
    return {row["what"]: (row["value"], row["note"]) for row in rows}


def test_the_hub_is_asked_and_the_tokens_scope_told(
    hub: HubServer, zoo: Zoo, capsys: Caught, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    found = told(zoo, capsys)
    assert found["hub_endpoint"][0] == hub.url
    assert found["hub_reachable"][0] == "True"
    assert found["hub_token"][0] == "read"


def test_without_a_token_nobody_is_asked_who_it_is(
    hub: HubServer, zoo: Zoo, capsys: Caught
) -> None:
    assert told(zoo, capsys)["hub_token"][0] == "False"
    assert not any("whoami" in request.path for request in hub.requests)


def test_a_token_nobody_knows_is_told(
    hub: HubServer, zoo: Zoo, capsys: Caught, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN.upper())
    assert "does not know this token" in told(zoo, capsys)["hub_token"][1]


def test_a_hub_out_of_reach_is_told_and_is_no_failure(
    hub: HubServer, zoo: Zoo, capsys: Caught, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    value, note = told(zoo, capsys)["hub_reachable"]
    assert (value, "connection broke" in note) == ("False", True)
