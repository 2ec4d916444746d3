"""Models whose files changed between their listing and their turn: listed again, in the background.

A listing reads whole files, which must not keep finished work from being committed. Knows sources and
units; nothing of runners or catalogs.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from jobs.sources.bases import listed_again
from jobs.sources.target import Failure, Origin, Target, failure_of
from jobs.units.unit import Unit, unit_of
from zoo.errors import StaleListingError
from zoo.io.file_names import shown

MAX_TIMES = 3
"""A model that changed again after it was listed anew so often in one sweep is still being written."""


class Relisting:
    """Units on their way to another revision."""

    def __init__(self) -> None:
        self._times: Counter[Origin] = Counter()
        self._open: list[_Listing] = []

    @property
    def num_open(self) -> int:
        """Number of units that were put in and have not been taken out."""
        return len(self._open)

    def put(self, unit: Unit) -> bool:
        """List the model of `unit` again; False when it has been listed MAX_TIMES times already."""
        origin = unit.target.origin
        if self._times[origin] >= MAX_TIMES:
            return False
        self._times[origin] += 1
        listing = _Listing(unit)
        self._open.append(listing)
        # a daemon: a file system that stalls must not keep an interrupted sweep from ending
        threading.Thread(target=listing.run, name="zoo-relist", daemon=True).start()
        return True

    def take(self) -> Iterator[tuple[Unit, Unit]]:
        """(unit as it was put in, unit of what lies there now), as far as known by now."""
        for listing in [listing for listing in self._open if listing.after is not None]:
            self._open.remove(listing)
            assert listing.after is not None
            yield listing.before, listing.after


@dataclass(slots=True, eq=False)
class _Listing:
    """One unit that is listed again."""

    before: Unit
    after: Unit | None = None

    def run(self) -> None:
        """Body of its thread: sets `after`, come what may."""
        target = self.before.target
        try:
            target = self._listed()
        except Exception as error:  # the boundary of a thread: what goes wrong becomes a row
            failure = Failure("bug", type(error).__name__, shown(str(error)))
            target = replace(target, failure=failure)
        finally:
            self.after = unit_of(target, self.before.options, self.before.selection)

    def _listed(self) -> Target:
        before = self.before.target
        after = listed_again(before)
        with_base = self.before.selection.adapters != "delta"
        if with_base and after.failure is None and after.named_base != before.named_base:
            message = (
                "its settings name another base since it was listed; run the same command again"
            )
            return replace(after, failure=failure_of(StaleListingError(message)))
        return after
