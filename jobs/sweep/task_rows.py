"""What one task of a sweep gives back: rows as they were measured, without the keys that the driver
knows (sweep and unit)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the driver starts without what measures; unpickling loads what it needs
    from zoo.card import Card, Evaluation
    from zoo.measure.row import LayerRow, SpectrumRow, TensorRow, TrapRow


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the checkpoint and its card say of the model; None what neither does."""

    num_params: int | None = None
    """Parameters of the checkpoint."""
    num_params_active: int | None = None
    """Those used for one token."""
    num_params_embedding: int | None = None
    """Those in tables of tokens, positions and segments."""
    architecture: str | None = None
    family: str | None = None
    library: str | None = None
    pipeline_tag: str | None = None
    licence: str | None = None
    base_model: str | None = None

    @classmethod
    def of(cls, config: Mapping[str, object], card: Card, *, num_params: int | None) -> ModelFacts:
        """What a config and a card tell."""
        architectures = config.get("architectures")
        named = architectures[0] if isinstance(architectures, list) and architectures else None
        return cls(
            num_params=num_params,
            architecture=_text(named),
            family=_text(config.get("model_type")),
            library=card.library,
            pipeline_tag=card.pipeline_tag,
            licence=card.license,
            base_model=card.base_model,
        )


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
    weights_key: str | None = None
    """Hash of the weight files; None where their listing does not tell."""
    settings_key: str | None = None
    """Hash of the settings beside them."""

    @classmethod
    def of_card(cls, facts: ModelFacts, evaluations: tuple[Evaluation, ...]) -> TaskRows:
        """What is known of a model of which nothing was measured."""
        return cls((), (), (), (), evaluations, facts, (), 0, 0, 0.0)


def _text(value: object) -> str | None:
    return value[:200] if isinstance(value, str) else None
