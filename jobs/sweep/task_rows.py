"""What one task of a sweep gives back: rows, without the keys that the driver knows (sweep and
unit)."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TaskRows:
    """Rows by table."""

    layers: tuple[dict[str, object], ...]
    traps: tuple[dict[str, object], ...]
    spectra: tuple[dict[str, object], ...]
    tensors: tuple[dict[str, object], ...]
    """The account of every stored tensor; only group 0 sends it."""
    evaluations: tuple[dict[str, object], ...]
    model: dict[str, object] = field(default_factory=dict)
    """Columns of `models` the worker knows: num_params, architecture, bytes_read, seconds, ..."""
