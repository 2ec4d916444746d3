"""A catalog looked at time and again: how fast it fills and when it will be full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jobs.screen.quantities import human


class Watched:
    """What `zoo status` said, look by look."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None
        """When the first look was, and how many units had ended by then."""
        self._last: tuple[float, int] = (0.0, 0)
        self.num_waiting = 0
        """Units that are listed and neither done nor failed."""

    def look(self, facts: Sequence[Mapping[str, object]], now_s: float) -> None:
        """`facts`: rows of `topic`, `item`, `value`."""
        units = {str(f["item"]): int(str(f["value"])) for f in facts if f["topic"] == "units"}
        ended = units.get("done", 0) + units.get("failed", 0)
        self.num_waiting = units.get("not done yet", 0)
        self._last = (now_s, ended)
        if self._first is None:
            self._first = self._last

    def words(self) -> str:
        """How many units ended since the first look, how fast, and what is left."""
        if self._first is None:
            return "not looked yet"
        seconds, ended = (b - a for a, b in zip(self._first, self._last, strict=True))
        if self.num_waiting == 0:
            return "nothing that is listed waits to be done"
        said = f"{ended} units ended in {human(round(seconds), 's')}, {self.num_waiting} to go"
        if ended > 0 and seconds > 0:
            left_s = self.num_waiting * seconds / ended
            said += f", {ended / seconds * 60:.3g} a minute, {human(round(left_s), 's')} left"
        return said
