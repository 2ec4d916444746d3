"""Weights a model computes from several stored ones: LoRA products and reparametrisations.

Each becomes one `Weight` whose loader reads its factors; everything after treats it as any other.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from zoo.formats.weight import Fate, Weight
from zoo.layers import lora, reparametrised, weight_norm
from zoo.layers.adapters import Adapters, lone_factor


@dataclass(frozen=True, slots=True)
class Composed:
    """The weights after composition."""

    weights: tuple[Weight, ...]
    """Logical weights; factors are replaced by what they make."""
    companions: Mapping[str, tuple[Fate, str | None]]
    """Fates of the stored tensors that are read with another one."""
    faults: Mapping[str, str]
    """Names of weights that cannot be computed, and why."""


def compose(weights: Sequence[Weight], adapters: Adapters, stored: Container[str]) -> Composed:
    """Replace factors by the weights they make. `stored` holds the names of all stored tensors."""
    by_name = {weight.name: weight for weight in weights}
    made: dict[str, Weight] = {}
    companions: dict[str, tuple[Fate, str | None]] = {}
    faults: dict[str, str] = {}
    for found in (
        *weight_norm.pairs(by_name),
        *reparametrised.pairs(by_name, stored),
        *lora.pairs(by_name, adapters, stored),
    ):
        made[found.main] = found.weight
        if found.fault is not None:
            faults[found.weight.name] = found.fault
        for name in found.others:
            companions[name] = ("companion", f"read with {found.main}")
    left_out = {name for name, weight in by_name.items() if weight.sources[0] in companions}
    for name in by_name.keys() - made.keys() - left_out:
        if reason := lone_factor(name):
            faults[name] = reason
    return Composed(
        weights=tuple(made.get(w.name, w) for w in weights if w.name not in left_out),
        companions=companions,
        faults=faults,
    )
