"""The units that a spec lists."""

from __future__ import annotations

from collections.abc import Callable

from jobs.sources.find import find_targets
from jobs.spec.tables import Spec
from jobs.units.unit import Unit, unit_of


def units_of(spec: Spec, say: Callable[[str], None] | None = None) -> tuple[Unit, ...]:
    """All units a spec lists, pinned; `say` hears what was left out."""
    options, selection = spec.options, spec.selection
    return tuple(unit_of(target, options, selection) for target in find_targets(spec, say))
