"""A network that can be probed: the module, the random inputs it takes, the logits it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float

from zoo.errors import CheckpointError, ResourceError
from zoo.machine.memory import is_shortage
from zoo.probes.options import Position
from zoo.seeds import seed_for

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
    main: str = POSITIONAL
    """Name of its main input."""
    data: Mapping[str, torch.Tensor] | None = None
    """Given inputs, in the order in which they are used; None: they are drawn."""
    label: str | None = None
    """Which data that is, for the rows."""
    stream: Any = None
    """`zoo.probes.streamed.Stream`, where the blocks are loaded as they run; None: all weights are here."""
    pass_bytes: int = 64 << 20
    """Most bytes of the largest output when several ablations run in one pass."""

    def num_probes(self, wanted: int) -> int:
        """Probes there are: as many as wanted, and of given data no more than it has."""
        return wanted if self.data is None else min(wanted, len(self.data[self.main]))

    def batch(self, number: int, size: int, count: int, seed: int) -> Inputs:
        """Batch `number` of `count` probes in batches of `size`: the same whenever and wherever it is asked
        for."""
        first, last = number * size, min(count, (number + 1) * size)
        if self.data is not None:
            return self._placed(
                {
                    **self.draw(last - first, torch.Generator().manual_seed(seed % (1 << 63))),
                    **{name: values[first:last] for name, values in self.data.items()},
                }
            )
        drawn = torch.Generator().manual_seed(seed_for("probes", number, seed) % (1 << 63))
        return self._placed(self.draw(last - first, drawn))

    def sample(self, count: int) -> Inputs:
        """A few inputs, to find out how the network behaves."""
        return self.batch(0, count, count, 0)

    def output(self, inputs: Inputs) -> torch.Tensor:
        """The tensor that is compared, at all positions. UnprobeableError where there is none."""
        try:
            with torch.no_grad():
                if POSITIONAL in inputs:
                    output = self.module(inputs[POSITIONAL])
                else:
                    output = self.module(**inputs)
        except _FOREIGN as error:
            name = type(self.module).__name__
            if is_shortage(error):
                raise ResourceError(f"one pass through {name}: {error}") from error
            raise UnprobeableError(
                f"{name} fails on {'the given' if self.probe_kind == 'data' else 'random'} inputs: "
                f"{type(error).__name__}: {error}"
            ) from error
        return _logits_of(output)

    def logits(self, inputs: Inputs) -> Float[torch.Tensor, "probes positions classes"]:
        """What is compared, after one forward pass. UnprobeableError where nothing can be."""
        return self._compared(self.output(inputs))

    def _placed(self, inputs: Inputs) -> Inputs:
        """The inputs where the weights are."""
        devices = (p.device for p in self.module.parameters() if not p.is_meta)
        device = next(devices, torch.device("cpu"))
        return {
            name: value.to(device) if isinstance(value, torch.Tensor) else value
            for name, value in inputs.items()
        }

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
