"""Units on their way to a decision: take over the rows of a finished unit of equal weights, or measure.

A listing tells the hashes of weight files: a Hub's in one request a commit, a folder's were computed
when it was listed. No weight is read here. Only where a finished unit has the same weights are settings
and card read, kilobytes: the settings must be the same too, the card is the new one's own.

Of units of one sweep with equal weights the first is measured and the others wait for it. All reading
goes on in the background: a Hub that stalls must not keep finished work from being committed.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from catalog.write.finished import FinishedUnit
from jobs.sources.target import Failure, failure_of
from jobs.sweep.takeover import TakeOver
from jobs.sweep.task_rows import ModelFacts
from jobs.units.unit import Unit
from zoo.errors import TransientError, ZooError
from zoo.io.file_names import shown

if TYPE_CHECKING:
    from zoo.card import Evaluation

_THREADS = 8
"""Units whose files are listed, or settings read, at a time: most of the time goes into waiting."""

Find = Callable[[Unit, str], Sequence[FinishedUnit]]
"""Finished units that hold the numbers of a unit of this weights_key, if their settings are equal too."""
Decided = TakeOver | Unit | tuple[Unit, Failure]
"""Rows to take over, a unit to measure, or one that cannot even be listed, and why."""


class EqualWeights:
    """Units in, decisions out, in the order they become known."""

    def __init__(self, units: Iterable[Unit], find: Find | None) -> None:
        """`find`: None to measure every unit, whatever is there."""
        self._units = deque(units)
        self._find = find
        self._open: list[_Look] = []
        self._measured: dict[str, tuple[str, str]] = {}
        """Model and revision that is being measured, by weights_key."""
        self._waiting: dict[tuple[str, str], list[_Look]] = defaultdict(list)
        """Units of equal weights, by the one that is being measured."""

    def add(self, unit: Unit) -> None:
        """One unit more, after the others."""
        self._units.append(unit)

    def ended(self, unit: Unit) -> None:
        """A unit that was to be measured is committed, or given up: those that wait for it go on."""
        name = _name(unit)
        for key in [key for key, of in self._measured.items() if of == name]:
            del self._measured[key]
        self._open += self._waiting.pop(name, [])

    @property
    def is_exhausted(self) -> bool:
        """True when every unit has come out."""
        return not self._units and not self._open and not self._waiting

    def take(self, room: int) -> Iterator[Decided]:
        """What is decided by now; about `room` units are looked at beforehand, at most."""
        if self._find is None:
            while self._units and room > 0:
                room -= 1
                yield self._units.popleft()
            return
        while (
            self._units
            and len(self._open) < max(room, 0)
            and sum(look.is_reading for look in self._open) < _THREADS
        ):
            self._open.append(_Look.start(self._units.popleft()))
        for look in [look for look in self._open if not look.is_reading]:
            self._open.remove(look)
            decided = self._decide(look, self._find)
            if decided is not None:
                yield decided

    def _decide(self, look: _Look, find: Find) -> Decided | None:
        """None: it goes on being read, or waits for another unit."""
        unit, key = look.unit, look.weights_key
        if look.failure is not None:
            return unit, look.failure
        if key is None:
            return unit
        if key in self._measured:
            self._waiting[self._measured[key]].append(look)
            return None
        candidates = find(unit, key)
        if candidates and look.own is None and not look.is_unreadable:
            self._open.append(look)
            look.read()
            return None
        for finished in reversed(candidates):
            if look.own is not None and finished.settings_key == look.own.settings_key:
                taken = unit.with_decoders(finished.decoders or ())
                return TakeOver(taken, finished, look.own.facts, look.own.evaluations)
        self._measured[key] = _name(unit)
        return unit


@dataclass(frozen=True, slots=True)
class _Own:
    """What a unit's own small files say."""

    settings_key: str
    facts: ModelFacts
    evaluations: tuple[Evaluation, ...]


@dataclass(slots=True, eq=False)
class _Look:
    """One unit that is looked at."""

    unit: Unit
    is_reading: bool = False
    weights_key: str | None = None
    own: _Own | None = None
    is_unreadable: bool = False
    """True when its small files could not be read: whoever measures it says what is wrong."""
    failure: Failure | None = None

    @classmethod
    def start(cls, unit: Unit) -> _Look:
        """Find the hash of its weights, in the background."""
        look = cls(unit)
        look._in_background(look._list)
        return look

    def read(self) -> None:
        """Read its settings and its card, in the background."""
        self._in_background(self._read)

    def _in_background(self, work: Callable[[], None]) -> None:
        self.is_reading = True
        # a daemon: one that waits for a Hub must not keep an interrupted sweep from ending
        threading.Thread(target=self._run, args=(work,), name="zoo-look", daemon=True).start()

    def _run(self, work: Callable[[], None]) -> None:
        """Body of a thread: whatever goes wrong ends with this unit."""
        try:
            work()
        except Exception as error:  # the boundary of a thread: what goes wrong becomes a row
            self.failure = Failure("bug", type(error).__name__, shown(str(error)))
        finally:
            self.is_reading = False

    def _list(self) -> None:
        target = self.unit.target
        assert target.location is not None
        try:
            with closing(target.location.open()) as store:
                self.weights_key = store.weights_key
                target = replace(target, location=store.pinned())
                self.unit = replace(self.unit, target=target)
        except TransientError:
            return  # the worker tries again, or finds that the files have changed
        except (ZooError, OSError) as error:
            self.failure = failure_of(error)

    def _read(self) -> None:
        from jobs.sources.base_names import card_of
        from zoo.io.configs import main_config
        from zoo.io.paired import FOLDER, configs_of
        from zoo.io.weights_key import settings_key

        try:
            with self.unit.target.reading() as store:
                configs = configs_of(store, are_apart=self.unit.selection.deltas)
                card = card_of(store)
        except (ZooError, OSError):
            self.is_unreadable = True
            return
        config = main_config(configs, "") or main_config(configs, FOLDER)
        facts = ModelFacts.of(config, card, num_params=None)
        self.own = _Own(settings_key(configs), facts, card.evaluations)


def _name(unit: Unit) -> tuple[str, str]:
    return unit.target.model_id, unit.target.revision
