"""What a sweep says while it runs: a live bar on a terminal, else one line every 30 seconds; always
on stderr."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from jobs.screen.bar import Bar
from jobs.screen.pace import Pace
from jobs.screen.secrets import redacted
from jobs.screen.text import printable
from zoo.hub.retries import HubWait, Retry, tell_retries_to

if TYPE_CHECKING:
    from zoo.hub.pacing import Pause

LINE_EVERY_S = 30.0
METER_EVERY_S = 2.0
"""Seconds between two gauges of where a sweep stands."""
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


class Meter(Protocol):
    """Who collects the counts of a sweep, for pictures of many."""

    def ended(self, outcome: str, *, num_layers: int, nbytes: int) -> None:
        """A unit has ended: `done`, or the cause of its failure."""
        ...

    def stands(self, *, num_running: int, num_left: int, left_s: float | None) -> None:
        """Where the sweep stands: models being measured, units left, and seconds left if that is known."""
        ...


def hear_hub(progress: Progress) -> None:
    """From now on `progress`, and no other, says when this process waits for the Hub."""
    tell_retries_to(progress.hub_retries)


class Progress:
    """Silent when `quiet`."""

    def __init__(self, *, quiet: bool = False, is_terminal: bool | None = None) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty() if is_terminal is None else is_terminal
        self._bar: Bar | None = None
        self._hears_pauses = False
        """True once `hub_pauses` says what concerns this process too."""
        self._pause_ends = 0.0
        """When the pause ends that was said last, by `time.monotonic()`."""
        self._pauses_said: dict[str, int] = {}
        """Number of the last pause that was said, by kind of requests."""
        self._lack_said = -math.inf
        """When `lacks_workers` last said what is lacking, by `time.monotonic()`."""
        self._pace = Pace(0, 0)
        self._failed: Counter[str] = Counter()
        """Units that were given up, by cause."""
        self._layers = 0
        self.meter: Meter | None = None
        """Hears the counts as well, where somebody collects them."""
        self._last_line = self._started = time.monotonic()
        self._metered_s = -METER_EVERY_S

    def begin(
        self, listed: int, todo: int, skipped: int, failed_before: int, *, nbytes: int = 0
    ) -> None:
        """Called once, after the catalog was asked what is there already. `nbytes`: of what is to do."""
        self._pace = Pace(todo, nbytes)
        self._started = self._last_line = time.monotonic()
        summary = f"{listed} units listed: {todo} to do, {skipped} already in the catalog"
        if failed_before:
            summary += f", {failed_before} failed before (`--overwrite failed` tries them again)"
        if todo == 0:
            summary += "; nothing to compute"
        self.say(summary)
        if self._terminal and not self._quiet and todo:
            self._bar = Bar()
            self._draw([])

    def lacking(self, lacks: Sequence[str]) -> None:
        """Units that were finished are measured again, as their files lost rows since."""
        for lack in lacks[:MAX_LACKS]:
            self.say(f"{lack}: its file was torn or moved away; the model is measured again")
        if len(lacks) > MAX_LACKS:
            self.say(f"and {len(lacks) - MAX_LACKS} more that lost rows (`zoo check` lists them)")

    def done(
        self, model_id: str, step: int | None, summary: UnitSummary, *, nbytes: int = 0
    ) -> None:
        """A unit was committed. `nbytes`: what the listing says of it."""
        self._layers += summary.num_layers
        if self.meter is not None:
            self.meter.ended("done", num_layers=summary.num_layers, nbytes=summary.nbytes)
        if summary.num_failed:
            self.say(
                f"{name_of(model_id, step)}: {summary.num_failed} of {summary.num_layers} layers failed"
            )
        self._advance(nbytes)

    def failed(
        self, model_id: str, step: int | None, cause: str, message: str, *, nbytes: int = 0
    ) -> None:
        """A unit was given up. `nbytes`: what the listing says of it."""
        self._failed[cause] += 1
        if self.meter is not None:
            self.meter.ended(cause, num_layers=0, nbytes=0)
        self.say(
            f"{name_of(model_id, step)}: failed ({cause}): {message.splitlines()[0] if message else cause}"
        )
        self._advance(nbytes)

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

    def lacks_workers(self, wants: str | None) -> None:
        """What the sweep waits for while no worker is there, or None; called often, said now and then."""
        now = time.monotonic()
        if wants is not None and now - self._lack_said >= LINE_EVERY_S:
            self._lack_said = now
            self.say(wants)

    def listed_again(self, model_id: str, step: int | None, revision: str) -> None:
        """The files of a unit had changed when its turn came."""
        self.say(
            f"{name_of(model_id, step)}: changed since it was listed; listed again as {revision[:12]}"
        )

    def draining(self, running: int) -> None:
        """Ctrl-C, SIGTERM, or a budget is spent."""
        self.say(f"stopping: waiting for {running} running tasks; a second Ctrl-C stops at once")

    def tick(self, running: Sequence[str], open_bytes: int) -> None:
        """Called often; draws the bar, or writes a line when it is time.

        `running`: models that are being measured, each once. `open_bytes`: read for units that have not ended.
        """
        now = time.monotonic()
        self._pace.open_bytes = open_bytes
        if running and self._pace.began_s is None:
            self._pace.began_s = now
        if self.meter is not None and now >= self._metered_s + METER_EVERY_S:
            self._metered_s = now
            left = self._pace.total_units - self._pace.ended_units
            self.meter.stands(
                num_running=len(running), num_left=left, left_s=self._pace.left_s(now)
            )
        if self._bar is not None:
            self._draw(list(running))
        elif now - self._last_line >= LINE_EVERY_S:
            self._last_line = now
            units, *rest = self._pace.words(now)
            self.say(
                f"{units} units, {self._layers} layers, {self._failures()}, {len(running)} running, "
                f"{now - self._started:.0f} s" + "".join(f", {words}" for words in rest)
            )

    def _failures(self) -> str:
        """How many units failed, and of what."""
        causes = ", ".join(f"{cause} {number}" for cause, number in sorted(self._failed.items()))
        return f"{self._failed.total()} failed" + (f" ({causes})" if causes else "")

    def end(self) -> None:
        """Stop the bar."""
        if self._bar is not None:
            bar, self._bar = self._bar, None
            with contextlib.suppress(OSError):  # a terminal that was closed
                bar.close()

    def say(self, text: str) -> None:
        """One line to standard error, unless quiet."""
        if not self._quiet:
            self.error(text)

    def error(self, text: str) -> None:
        """One line to standard error, also when quiet."""
        text = redacted(text)
        # a log on a full disk, or one that nobody reads any more, is no reason to end a sweep
        with contextlib.suppress(OSError):
            if self._bar is not None:
                self._bar.above(printable(text, keep="\n"))
            else:
                print(printable(text, keep="\n"), file=sys.stderr, flush=True)

    def _advance(self, nbytes: int) -> None:
        self._pace.ended_units += 1
        self._pace.ended_bytes += nbytes

    def _draw(self, running: list[str]) -> None:
        """The bar as it stands now."""
        if self._bar is None:
            return
        full, empty = self._bar.letters
        line = self._pace.line(
            running, time.monotonic(), width=self._bar.width, full=full, empty=empty
        )
        with contextlib.suppress(OSError):  # a terminal that was closed is no reason to end a sweep
            self._bar.draw(line)


def name_of(model_id: str, step: int | None) -> str:
    """A model, and which step of it, as it is shown."""
    shown = printable(model_id.replace("\n", " "))
    return shown if step is None else f"{shown} step {step}"
