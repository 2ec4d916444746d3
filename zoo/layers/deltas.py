"""Which layers of a model are compared with which of its base model, for the spectra of W − W_base.

Tensors belong together by name: by the same name, or by names that differ in one prefix throughout
(`model.`, which a head in front of the model adds). What is left is paired by its place, where role,
block, expert and shape leave one choice: parts of a projection that only one of the two has fused.
Reads no weights.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from zoo.formats.weight import Weight
from zoo.layers.spec import LayerSpec

EQUAL: Final = "equal to the base"
"""Why a layer has no numbers in which nothing was changed."""
_UPDATE: Final = re.compile(r"\.(?:lora|merged)(?:\.[A-Za-z]\w*)?$")
"""Ending of the names of what adapters add."""
_SAMPLE: Final = 64
"""Names by which the prefixes are told."""
_PREFIX_WORDS: Final = 3
"""Words in front of a name that another program may have left out."""

Place = tuple[str, int | None, int | None]
"""Role, block and expert of a layer."""


@dataclass(frozen=True, slots=True)
class BaseLayers:
    """The layers of a base model."""

    model_id: str
    specs: tuple[LayerSpec, ...]
    is_tied: bool
    """Its config says that the head is the embedding."""


def delta_layers(own: Sequence[LayerSpec], base: BaseLayers) -> tuple[LayerSpec, ...]:
    """A spec of W − W_base for each of `own`, numbered behind them, or why there is none in its place."""
    weights = {spec.weight.name: spec.weight for spec in base.specs if spec.weight is not None}
    partners = _by_name({spec.tensor for spec in own}, {spec.tensor for spec in base.specs})
    faults = {s.tensor: s.fail_reason for s in base.specs if s.fail_reason is not None}
    taken = set(partners.values())
    by_place = _only(spec for spec in base.specs if spec.tensor not in taken)
    in_question = _only(spec for spec in own if spec.tensor not in partners)
    deltas: list[LayerSpec] = []
    for spec in own:
        delta = replace(spec, layer_index=len(own) + len(deltas), delta_base=base.model_id)
        name = partners.get(spec.tensor)
        if not spec.is_measurable:
            pass  # for the same reason
        elif _UPDATE.search(spec.tensor):
            delta = replace(delta, skip_reason="an adapter's update is a difference already")
        elif name is not None and name in faults:
            delta = replace(delta, fail_reason=f"base model: {faults[name]}")
        elif name is not None:
            delta = _against(delta, weights[name])
        else:
            other = by_place.get(_place(spec)) if in_question.get(_place(spec)) is spec else None
            if other is None and spec.role == "lm_head" and base.is_tied:
                other = next((s for s in base.specs if s.role == "embedding"), None)
            delta = _beside(delta, other)
        deltas.append(delta)
    return tuple(deltas)


def _against(delta: LayerSpec, base: Weight) -> LayerSpec:
    """The layer compared with the same cut of the weight that has its name in the base."""
    assert delta.weight is not None
    if base.shape != delta.weight.shape:
        shapes = f"{list(delta.weight.shape)}, in the base {list(base.shape)}"
        return replace(delta, skip_reason=f"other_shape: {shapes}")
    return replace(delta, partner=replace(delta, weight=base))


def _beside(delta: LayerSpec, other: LayerSpec | None) -> LayerSpec:
    """The layer compared with the one that has its place in the base."""
    if other is None or other.weight is None or not other.is_measurable:
        return replace(delta, skip_reason="not_in_base: the base has no such tensor")
    if (other.num_slices, other.rows, other.cols) != (delta.num_slices, delta.rows, delta.cols):
        shapes = f"[{delta.rows}, {delta.cols}], in the base [{other.rows}, {other.cols}]"
        return replace(delta, skip_reason=f"other_shape: {shapes} ({other.tensor})")
    return replace(delta, partner=other, is_guess=True)


def _place(spec: LayerSpec) -> Place:
    return spec.role, spec.block, spec.expert


def _only(specs: Iterable[LayerSpec]) -> Mapping[Place, LayerSpec]:
    """The layers that alone have their place. Without a block a role says too little, but for the ends."""
    by_place: dict[Place, list[LayerSpec]] = defaultdict(list)
    for spec in specs:
        if spec.block is not None or spec.role in ("embedding", "lm_head"):
            by_place[_place(spec)].append(spec)
    return {place: alike[0] for place, alike in by_place.items() if len(alike) == 1}


def _by_name(own: set[str], base: set[str]) -> dict[str, str]:
    """The base's name of each tensor that has one there: its own, else with the other prefix."""
    partners = {name: name for name in own & base}
    left, free = sorted(own - base), base - own
    if not left or not free:
        return partners
    ours, theirs = _prefixes(left), _prefixes(sorted(free))
    sample = left[:: max(1, len(left) // _SAMPLE)]
    counts = Counter(
        {
            (mine, other): sum(
                name.startswith(mine) and other + name[len(mine) :] in free for name in sample
            )
            for mine in ours
            for other in theirs
        }
    )
    # of prefixes that fit as many names the shortest ones: nothing is cut off that both have
    (mine, other), count = min(counts.items(), key=lambda c: (-c[1], len(c[0][0]) + len(c[0][1])))
    if count:
        for name in left:
            if name.startswith(mine) and other + name[len(mine) :] in free:
                partners[name] = other + name[len(mine) :]
    return partners


def _prefixes(names: Sequence[str]) -> list[str]:
    """What the names begin with, up to a number, and nothing at all."""
    prefixes = {""}
    for name in names[:: max(1, len(names) // _SAMPLE)]:
        words = name.split(".")[:-1][:_PREFIX_WORDS]
        for end in range(1, len(words) + 1):
            if words[end - 1].isdigit():
                break
            prefixes.add(".".join(words[:end]) + ".")
    return sorted(prefixes)
