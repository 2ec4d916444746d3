"""A network that can be probed: the module, the random inputs it takes, the logits it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float

from zoo.errors import CheckpointError
from zoo.probes.options import Position

ProbeKind = Literal["random_tokens", "gaussian", "data"]
"""What is fed in."""
Inputs = Mapping[str, Any]
"""Keyword arguments of one forward pass, or `input` alone for a module that takes one tensor."""

POSITIONAL = "input"
"""Name under which the one input of a plain module is passed by position."""
_OUTPUTS = (
    "logits", "prediction_logits", "logits_per_image", "start_logits", "last_hidden_state",
)  # fmt: skip
"""Outputs that are compared, the first that is there. Without a head: the last hidden state, whose
units stand for classes."""
_FOREIGN = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, RuntimeError,
    TypeError, ValueError,
)  # fmt: skip
"""What somebody else's forward pass may raise on inputs it does not like."""


class UnprobeableError(CheckpointError):
    """The network cannot be built, or gives nothing that can be compared; the message says why."""


@dataclass(frozen=True, slots=True)
class Network:
    """A trained module in evaluation mode, and how it is probed."""

    module: torch.nn.Module
    probe_kind: ProbeKind
    draw: Callable[[int, torch.Generator], Inputs]
    """Inputs of so many probes."""
    numel: int
    """Values of one probe's input: tokens, pixels or features. Batches are cut by it."""
    position: Position = "last"

    def logits(self, inputs: Inputs) -> Float[torch.Tensor, "probes positions classes"]:
        """One forward pass. UnprobeableError where nothing of its output can be compared."""
        try:
            with torch.no_grad():
                if POSITIONAL in inputs:
                    output = self.module(inputs[POSITIONAL])
                else:
                    output = self.module(**inputs)
        except _FOREIGN as error:
            name = type(self.module).__name__
            raise UnprobeableError(
                f"{name} fails on random inputs: {type(error).__name__}: {error}"
            ) from error
        return self._compared(_logits_of(output))

    def _compared(self, logits: torch.Tensor) -> torch.Tensor:
        """[probes, positions, classes]: of a map [probes, classes, h, w] every pixel is a position."""
        if logits.ndim == 2:
            return logits[:, None]
        if logits.ndim >= 4:
            return logits.flatten(2).transpose(1, 2)
        return logits[:, -1:] if self.position == "last" else logits


def _logits_of(output: object) -> torch.Tensor:
    """The tensor of an output that is compared: the first of `_OUTPUTS`, or of a tuple."""
    named: object = output
    if isinstance(output, tuple | list) and output:
        return _logits_of(output[0])
    if not isinstance(output, torch.Tensor):
        named = next((v for v in map(partial(_named, output), _OUTPUTS) if v is not None), None)
    if not isinstance(named, torch.Tensor) or named.ndim < 2 or not named.is_floating_point():
        raise UnprobeableError(
            f"the network gives no logits (got {type(output).__name__}); wanted a tensor "
            f"[probes, ..., classes] or one of {', '.join(_OUTPUTS)}"
        )
    return named


def _named(output: object, name: str) -> object:
    """An output by its name, of a mapping or an object; None without it."""
    return output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
