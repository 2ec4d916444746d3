"""What a command says while it waits for the Hub."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from jobs.screen.progress import Progress, hear_hub
from zoo.hub.pacing import Pause
from zoo.hub.retries import HubWait, Retry, tell, tell_retries_to

BROKEN = ConnectionError("a/b@main: connection broke")


@pytest.fixture(autouse=True)
def _nobody_listens() -> Iterator[None]:
    yield
    tell_retries_to(None)


def test_waits_for_the_hub_are_said_from_the_third_try_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    hear_hub(Progress(is_terminal=False))
    hear_hub(Progress(is_terminal=False))  # a second command in one process is heard once
    for attempt in (2, 3):
        tell(Retry(attempt, 2.0, BROKEN))
    assert capsys.readouterr().err.splitlines() == ["try 3 in 2.0 s: a/b@main: connection broke"]
    hear_hub(Progress(quiet=True, is_terminal=False))
    tell(Retry(4, 2.0, BROKEN))
    assert capsys.readouterr().err == ""


def test_where_nobody_listens_a_retry_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "zoo.hub"):
        tell(Retry(2, 0.5, BROKEN))
    assert caplog.messages == ["try 2 in 0.5 s: a/b@main: connection broke"]


def test_a_pause_that_several_threads_keep_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    hear_hub(Progress(is_terminal=False))
    for _ in range(8):
        tell(HubWait(30.0))
    assert capsys.readouterr().err == "the Hub asks to wait 30 s\n"


def test_pauses_that_a_sweep_hears_of_are_said_once_each_and_by_nobody_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress = Progress(is_terminal=False)
    hear_hub(progress)
    for number in (1, 1, 2):
        progress.hub_pauses({"api": Pause(number, 5.0)})
    tell(HubWait(30.0))  # of the driver itself, whose pacing is that of its workers
    said = "the Hub asks to wait 5 s (its budget of api requests)"
    assert capsys.readouterr().err.splitlines() == [said, said]
