"""The last line of a terminal, drawn anew in place, and everything else that is said kept above it.

While the line is shown, the standard error of this process and of its children is a pipe, whose lines are
printed above: what Ray's processes and C libraries write there by themselves would tear the line otherwise.
"""

from __future__ import annotations

import os
import sys
import threading

from jobs.screen.text import printable

_CLEAR = "\r\x1b[K"
"""Back to the start of the line, and nothing on it."""
_LAST_WORDS_S = 0.3
"""Seconds that what was written just before the end has to come through the pipe."""


class Bar:
    """From when it is made until it is closed."""

    def __init__(self) -> None:
        """Standard error has to be a terminal."""
        sys.stderr.flush()
        self._terminal = os.dup(2)
        self._line = ""
        self._lock = threading.Lock()
        reading, writing = os.pipe()
        os.dup2(writing, 2)
        os.close(writing)
        # a daemon: children that outlive the bar may hold the other end
        self._reader = threading.Thread(target=self._forward, args=(reading,), daemon=True)
        self._reader.start()

    @property
    def width(self) -> int:
        """Places of a line; the last one stays free, as some terminals break the line there."""
        try:
            return max(os.get_terminal_size(self._terminal).columns - 1, 1)
        except OSError:  # the terminal was closed
            return 79

    @property
    def letters(self) -> tuple[str, str]:
        """Letters for what is done and what is not, as far as the terminal knows them."""
        knows = (sys.stderr.encoding or "").lower().replace("-", "") == "utf8"
        return ("█", "░") if knows else ("#", "-")

    def draw(self, line: str) -> None:
        """Show `line` in place of the one before."""
        with self._lock:
            if line != self._line:
                self._line = line
                self._write(_CLEAR + line)

    def above(self, text: str) -> None:
        """Print `text` above the line."""
        with self._lock:
            self._write(f"{_CLEAR}{text}\n{self._line}")

    def close(self) -> None:
        """Take the line away; standard error is the terminal again."""
        sys.stderr.flush()
        os.dup2(self._terminal, 2)
        self._reader.join(_LAST_WORDS_S)
        self.draw("")

    def _forward(self, pipe: int) -> None:
        with os.fdopen(pipe, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                self.above(printable(line.rstrip("\n"), keep="\t"))

    def _write(self, text: str) -> None:
        data = text.encode(sys.stderr.encoding or "utf-8", "backslashreplace")
        while data:
            data = data[os.write(self._terminal, data) :]
