"""What a command says while it waits for the Hub."""

from __future__ import annotations

import logging

import pytest

from jobs.screen.progress import Progress, hear_hub


def test_waits_for_the_hub_are_said_from_the_third_try_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = logging.getLogger("zoo.hub")
    hear_hub(Progress(is_terminal=False))
    hear_hub(Progress(is_terminal=False))  # a second command in one process is heard once
    for attempt in (2, 3):
        log.info("try %d in %.1f s: %s", attempt, 2.0, "a/b@main: connection broke")
    assert capsys.readouterr().err.splitlines() == ["try 3 in 2.0 s: a/b@main: connection broke"]
    hear_hub(Progress(quiet=True, is_terminal=False))
    log.info("try %d in %.1f s: %s", 4, 2.0, "a/b@main: connection broke")
    assert capsys.readouterr().err == ""
