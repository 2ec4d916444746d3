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
from zoo.layers.composed_weight import ComposedWeight
from zoo.layers.merged import with_base
from zoo.options import AdapterMode


@dataclass(frozen=True, slots=True)
class Composed:
    """The weights after composition."""

    weights: tuple[Weight, ...]
    """Logical weights; factors are replaced by what is computed from them."""
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
    """Replace factors by what is computed from them; `stored` are the names of all stored tensors.

    Of a base model that an adapter is read with, only what the adapter changes stays.
    """
    by_name = {weight.name: weight for weight in weights}
    in_place_of: dict[str, list[Weight]] = {}
    companions: dict[str, tuple[Fate, str | None]] = {}
    faults: dict[str, str] = {}
    for composed in (
        *weight_norm.pairs(by_name),
        *reparametrised.pairs(by_name, stored),
        *_updates(by_name, adapters, stored, mode),
    ):
        in_place_of.setdefault(composed.main, []).append(composed.weight)
        if composed.fault is not None:
            faults[composed.weight.name] = composed.fault
        for name in composed.others:
            companions[name] = ("companion", f"read with {composed.main}")
    if mode != "delta":
        unchanged: tuple[Fate, str] = ("skipped", "base model: the adapter does not change it")
        companions = {name: unchanged for name in stored if name.startswith(BASE)} | companions
    left_out = {name for name, weight in by_name.items() if weight.sources[0] in companions}
    for name in by_name.keys() - in_place_of.keys() - left_out:
        if reason := lone_factor(name):
            faults[name] = reason
    return Composed(
        weights=tuple(
            logical
            for weight in weights
            if weight.name not in left_out
            for logical in in_place_of.get(weight.name, [weight])
        ),
        companions=companions,
        faults=faults,
    )


def _updates(
    weights: Mapping[str, Weight], adapters: Adapters, stored: Collection[str], mode: AdapterMode
) -> Iterator[ComposedWeight]:
    """LoRA's updates, what they make of the base model, or both."""
    for update in lora.pairs(weights, adapters, stored):
        if mode in ("delta", "both"):
            yield update
        if mode in ("merged", "both"):
            yield with_base(update, weights, adapters, stored)
