"""What one task of a sweep gives back: rows as they were measured, without the keys that the driver
knows (sweep and unit)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the driver starts without what measures; unpickling loads what it needs
    from zoo.card import Evaluation
    from zoo.measure.row import LayerRow, SpectrumRow, TensorRow, TrapRow


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the checkpoint and its card say of the model; None what neither does."""

    num_params: int | None = None
    """Parameters of the checkpoint."""
    architecture: str | None = None
    family: str | None = None
    library: str | None = None
    pipeline_tag: str | None = None
    licence: str | None = None
    base_model: str | None = None


@dataclass(frozen=True, slots=True)
class TaskRows:
    """Rows by table, and what the task took."""

    layers: tuple[LayerRow, ...]
    traps: tuple[TrapRow, ...]
    spectra: tuple[SpectrumRow, ...]
    tensors: tuple[TensorRow, ...]
    """The account of every stored tensor; only group 0 sends it, as the two below."""
    evaluations: tuple[Evaluation, ...]
    facts: ModelFacts | None
    decoders: tuple[str, ...]
    """Names of the decoders of the whole model, whatever part of it the task measured."""
    bytes_read: int
    """Headers included."""
    requests: int
    """Requests or reads."""
    seconds: float
