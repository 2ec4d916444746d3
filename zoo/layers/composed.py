"""Weights a model computes from several stored ones: LoRA products and weight normalisation.

Each becomes one `Weight` whose loader reads its factors; everything after treats it as any other.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from zoo.formats.weight import Fate, Weight
from zoo.layers import lora, weight_norm


@dataclass(frozen=True, slots=True)
class Composed:
    """The weights after composition."""

    weights: tuple[Weight, ...]
    """Logical weights; factors are replaced by what they make."""
    companions: Mapping[str, tuple[Fate, str | None]]
    """Fates of the stored tensors that are read with another one."""
    faults: Mapping[str, str]
    """Names of weights that cannot be computed, and why."""


def compose(
    weights: Sequence[Weight], adapter: Mapping[str, object] | None, stored: Container[str]
) -> Composed:
    """Replace factors by the weights they make. `stored` holds the names of all stored tensors."""
    by_name = {weight.name: weight for weight in weights}
    made: dict[str, Weight] = {}
    companions: dict[str, tuple[Fate, str | None]] = {}
    faults: dict[str, str] = {}
    for found in (*weight_norm.pairs(by_name), *lora.pairs(by_name, adapter, stored)):
        made[found.main] = found.weight
        if found.fault is not None:
            faults[found.weight.name] = found.fault
        for name in found.others:
            companions[name] = ("companion", f"read with {found.main}")
    left_out = {name for name, weight in by_name.items() if weight.sources[0] in companions}
    return Composed(
        weights=tuple(made.get(w.name, w) for w in weights if w.name not in left_out),
        companions=companions,
        faults=faults,
    )
