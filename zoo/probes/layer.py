"""The probes of one layer: J of each trap, against the same ablation of bulk modes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float64

from zoo.probes.ablation import Ablation
from zoo.probes.divergence import jensen_shannon
from zoo.probes.joint import Joint, joint_of
from zoo.probes.modes import ShuffledModes
from zoo.probes.network import Inputs, Network, UnprobeableError
from zoo.probes.options import ProbeOptions
from zoo.probes.replacement import replacement
from zoo.probes.replay import Replay, record
from zoo.seeds import generator
from zoo.spectral.arrays import Doubles

_BATCH_VALUES = 1 << 14
"""Values of the inputs of one batch of probes: tokens, patches or features."""
_HELD_BYTES = 512 << 20
"""Changes of the weight are held together up to this size; every run over the probes takes so many."""
_KEPT_BYTES = 512 << 20
"""Recorded passes of a layer are kept up to this size; larger ones are recorded for each slice anew."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One ablation: a mode of a shuffled slice with a random matrix in its place."""

    modes: ShuffledModes
    rank: int
    draw: int
    """Number of the random matrix, from 0: controls that use one mode again get another."""
    seed: tuple[str | int, ...]
    """Layer, replicate and slice."""

    def change(self) -> torch.Tensor:
        """ΔW = R − T."""
        return replacement(
            self.modes.carried(self.rank), *self.seed, "replacement", self.rank, self.draw
        )


@dataclass(frozen=True, slots=True)
class Divergences:
    """J of every probe for every variant of one layer."""

    of_traps: Float64[Doubles, "traps probes"]
    of_controls: Float64[Doubles, "controls probes"]
    is_used: bool
    """False where the network gives the very same logits whatever the layer holds."""


