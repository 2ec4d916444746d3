"""What a shell completes: bash is typed at in a terminal, the scripts of all three are parsed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.completion import script_of
from tests.catalogs import ROOT, commit
from tests.conftest import Zoo
from tests.terminals import Terminal

Caught = pytest.CaptureFixture[str]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with `zoo` on the path, a catalog in `my results`, and nothing installed."""
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "zoo"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m jobs "$@"\n')
    command.chmod(0o755)
    commit(str(tmp_path / "results"), "org/grokking")
    return tmp_path


@pytest.fixture
def bash(home: Path, zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """An interactive bash in `home`, after `zoo completion --install`."""
    program = shutil.which("bash")
    if program is None:
        pytest.skip("no bash here")
    monkeypatch.setenv("SHELL", program)
    assert zoo("completion", "--install") == 0
    path = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
    terminal = Terminal([program, "-i"], columns=120, cwd=home, HOME=str(home), PATH=path, PS1="> ")
    yield terminal
    terminal.type("\x15exit\r")
    terminal.end()


@pytest.mark.parametrize(
    ("typed", "whole"),
    [
        ("zoo ra\t", "zoo rank "),
        ("zoo rank ali\t", "zoo rank alignment "),
        ("zoo rank alpha results --form\t", "--format "),
        ("zoo rank alpha results --format j\t", "--format json "),
        ("zoo status res\t", "zoo status results/"),
        ("zoo show results org/\t", "zoo show results org/grokking "),
        ("zoo show results gro\t", "zoo show results grokking "),
        ("zoo hub se\t", "zoo hub serve "),
        ("zoo sweep res\t", "zoo sweep results/"),
    ],
)
def test_bash_completes(typed: str, whole: str, bash: Terminal) -> None:
    bash.type(typed)
    bash.wait_for(whole)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_it_is_installed_once(shell: str, home: Path, zoo: Zoo, capsys: Caught) -> None:
    (home / ".zshrc").write_text("export A=1\nautoload -Uz compinit\ncompinit\n")
    for _ in range(2):
        assert zoo("completion", shell, "--install") == 0
        assert f"open a new {shell}" in capsys.readouterr().err
    for name in (".bashrc", ".zshrc"):
        lines = (home / name).read_text().splitlines() if (home / name).exists() else []
        assert len(lines) == len(set(lines))
    if shell == "zsh":
        assert (home / ".zshrc").read_text().startswith("fpath=(")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_can_read(shell: str, zoo: Zoo, capsys: Caught) -> None:
    assert zoo("completion", shell) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in ("compare", "--overwrite", "stale"))
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"no {shell} here")
    assert subprocess.run([program, "-n"], input=script, text=True, timeout=60).returncode == 0


def test_an_unknown_shell_is_asked_for(
    zoo: Zoo, capsys: Caught, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert zoo("completion") == 2
    assert "wanted one of bash, zsh, fish" in capsys.readouterr().err


def test_a_catalog_that_is_not_there_proposes_no_model(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jobs", "__complete", "show", str(tmp_path), "a"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stdout.strip("\n")) == (0, "\x1fbegin")
    assert "results" not in script_of("bash")
