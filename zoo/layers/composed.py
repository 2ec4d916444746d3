"""Weights a model computes from several stored ones: LoRA products and reparametrisations.

Each becomes one `Weight` whose loader reads its factors; everything after treats it as any other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from zoo.formats.weight import Fate, Weight
from zoo.io.paired import BASE
from zoo.layers import lora, reparametrised, weight_norm
from zoo.layers.adapters import Adapters, lone_factor
from zoo.layers.composed_weight import Made
from zoo.layers.merged import with_base
from zoo.options import AdapterMode


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
    weights: Sequence[Weight],
    adapters: Adapters,
    stored: Collection[str],
    mode: AdapterMode = "delta",
) -> Composed:
    """Replace factors by the weights they make. `stored` holds the names of all stored tensors.

    Of a base model that an adapter is read with, only what the adapter changes stays.
    """
    by_name = {weight.name: weight for weight in weights}
    made: dict[str, list[Weight]] = {}
    companions: dict[str, tuple[Fate, str | None]] = {}
    faults: dict[str, str] = {}
    for found in (
        *weight_norm.pairs(by_name),
        *reparametrised.pairs(by_name, stored),
        *_updates(by_name, adapters, stored, mode),
    ):
        made.setdefault(found.main, []).append(found.weight)
        if found.fault is not None:
            faults[found.weight.name] = found.fault
        for name in found.others:
            companions[name] = ("companion", f"read with {found.main}")
    if mode != "delta":
        unchanged: tuple[Fate, str] = ("skipped", "base model: the adapter does not change it")
        companions = {name: unchanged for name in stored if name.startswith(BASE)} | companions
    left_out = {name for name, weight in by_name.items() if weight.sources[0] in companions}
    for name in by_name.keys() - made.keys() - left_out:
        if reason := lone_factor(name):
            faults[name] = reason
    return Composed(
        weights=tuple(
            made_of_it
            for weight in weights
            if weight.name not in left_out
            for made_of_it in made.get(weight.name, [weight])
        ),
        companions=companions,
        faults=faults,
    )


def _updates(
    weights: Mapping[str, Weight], adapters: Adapters, stored: Collection[str], mode: AdapterMode
) -> Iterator[Made]:
    for found in lora.pairs(weights, adapters, stored):
        if mode in ("delta", "both"):
            yield found
        if mode in ("merged", "both"):
            yield with_base(found, weights, adapters, stored)
