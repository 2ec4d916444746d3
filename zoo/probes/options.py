"""What is probed and how, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from zoo.errors import UseError

Position = Literal["last", "all"]
"""Which position of a sequence is compared: the last one, or all of them, averaged."""
MIN_CONTROLS = 20
"""Fewest ablations of bulk modes that a verdict rests on."""


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """How traps are probed (science.md "Probes")."""

    num_probes: int = 1024
    """Random inputs."""
    temperature: float = 1.0
    """τ of the softmax."""
    max_traps_per_layer: int = 4
    """Traps of a layer that are probed, largest first, replicate by replicate; the rows of the others
    say so."""
    num_controls: int = MIN_CONTROLS
    """Bulk modes that are ablated for comparison, at least 20."""
    position: Position = "last"
    """Position of a sequence whose logits are compared: the last one, or all, averaged."""
    length: int | None = None
    """Tokens of a probe; None: 32, or as many as the network takes."""
    budget_s: float | None = None
    """Seconds after which no further layer of a model is begun; the rows of the others say so."""
    seed: int = 0
    """Enters every random choice."""
    device: str = "auto"
    """Where the network runs: `auto`, `cpu`, `cuda`, `cuda:N`."""

    def __post_init__(self) -> None:
        if self.num_probes < 2:
            raise UseError(f"num_probes: got {self.num_probes}; wanted 2 or more")
        if not self.temperature > 0:
            raise UseError(f"temperature: got {self.temperature}; wanted more than 0")
        if self.max_traps_per_layer < 1:
            raise UseError(f"max_traps_per_layer: got {self.max_traps_per_layer}; wanted 1 or more")
        if self.num_controls < MIN_CONTROLS:
            raise UseError(f"num_controls: got {self.num_controls}; wanted {MIN_CONTROLS} or more")
        if self.length is not None and self.length < 1:
            raise UseError(f"length: got {self.length}; wanted 1 or more")
