"""What a bar is, and a section that measures some."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Bar:
    """A figure with its limit."""

    name: str
    limit: float
    unit: str
    is_least: bool = False
    """True where the limit is the least that is wanted, not the most."""
    value: float | None = None
    reason: str = "unmeasured"
    """Why there is no value."""

    def at(self, value: float) -> Bar:
        """The bar, measured."""
        return replace(self, value=value)

    def failed(self, reason: str) -> Bar:
        """The bar, which could not be measured."""
        return replace(self, reason=reason.replace("|", "/"))

    @property
    def is_met(self) -> bool:
        """True where the value keeps the limit."""
        if self.value is None:
            return False
        return self.value >= self.limit if self.is_least else self.value <= self.limit

    @property
    def row(self) -> str:
        """The line of a Markdown table."""
        wanted = f"{'at least' if self.is_least else 'at most'} {self.limit:g} {self.unit}"
        if self.value is None:
            return f"| {self.name} | {wanted} | {self.reason} | |"
        verdict = "met" if self.is_met else "**missed**"
        return f"| {self.name} | {wanted} | {self.value:.4g} {self.unit} | {verdict} |"


@dataclass(frozen=True)
class Section:
    """Some bars that are measured together."""

    name: str
    bars: tuple[Bar, ...]
    run: Callable[[], tuple[list[Bar], list[str]]]
    """The bars with their values, and lines of Markdown below the table."""
    needs_s: float
    """Seconds without which it is not begun."""
