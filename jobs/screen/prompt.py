"""Lines typed at a prompt: editing, history in a file of the user's, completion by Tab.

All three come with the module readline; where Python has none, lines are read as they come.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, TracebackType

from jobs.screen.text import printable

HISTORY_LINES = 2000
"""Statements that are kept."""
_DELIMITERS = " \t\n()=+*<>,;/'"
"""What a word to complete ends at; a dot is part of it (`l.alpha`, `.help`)."""

Complete = Callable[[str, str], Sequence[str]]
"""The line before a word, and the word: what it may become."""


def history_file() -> Path:
    """Where statements are remembered: `zoo/sql_history` in the user's folder for state."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.join("~", ".local", "state")
    return Path(state).expanduser() / "zoo" / "sql_history"


class LineEditor:
    """Reads lines while it is open; used as a context manager."""

    def __init__(self, complete: Complete, history: Path) -> None:
        self._complete = complete
        self._history = history
        self._readline: ModuleType | None = None
        self._candidates: list[str] = []

    def __enter__(self) -> LineEditor:
        if sys.stdin.isatty() and sys.stdout.isatty():
            try:
                import readline
            except ImportError:  # Python was built without it
                return self
            self._readline = readline
            self._prepare(readline)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._readline is None:
            return
        self._readline.set_completer(None)
        try:
            self._history.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._history.touch(mode=0o600)
            self._readline.write_history_file(self._history)
        except OSError as problem:
            print(f"history is not kept: {printable(str(problem))}", file=sys.stderr)

    def _prepare(self, readline: ModuleType) -> None:
        readline.set_history_length(HISTORY_LINES)
        readline.set_auto_history(False)  # a statement of several lines is one entry
        readline.clear_history()
        try:
            readline.read_history_file(self._history)
        except OSError:  # the first time, or a folder that may not be read: said when it is written
            pass
        readline.set_completer(self._candidate)
        readline.set_completer_delims(_DELIMITERS)
        is_libedit = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")

    def _candidate(self, word: str, number: int) -> str | None:
        """readline's way of asking: candidate 0, 1, ... until None."""
        assert self._readline is not None
        if number == 0:
            before = self._readline.get_line_buffer()[: self._readline.get_begidx()]
            self._candidates = list(self._complete(before, word))
        return self._candidates[number] if number < len(self._candidates) else None

    def read(self, prompt: str) -> str:
        """One line; EOFError at the end. The prompt is no data: it stays out of a redirected output."""
        if sys.stdout.isatty():
            return input(prompt)
        print(prompt, end="", file=sys.stderr, flush=True)
        return input()

    def remember(self, statement: str) -> None:
        """Keep a statement in the history, on one line unless a comment in it ends with its line."""
        if self._readline is None:
            return
        lines = statement.splitlines() if "--" in statement else [" ".join(statement.split())]
        for line in lines:
            self._readline.add_history(line)
