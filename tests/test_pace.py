"""The bar of a sweep: what it says, that it fits, and that nothing tears it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from jobs.screen.pace import Pace
from tests.models import small_zoo
from tests.terminals import MARKS, Terminal, zoo_at


def test_units_bytes_rate_and_time_left_are_said() -> None:
    pace = Pace(4, 100_000_000, ended_units=1, ended_bytes=20_000_000, began_s=100.0)
    pace.open_bytes = 5_000_000
    assert pace.words(110.0) == ["1/4", "25 MB of 100 MB", "2.5 MB/s", "30 s left"]


def test_before_anything_ended_nothing_is_promised() -> None:
    assert Pace(4, 100).words(50.0) == ["0/4", "0 B of 100 B"]
    little = Pace(1000, 10**9, ended_units=1, ended_bytes=10**6, began_s=0.0)
    assert little.words(10.0) == ["1/1000", "1 MB of 1 GB"]


def test_without_known_sizes_units_count() -> None:
    pace = Pace(4, 0, ended_units=1, began_s=0.0)
    assert pace.words(10.0) == ["1/4", "30 s left"]
    assert Pace(4, 0, ended_units=4, began_s=0.0).words(10.0) == ["4/4"]


def test_units_that_were_larger_than_listed_do_not_overrun_the_bar() -> None:
    pace = Pace(2, 100, ended_units=1, ended_bytes=90, open_bytes=50, began_s=0.0)
    assert pace.share == 1.0 and pace.nbytes == 100


@pytest.mark.parametrize("width", [20, 79, 99, 199])
def test_the_line_fits_and_names_keep_their_end(width: int) -> None:
    pace = Pace(40, 10**9, ended_units=7, ended_bytes=10**8, began_s=0.0)
    names = ["owner/" + "x" * 60 + "-instruct", "owner/other"]
    line = pace.line(names, 30.0, width=width, full="#", empty="-")
    assert len(line) <= width
    assert ("instruct" in line) == (width > 60)


_NOISE = """
import os, subprocess, sys
from jobs.screen.progress import Progress
progress = Progress()
progress.begin(3, 3, 0, 0, nbytes=300)
progress.tick(["local/one"], 0)
os.write(2, b"a C library says this\\n")
subprocess.run([sys.executable, "-c", "import sys; print('a child says that', file=sys.stderr)"])
print("this process too", file=sys.stderr)
progress.say("and we")
progress.tick(["local/two"], 100)
progress.end()
print("after the bar", file=sys.stderr)
"""


def test_nobody_tears_the_bar(tmp_path: Path) -> None:
    script = tmp_path / "noise.py"
    script.write_text(_NOISE.replace("\\\\n", "\\n"))
    terminal = Terminal([sys.executable, str(script)], columns=80)
    assert terminal.end() == 0
    lines = [MARKS.sub("", part) for part in terminal.raw.replace("\r\n", "\n").split("\n")]
    shown = [line.rpartition("\r")[2] for line in lines]
    for words in ("a C library says this", "a child says that", "this process too", "and we"):
        assert words in shown, "alone on its line"
    assert shown[-2:] == ["after the bar", ""] and "░" in terminal.raw


def test_a_sweep_draws_a_bar_with_the_model_in_it(tmp_path: Path) -> None:
    spec = small_zoo(tmp_path)
    terminal = zoo_at(80, "sweep", spec, "--out", tmp_path / "cat", "-j", 1)
    assert terminal.end() == 0
    drawn = [MARKS.sub("", part) for part in terminal.raw.split("\r")]
    assert any("/3  " in line and "local/model" in line for line in drawn)
    assert max(len(line) for line in drawn if "░" in line or "█" in line) < 80
    assert "3 done, 0 skipped" in terminal.screen.splitlines()[-1]


def test_an_error_that_ends_a_sweep_is_seen(tmp_path: Path) -> None:
    spec = small_zoo(tmp_path)
    command = [
        sys.executable,
        "-c",
        "import jobs.sweep.loop as loop\n"
        "from jobs.__main__ import run\n"
        "class Broken:\n    def __init__(self, *a, **k): raise RuntimeError('a bug of ours')\n"
        "loop.Turns = Broken\n"
        f"run(['sweep', {str(spec)!r}, '--out', {str(tmp_path / 'cat')!r}, '-j', '1'])",
    ]
    terminal = Terminal(command, columns=80, PYTHONUNBUFFERED="1")
    assert terminal.end() == 1
    assert "RuntimeError: a bug of ours" in terminal.screen
    assert os.path.isdir(tmp_path / "cat")
