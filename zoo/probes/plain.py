"""Networks that `transformers` does not know: perceptrons by their tensors, others by a user's factory."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch

from zoo.errors import UseError
from zoo.probes.network import POSITIONAL, Inputs, Network, ProbeKind, UnprobeableError
from zoo.probes.options import Position

_ACTIVATIONS: dict[str, type[torch.nn.Module]] = {
    "relu": torch.nn.ReLU, "gelu": torch.nn.GELU, "tanh": torch.nn.Tanh,
    "sigmoid": torch.nn.Sigmoid, "silu": torch.nn.SiLU,
}  # fmt: skip
PERCEPTRONS = ("mlp", "perceptron")
"""`model_type` of a config.json whose tensors are a chain of matrices with biases."""


def perceptron(config: Mapping[str, Any], state: Mapping[str, torch.Tensor]) -> Network:
    """A multilayer perceptron: its matrices in the order of their names, an activation between them.

    config.json may name `activation` (relu) and the `input_mean` and `input_std` that its training data
    had (0 and 1). UnprobeableError where the tensors are no chain.
    """
    names = sorted((n for n, t in state.items() if t.ndim == 2), key=natural)
    others = {n for n, t in state.items() if t.ndim != 2}
    biases = {name: f"{name.removesuffix('.weight')}.bias" for name in names}
    widths = [tuple(state[name].shape) for name in names]
    if not names or others - set(biases.values()):
        odd = ", ".join(sorted(others - set(biases.values()))[:3]) or "no matrix"
        raise UnprobeableError(f"model_type 'mlp': got {odd}; wanted matrices and their biases")
    if any(first[0] != second[1] for first, second in pairwise(widths)):
        raise UnprobeableError(
            f"model_type 'mlp': {', '.join(f'{n} {list(state[n].shape)}' for n in names)} are no "
            "chain; wanted each matrix to take what the one before gives"
        )
    activation = str(config.get("activation", "relu"))
    if activation not in _ACTIVATIONS:
        raise UnprobeableError(
            f"activation {activation!r} of config.json; wanted one of {', '.join(_ACTIVATIONS)}"
        )
    module = _Chain(_ACTIVATIONS[activation]())
    for name in names:
        out, width = state[name].shape
        linear = torch.nn.Linear(width, out, bias=biases[name] in state)
        linear.weight = torch.nn.Parameter(state[name], requires_grad=False)
        if biases[name] in state:
            linear.bias = torch.nn.Parameter(state[biases[name]], requires_grad=False)
        module.append(name.removesuffix(".weight"), linear)
    return gaussian_network(
        module.eval(),
        (widths[0][1],),
        mean=float(config.get("input_mean", 0.0)),
        std=float(config.get("input_std", 1.0)),
    )


class _Chain(torch.nn.Module):
    """Linear maps under the names of their tensors, one activation between each two."""

    def __init__(self, activation: torch.nn.Module) -> None:
        super().__init__()
        self.between = activation
        self.steps: list[torch.nn.Module] = []

    def append(self, name: str, step: torch.nn.Module) -> None:
        """Add the next map."""
        self.add_module(name.replace(".", "_"), step)
        self.steps.append(step)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits [batch, classes]."""
        for number, step in enumerate(self.steps):
            values = step(self.between(values) if number else values)
        return values


def from_factory(
    factory: str, config: Mapping[str, Any], state: Mapping[str, torch.Tensor]
) -> Network:
    """The network of a user's factory `package.module:function`, which is imported and called.

    The function gets config.json and returns a module, or (module, draw), where `draw(count,
    generator)` gives the inputs of so many probes as keyword arguments. Without `draw` the inputs are
    Gaussian features as wide as the first linear map, or pictures of 32 by 32 for a convolution.
    Raises UseError when the function cannot be imported, UnprobeableError when the weights do not fit.
    """
    where, _, name = factory.partition(":")
    try:
        function = getattr(importlib.import_module(where), name)
    except (ImportError, AttributeError) as error:
        raise UseError(
            f"factory {factory!r}: {error}; wanted package.module:function, importable here"
        ) from error
    made = function(dict(config))
    module, draw = made if isinstance(made, tuple) else (made, None)
    try:
        module.load_state_dict(dict(state))
    except RuntimeError as error:
        raise UnprobeableError(
            f"the weights do not fit the module of {factory}: {error}"
        ) from error
    module.eval()
    if draw is not None:
        sample = draw(1, torch.Generator())
        numel = sum(v.numel() for v in sample.values() if isinstance(v, torch.Tensor))
        is_tokens = any(
            isinstance(v, torch.Tensor) and not v.is_floating_point() for v in sample.values()
        )
        kind: ProbeKind = "random_tokens" if is_tokens else "gaussian"
        main = POSITIONAL if POSITIONAL in sample else next(iter(sample))
        return Network(module, kind, draw, max(1, numel), main=main)
    return gaussian_network(module, _input_shape(module, factory))


def gaussian_network(
    module: torch.nn.Module,
    shape: tuple[int, ...],
    *,
    mean: float = 0.0,
    std: float = 1.0,
    position: Position = "last",
) -> Network:
    """A module that takes one tensor [probes, *shape] of Gaussian values."""
    dtype = next((p.dtype for p in module.parameters()), torch.float32)

    def draw(count: int, generator: torch.Generator) -> Inputs:
        values = torch.randn((count, *shape), generator=generator) * std + mean
        return {POSITIONAL: values.to(dtype)}

    numel = int(torch.Size(shape).numel())
    return Network(module, "gaussian", draw, numel, position)


def _input_shape(module: torch.nn.Module, factory: str) -> tuple[int, ...]:
    """What the first map of a module takes."""
    for part in module.modules():
        if isinstance(part, torch.nn.Linear):
            return (part.in_features,)
        if isinstance(part, torch.nn.Conv2d):
            return (part.in_channels, 32, 32)
    raise UnprobeableError(
        f"{factory}: no linear map or convolution says what the module takes; wanted the factory to "
        "return (module, draw)"
    )


def natural(name: str) -> list[tuple[int, str]]:
    """Sorts fc2 before fc10."""
    return [
        (int(piece), "") if piece.isdigit() else (0, piece) for piece in re.split(r"(\d+)", name)
    ]
