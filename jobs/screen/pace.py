"""How far a sweep is, how fast it goes and when it will be through: numbers in, words out."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.screen.quantities import human
from jobs.screen.text import keep_end, keep_start, places

_BAR = 10
"""Places of the bar itself."""
_NAME = 10
"""A name is not shown in fewer places."""
_TELLING = 0.02
"""Share of the work from which on its speed says something of the rest."""


@dataclass(slots=True)
class Pace:
    """Counts of one sweep, and its clock."""

    total_units: int
    total_bytes: int
    """What the listing says of all units together; 0: nobody knows."""
    ended_units: int = 0
    ended_bytes: int = 0
    """What the listing says of the units that have ended."""
    open_bytes: int = 0
    """Read for units that have not ended."""
    began_s: float | None = None
    """When the first task ran, by the caller's clock: starting workers says nothing of their speed."""

    @property
    def nbytes(self) -> int:
        """Bytes that are behind us; at most all."""
        return min(self.ended_bytes + self.open_bytes, self.total_bytes)

    @property
    def share(self) -> float:
        """How much of the work is done, in [0, 1]: by bytes, where they are known."""
        if self.total_bytes and self.ended_units < self.total_units:
            return self.nbytes / self.total_bytes
        return self.ended_units / self.total_units if self.total_units else 1.0

    def left_s(self, now_s: float) -> float | None:
        """Seconds that the rest takes at the speed until now; None while that is not known."""
        seconds = 0.0 if self.began_s is None else now_s - self.began_s
        share = self.share
        if seconds < 1.0 or share < _TELLING:
            return None
        return seconds / share - seconds

    def words(self, now_s: float) -> list[str]:
        """Units, bytes, rate and the time that is left, each where it is known."""
        said = [f"{self.ended_units}/{self.total_units}"]
        if self.total_bytes:
            said.append(f"{human(self.nbytes, 'bytes')} of {human(self.total_bytes, 'bytes')}")
        seconds = 0.0 if self.began_s is None else now_s - self.began_s
        share = self.share
        if seconds >= 1.0 and share >= _TELLING:
            if self.nbytes:
                said.append(f"{human(self.nbytes / seconds, 'bytes')}/s")
            if share < 1:
                said.append(f"{human(round(seconds / share - seconds), 's')} left")
        return said

    def line(self, names: list[str], now_s: float, *, width: int, full: str, empty: str) -> str:
        """One line of at most `width` places: bar, words, and as much of the running models as fits.

        `full` and `empty` are the letters of the bar.
        """
        filled = int(self.share * _BAR)
        words = self.words(now_s)
        line = "  ".join([full * filled + empty * (_BAR - filled), *words])
        room = width - places(line) - 2
        if names and room >= _NAME:
            every = ", ".join(names)
            more = f" +{len(names) - 1}" if len(names) > 1 else ""
            fitting = (
                every if places(every) <= room else keep_end(names[0], room - len(more)) + more
            )
            return f"{line}  {fitting}"
        return keep_start(line, max(width, 1))
