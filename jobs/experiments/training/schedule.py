"""At which steps a run is measured and kept: few a decade, as phases last tenfold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """Steps, ascending; each a multiple of `unit`, the last one aside."""

    end: int
    unit: int
    measured_a_decade: int = 12
    kept_a_decade: int = 6
    kept_from: int = 10_000
    """Before it one step a decade is kept: what happens there is memorising."""

    @property
    def measured(self) -> tuple[int, ...]:
        """Steps at which all networks are measured."""
        return tuple(sorted({*log_spaced(self.end, self.measured_a_decade, self.unit), *self.kept}))

    @property
    def kept(self) -> tuple[int, ...]:
        """Steps of which a checkpoint is written."""
        early = [step for step in log_spaced(self.end, 1, self.unit) if step < self.kept_from]
        late = [
            step
            for step in log_spaced(self.end, self.kept_a_decade, self.unit)
            if step >= self.kept_from
        ]
        return tuple(sorted({*early, *late, self.end} - {step for step in early if 0 < step < 100}))


def log_spaced(end: int, a_decade: int, unit: int) -> tuple[int, ...]:
    """0, then steps that grow by 10^(1/a_decade), rounded to two digits and to `unit`; `end` is the last."""
    steps, power = {0, end}, 0
    while (step := float(f"{10 ** (power / a_decade):.1e}")) < end:
        power += 1
        rounded = round(step / unit) * unit
        if 0 < rounded < end:
            steps.add(rounded)
    return tuple(sorted(steps))
