"""What can come back from a worker: typed values, so that the retry policy never reads a message.

Outcome = Finished | Raised | Died
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finished:
    """A task that ran to its end. Rows are without the keys the driver knows (sweep, unit)."""

    layers: tuple[dict[str, object], ...]
    traps: tuple[dict[str, object], ...]
    spectra: tuple[dict[str, object], ...]
    tensors: tuple[dict[str, object], ...]
    """The account of every stored tensor; only group 0 sends it."""
    evaluations: tuple[dict[str, object], ...]
    model: dict[str, object] = field(default_factory=dict)
    """Columns of `models` the worker knows: num_params, architecture, bytes_read, seconds, ..."""


@dataclass(frozen=True, slots=True)
class Raised:
    """A task that raised; the worker lives on."""

    cause: str
    """data | hub_permanent | hub_transient | resource | bug"""
    error_type: str
    message: str
    traceback: str


@dataclass(frozen=True, slots=True)
class Died:
    """A worker that went away with the task."""

    how: Literal["crash", "memory", "node", "timeout"]
    message: str


Outcome = Finished | Raised | Died
