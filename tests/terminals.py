"""A real terminal of a given width: commands are run in it and what they show is read."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

from tests.catalogs import ROOT

MARKS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()][0-9A-B]|\x07")
"""Codes that move the cursor or colour text."""


class Terminal:
    """A program in a terminal `columns` wide; `screen` is everything it has written, without codes."""

    def __init__(
        self, command: Sequence[str], *, columns: int, cwd: Path | None = None, **environ: str
    ) -> None:
        self._keyboard, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            command,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd=cwd,
            env={**inherited, "TERM": "xterm", "PYTHONPATH": path, **environ},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(terminal)
        self.raw = ""

    @property
    def screen(self) -> str:
        """What was written, without codes."""
        return MARKS.sub("", self.raw).replace("\r\n", "\n")

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self._keyboard, text.encode())

    def wait_for(self, text: str, *, after: int = 0, seconds: float = 60) -> None:
        """Read until `text` is on the screen behind the first `after` letters of it."""
        until = time.monotonic() + seconds
        while text not in self.screen[after:]:
            if time.monotonic() > until or not self._read():
                raise AssertionError(f"no {text!r} on the screen:\n{self.screen}")

    def wait_for_match(self, pattern: str, *, after: int = 0, seconds: float = 60) -> re.Match[str]:
        """Read until `pattern` fits something on the screen behind the first `after` letters; what it fits."""
        until = time.monotonic() + seconds
        while (match := re.compile(pattern).search(self.screen, after)) is None:
            if time.monotonic() > until or not self._read():
                raise AssertionError(f"nothing like {pattern!r} on the screen:\n{self.screen}")
        return match

    def end(self, seconds: float = 60) -> int:
        """Read until the program ends; its exit code."""
        until = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < until, f"still running:\n{self.screen}"
        code = self._process.wait(seconds)
        os.close(self._keyboard)
        return code

    def _read(self) -> bool:
        """Take what comes within a second; False at the end."""
        if not select.select([self._keyboard], [], [], 1.0)[0]:
            return True
        try:
            got = os.read(self._keyboard, 1 << 16)
        except OSError:  # Linux says so when the last program has closed the terminal
            return False
        self.raw += got.decode(errors="replace")
        return bool(got)


def zoo_at(columns: int, *arguments: object, cwd: Path | None = None, **environ: str) -> Terminal:
    """`zoo ARGUMENTS` on a terminal so wide."""
    command = [sys.executable, "-m", "jobs", *map(str, arguments)]
    return Terminal(command, columns=columns, cwd=cwd, **environ)
