"""A weight that is computed from several stored ones."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.formats.weight import Weight


@dataclass(frozen=True, slots=True)
class ComposedWeight:
    """One weight that is computed from others, and what it replaces."""

    weight: Weight
    """Named after the module; its loader reads all factors."""
    main: str
    """Name of the stored weight whose place it takes."""
    others: tuple[str, ...]
    """Stored tensors that are read with it and give no rows of their own."""
    fault: str | None = None
    """Why the product cannot be computed, or None."""
