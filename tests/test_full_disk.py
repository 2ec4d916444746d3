"""A full disk interrupts a sweep: it says which one and how much it wants, and the next sweep goes on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.catalogs import ROOT, commit
from tests.models import small_zoo, weights, write_model

SCRIPT = """
mount -t tmpfs -o size=3m tmpfs disk || exit 99
zoo() { "$PYTHON" -m jobs "$@"; echo "exit code $?"; }
zoo sweep first.toml --out disk/cat -j 1 --quiet
cat /dev/zero > disk/filler 2> /dev/null
truncate -s -$ROOM disk/filler
zoo $COMMAND
zoo check disk/cat --quiet
rm disk/filler
zoo $COMMAND
zoo check disk/cat
"""
"""On a disk of 3 MB that only this shell and its children see: one model is swept, all but ROOM is filled,
and a command is tried before and after there is room again."""


def on_a_small_disk(folder: Path, command: str, *, room: str) -> str:
    """What SCRIPT prints with this `command`; skips where a user may not mount a file system."""
    small_zoo(folder, models=2, side=30)
    for number in range(2):
        write_model(folder / "zoo" / f"big{number}", weights(number, (500, 400), (500, 400)))
    first = '[sweep]\nname = "test"\n[[source]]\npath = "zoo/model0"\n'
    (folder / "first.toml").write_text(first)
    (folder / "disk").mkdir()
    settings = {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "ROOM": room, "COMMAND": command}
    shell = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", SCRIPT]
    try:
        done = subprocess.run(
            shell, cwd=folder, env=os.environ | settings, text=True, timeout=300,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("no program `unshare` here")
    if "exit code" not in done.stdout:
        pytest.skip(f"file systems cannot be mounted here: {done.stdout:.200}")
    assert "Traceback" not in done.stdout
    return done.stdout


def codes(said: str) -> list[int]:
    return [int(code) for code in re.findall(r"exit code (\d+)", said)]


def test_a_sweep_onto_a_full_disk_is_interrupted_and_goes_on(tmp_path: Path) -> None:
    said = on_a_small_disk(tmp_path, "sweep spec.toml --out disk/cat -j 1", room="50K")
    assert codes(said) == [0, 75, 0, 0, 0], said
    assert f"The disk {tmp_path / 'disk'} is full" in said
    assert re.search(r"of 3.1 MB are free\); this write needs \d+\.\d [kM]B", said)
    assert re.search(r"3 units are left; .* they need about \d", said)
    assert "interrupted, the same command resumes" in said
    assert "3 done, 1 skipped" in said and "0 errors, 0 notes" in said


def test_a_sweep_that_cannot_even_begin_is_interrupted_too(tmp_path: Path) -> None:
    said = on_a_small_disk(tmp_path, "sweep spec.toml --out disk/other -j 1 --quiet", room="0K")
    assert codes(said) == [0, 75, 0, 0, 0], said
    assert "is full" in said


def test_a_compaction_on_a_full_disk_leaves_nothing_and_goes_on(tmp_path: Path) -> None:
    said = on_a_small_disk(tmp_path, "compact disk/cat", room="0K")
    assert codes(said) == [0, 75, 0, 0, 0], said
    assert "is full" in said and "run `zoo check`" not in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
@pytest.mark.parametrize("query", ["select 1", "from range(100000)"], ids=["short", "long"])
def test_rows_for_a_full_disk_are_no_traceback(tmp_path: Path, query: str) -> None:
    commit(str(tmp_path / "cat"))
    command = [sys.executable, "-m", "jobs", "sql", str(tmp_path / "cat"), query, "--format", "csv"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.startswith("zoo: cannot write: No space left on device") and "\n" not in (
        done.stderr.rstrip()
    )
