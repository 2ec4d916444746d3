"""The README typed by somebody new to it: a shell on a terminal of 80 columns, one command after the other."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from tests.models import weights, write_model
from tests.terminals import Terminal
from tests.test_docs import ROOT, TINY, fenced, first_command

COLUMNS = 80
ENDLESS = "zoo hub serve"


def typed() -> list[str]:
    """The commands of the README, in its order, without their comments."""
    blocks = fenced(ROOT / "README.md", "console")
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [shlex.join(first_command(line)) for line in lines if line.startswith("zoo ")]


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """What the README takes for granted: `zoo` on the path, models where it says, a spec."""
    for number, name in enumerate(("Qwen/Qwen3-0.6B", "local/base", "local/finetuned")):
        write_model(tmp_path / "zoo" / name, weights(number, (40, 30), (60, 24)))
    for number, name in enumerate(("path/to/model", "base", "finetuned", "checkpoints/me/one")):
        write_model(tmp_path / name, weights(number, (40, 30)))
    (tmp_path / "nightly.toml").write_text(TINY)
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "zoo"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m jobs "$@"\n')
    command.chmod(0o755)
    return tmp_path


def test_every_command_of_the_readme_works_as_typed(desk: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    pytest.importorskip("matplotlib")
    path = f"{desk / 'bin'}{os.pathsep}{os.environ['PATH']}"
    shell = Terminal(
        [bash, "--norc", "-i"],
        columns=COLUMNS,
        cwd=desk,
        HOME=str(desk),
        SHELL=bash,
        PATH=path,
        PS1="<$?> ",
        HF_ENDPOINT="http://127.0.0.1:9",
    )
    shell.wait_for("<0> ")
    commands = typed()
    assert len(commands) > 15
    for command in commands:
        before = len(shell.screen)
        shell.type(f"{command}\r")
        if command.startswith(ENDLESS):
            shell.wait_for("Ctrl-C stops", after=before)
            shell.type("\x03")
        prompt = shell.wait_for_match(r"<(\d+)> ", after=before + len(command), seconds=240)
        said = shell.screen[before : prompt.start()]
        assert prompt[1] == "0" or command.startswith(ENDLESS), f"{command}\n{said}"
        assert "Traceback" not in said, f"{command}\n{said}"
        for line in re.split(r"[\r\n]", said)[1:]:
            is_row = "  " in line.strip()
            assert len(line) <= COLUMNS or not is_row, f"{command}: wider than the terminal\n{line}"
    shell.type("exit\r")
    assert shell.end() in (0, 75)
    assert (desk / ".bashrc").exists() and list((desk / "pictures").glob("*.png"))
