"""What a sweep says while it runs: a live bar on a terminal, else one line every 30 seconds; always
on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.screen.text import printable
from zoo.hub.retries import HubWait, Retry, tell_retries_to

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from zoo.hub.pacing import Pause

LINE_EVERY_S = 30.0
MAX_LACKS = 10
"""Units that lost rows of which each is named; a merged file that is gone may have held thousands."""
SAME_PAUSE_S = 0.5
"""Pauses that end within so many seconds of each other are one, that several threads keep."""
SAID_FROM_TRY = 3
"""The pauses before the second try of a request are too short to be worth a word."""


@dataclass(frozen=True, slots=True)
class UnitSummary:
    """What is worth saying of a finished unit."""

    num_layers: int
    num_failed: int
    num_skipped: int
    nbytes: int
    seconds: float


def hear_hub(progress: Progress) -> None:
    """From now on `progress`, and no other, says when this process waits for the Hub."""
    tell_retries_to(progress.hub_retries)


class Progress:
    """Silent when `quiet`."""

    def __init__(self, *, quiet: bool = False, is_terminal: bool | None = None) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty() if is_terminal is None else is_terminal
        self._bar: RichProgress | None = None
        self._bar_task: TaskID | None = None
        self._hears_pauses = False
        """True once `hub_pauses` says what concerns this process too."""
        self._pause_ends = 0.0
        """When the pause ends that was said last, by `time.monotonic()`."""
        self._pauses_said: dict[str, int] = {}
        """Number of the last pause that was said, by kind of requests."""
        self._todo = self._done = self._failed = self._layers = 0
        self._last_line = self._started = time.monotonic()

    def begin(self, listed: int, todo: int, skipped: int, failed_before: int) -> None:
        """Called once, after the catalog was asked what is there already."""
        self._todo = todo
        self._started = self._last_line = time.monotonic()
        summary = f"{listed} units listed: {todo} to do, {skipped} already in the catalog"
        if failed_before:
            summary += f", {failed_before} failed before (`--overwrite failed` tries them again)"
        if todo == 0:
            summary += "; nothing to compute"
        self.say(summary)
        if self._terminal and not self._quiet and todo:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as RichProgress

            self._bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=self._console(),
            )
            self._bar_task = self._bar.add_task("sweep", total=todo)
            self._bar.start()

    def lacking(self, lacks: Sequence[str]) -> None:
        """Units that were finished are measured again, as their files lost rows since."""
        for lack in lacks[:MAX_LACKS]:
            self.say(f"{lack}: its file was torn or moved away; the model is measured again")
        if len(lacks) > MAX_LACKS:
            self.say(f"and {len(lacks) - MAX_LACKS} more that lost rows (`zoo check` lists them)")

    def done(self, model_id: str, step: int | None, summary: UnitSummary) -> None:
        """A unit was committed."""
        self._done += 1
        self._layers += summary.num_layers
        if summary.num_failed:
            self.say(
                f"{_name(model_id, step)}: {summary.num_failed} of {summary.num_layers} layers failed"
            )
        self._advance()

    def failed(self, model_id: str, step: int | None, cause: str, message: str) -> None:
        """A unit was given up."""
        self._failed += 1
        self.say(
            f"{_name(model_id, step)}: failed ({cause}): {message.splitlines()[0] if message else cause}"
        )
        self._advance()

    def hub_retries(self, event: Retry | HubWait) -> None:
        """This process waits for the Hub. Said while it lasts, as eight tries take two minutes."""
        if isinstance(event, Retry):
            if event.attempt >= SAID_FROM_TRY:
                self.say(str(event))
        elif not self._hears_pauses:
            until = time.monotonic() + event.wait_s
            if until > self._pause_ends + SAME_PAUSE_S:  # else another thread waits as well
                self._pause_ends = until
                self.say(str(event))

    def hub_pauses(self, pauses: Mapping[str, Pause]) -> None:
        """Pauses that the Hub has asked any process of a sweep for; called often, and each said once."""
        self._hears_pauses = True
        for kind, pause in pauses.items():
            if pause.number > self._pauses_said.get(kind, 0):
                self._pauses_said[kind] = pause.number
                self.say(f"{HubWait(pause.wait_s)} (its budget of {kind} requests)")

    def listed_again(self, model_id: str, step: int | None, revision: str) -> None:
        """The files of a unit had changed when its turn came."""
        self.say(
            f"{_name(model_id, step)}: changed since it was listed; listed again as {revision[:12]}"
        )

    def draining(self, running: int) -> None:
        """Ctrl-C, SIGTERM, or a budget is spent."""
        self.say(f"stopping: waiting for {running} running tasks; a second Ctrl-C stops at once")

    def tick(self, running: int, waiting: int) -> None:
        """Called often; writes a line when it is time."""
        now = time.monotonic()
        if self._bar is None and now - self._last_line >= LINE_EVERY_S:
            self._last_line = now
            self.say(
                f"{self._done + self._failed}/{self._todo} units, {self._layers} layers, {self._failed} failed, "
                f"{running} running, {now - self._started:.0f} s"
            )

    def end(self) -> None:
        """Stop the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def say(self, text: str) -> None:
        """One line to standard error, unless quiet."""
        if not self._quiet:
            self.error(text)

    def error(self, text: str) -> None:
        """One line to standard error, also when quiet."""
        # a log on a full disk, or one that nobody reads any more, is no reason to end a sweep
        with contextlib.suppress(OSError):
            if self._bar is not None:
                self._bar.console.print(printable(text, keep="\n"), markup=False, highlight=False)
            else:
                print(printable(text, keep="\n"), file=sys.stderr, flush=True)

    def _advance(self) -> None:
        if self._bar is not None and self._bar_task is not None:
            self._bar.update(self._bar_task, completed=self._done + self._failed)

    def _console(self) -> Console:
        from rich.console import Console

        return Console(stderr=True)


def _name(model_id: str, step: int | None) -> str:
    shown = printable(model_id.replace("\n", " "))
    return shown if step is None else f"{shown} step {step}"