def controls(
    modes: ShuffledModes, num_traps: int, count: int, seed: tuple[str | int, ...]
) -> list[Variant]:
    """`count` seeded bulk modes of the shuffled slice; where it has fewer, each again with another
    random matrix."""
    bulk = modes.bulk(num_traps)
    if not bulk:
        return []
    order = generator(*seed, "controls").permutation(len(bulk))
    chosen = [bulk[order[i % len(bulk)]] for i in range(count)]
    return [Variant(modes, int(r), i // len(bulk), seed) for i, r in enumerate(chosen)]


class Recordings:
    """Passes of one network that were recorded for one of its layers, a batch of probes each: they serve
    every slice and shuffle of the layer, as far as they fit."""

    def __init__(self, network: Network, options: ProbeOptions) -> None:
        self._network = network
        self._options = options
        self._target: torch.nn.Module | None = None
        self._kept: dict[int, Replay] = {}
        self._joint = Joint()

    @property
    def num_batches(self) -> int:
        """All probes, in batches."""
        return math.ceil(self._num_probes / self.batch_size)

    @property
    def batch_size(self) -> int:
        """It follows from the size of one input and the number of probes alone."""
        return min(self._num_probes, batch_size(self._network))

    @property
    def _num_probes(self) -> int:
        return self._network.num_probes(self._options.num_probes)

    def joint(self, ablation: Ablation) -> Joint:
        """How many ablations run together."""
        self._turn_to(ablation)
        return self._joint

    def inputs(self, number: int) -> Inputs:
        """Batch `number` of the probes."""
        return self._network.batch(number, self.batch_size, self._num_probes, self._options.seed)

    def of(self, ablation: Ablation, number: int, inputs: Inputs) -> tuple[Ablation, Replay]:
        """The ablation, and what does not depend on it in that batch. A module that is never called is
        read by one around it, if at all: then the whole network runs again."""
        self._turn_to(ablation)
        network, before = self._network, self._kept.get(number)
        if before is None:
            before = record(
                network.module,
                ablation.target,
                lambda: network.logits(inputs),
                keeps_own=ablation.is_added,
            )
            if before.num_bytes * self.num_batches <= _KEPT_BYTES:
                self._kept[number] = before
        if before.num_calls == 0:
            if ablation.parameter.is_meta:
                raise UnprobeableError(
                    "the weight is used by a module around its own, and is not at hand block by block"
                )
            ablation = replace(ablation, target=network.module, is_added=False)
        return ablation, before

    def _turn_to(self, ablation: Ablation) -> None:
        if ablation.target is not self._target:
            self._target = ablation.target
            self._kept.clear()
            self._joint = joint_of(self._network, ablation, self.batch_size)


def divergences(
    network: Network,
    ablation: Ablation,
    traps: Sequence[Variant],
    bulk: Sequence[Variant],
    options: ProbeOptions,
    recordings: Recordings | None = None,
) -> Divergences:
    """J of every probe, natural logarithm, for each trap and each control.

    What in the network does not depend on the layer is computed once a batch of probes and reused;
    `recordings`: of other slices of the same layer, too.
    """
    recordings = recordings or Recordings(network, options)
    variants = [*traps, *bulk]
    rows, cols = traps[0].modes.shape
    together = max(1, _HELD_BYTES // (4 * rows * cols))
    blocks = [variants[i : i + together] for i in range(0, len(variants), together)]
    results = [_of_block(network, ablation, block, options, recordings) for block in blocks]
    values = np.concatenate([values for values, _ in results])
    return Divergences(
        values[: len(traps)], values[len(traps) :], any(is_used for _, is_used in results)
    )


def _of_block(
    network: Network,
    ablation: Ablation,
    variants: Sequence[Variant],
    options: ProbeOptions,
    recordings: Recordings,
) -> tuple[Float64[Doubles, "variants probes"], bool]:
    """(J by variant and probe, whether any logit moved) for changes that are held together."""
    changes = [variant.change() for variant in variants]
    joint = recordings.joint(ablation)
    columns: list[Doubles] = []
    is_used = False
    for number in range(recordings.num_batches):
        inputs = recordings.inputs(number)
        ablated, before = recordings.of(ablation, number, inputs)
        assert before.logits is not None
        at_once = joint.num_variants if ablated.is_added else 1
        column: list[Doubles] = []
        for first in range(0, len(changes), at_once):
            some = changes[first : first + at_once]
            with ablated.by(*some), before.replayed(len(some), joint.batched):
                after = network.logits(_side_by_side(inputs, len(some), before.logits.shape[0]))
            for of_variant in after.chunk(len(some)):
                is_used |= not torch.equal(of_variant, before.logits)
                column.append(_divergence(before.logits, of_variant, options.temperature))
        columns.append(np.stack(column))
    return np.concatenate(columns, axis=1), is_used


def _side_by_side(inputs: Inputs, times: int, num_probes: int) -> Inputs:
    """The inputs so often, one after the other."""
    if times == 1:
        return inputs
    return {
        name: value.repeat(times, *[1] * (value.ndim - 1))
        if isinstance(value, torch.Tensor) and value.ndim and len(value) == num_probes
        else value
        for name, value in inputs.items()
    }


def _divergence(before: torch.Tensor, after: torch.Tensor, temperature: float) -> Doubles:
    """J of each probe, the mean over the positions that are compared."""
    probes, positions, classes = before.shape
    values = jensen_shannon(
        before.reshape(-1, classes), after.reshape(-1, classes), temperature=temperature
    )
    by_probe: Doubles = values.view(probes, positions).mean(dim=1).double().cpu().numpy()
    return by_probe


def batch_size(network: Network) -> int:
    """Probes of a batch: it follows from the size of one input alone."""
    return max(1, _BATCH_VALUES // network.numel)


def batches(network: Network, options: ProbeOptions) -> Iterator[Inputs]:
    """All probes of a network, the same for every layer."""
    recordings = Recordings(network, options)
    return (recordings.inputs(number) for number in range(recordings.num_batches))
