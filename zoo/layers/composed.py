"""Weights a model computes from several stored ones: LoRA products and reparametrisations.

Each becomes one `Weight` whose loader reads its factors; everything after treats it as any other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from zoo.formats.weight import Fate, Weight
from zoo.io.paired import BASE
from zoo.layers import lora, reparametrised, weight_norm
from zoo.layers.adapters import Adapters, lone_factor, plain_in_adapter
from zoo.layers.composed_weight import ComposedWeight
from zoo.layers.merged import with_base
from zoo.options import AdapterMode

_BASE_LAYER: Final = ".base_layer."
"""What PEFT puts into the name of a layer's own tensors when it adds an adapter to the layer."""
_NO_SETTINGS: Final[Mapping[str, Any]] = {}
"""No config, component or header says anything."""


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
    components: Mapping[str, Mapping[str, object]] = _NO_SETTINGS,
    header: Mapping[str, str] = _NO_SETTINGS,
) -> Composed:
    """Replace factors by what is computed from them; `stored` are the names of all stored tensors.

    Of a base model that an adapter is read with, only what the adapter changes stays. `components`
    are the configs of models by the prefix they cover, `header` the strings of the files' headers.
    """
    weights = _without_wrapper(weights)
    by_name = {weight.name: weight for weight in weights}
    in_place_of: dict[str, list[Weight]] = {}
    companions: dict[str, tuple[Fate, str | None]] = {}
    faults: dict[str, str] = {}
    for composed in (
        *weight_norm.pairs(by_name),
        *reparametrised.pairs(by_name, stored),
        *_updates(by_name, adapters, stored, mode, components.get("", {}), header),
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
        if name.startswith(BASE):
            continue
        if reason := plain_in_adapter(name, adapters, components) or lone_factor(name):
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


def _without_wrapper(weights: Sequence[Weight]) -> list[Weight]:
    """The weights; what PEFT keeps of a layer under `.base_layer` goes by the layer's own name."""
    names = {weight.name for weight in weights}
    renamed: list[Weight] = []
    for weight in weights:
        bare = weight.name.replace(_BASE_LAYER, ".")
        renamed.append(weight if bare in names else replace(weight, name=bare))
    return renamed


def _updates(
    weights: Mapping[str, Weight],
    adapters: Adapters,
    stored: Collection[str],
    mode: AdapterMode,
    config: Mapping[str, object],
    header: Mapping[str, str],
) -> Iterator[ComposedWeight]:
    """LoRA's updates, what they make of the base model, or both."""
    for update in lora.pairs(weights, adapters, stored, config, header):
        if mode in ("delta", "both"):
            yield update
        if mode in ("merged", "both"):
            yield with_base(update, weights, adapters, stored)
