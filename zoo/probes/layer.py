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
from zoo.probes.modes import ShuffledModes
from zoo.probes.network import Inputs, Network
from zoo.probes.options import ProbeOptions
from zoo.probes.replacement import replacement
from zoo.probes.replay import Replay, record
from zoo.seeds import generator, seed_for
from zoo.spectral.arrays import Doubles

_BATCH_VALUES = 1 << 14
"""Values of the inputs of one batch of probes: tokens, patches or features."""
_HELD_BYTES = 512 << 20
"""Changes of the weight are held together up to this size; every run over the probes takes so many."""


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


def divergences(
    network: Network,
    ablation: Ablation,
    traps: Sequence[Variant],
    bulk: Sequence[Variant],
    options: ProbeOptions,
) -> Divergences:
    """J of every probe, natural logarithm, for each trap and each control.

    What the network computes in front of the layer is computed once a batch of probes and reused.
    """
    variants = [*traps, *bulk]
    rows, cols = traps[0].modes.shape
    together = max(1, _HELD_BYTES // (4 * rows * cols))
    blocks = [variants[i : i + together] for i in range(0, len(variants), together)]
    found = [_of_block(network, ablation, block, options) for block in blocks]
    values = np.concatenate([values for values, _ in found])
    return Divergences(
        values[: len(traps)], values[len(traps) :], any(is_used for _, is_used in found)
    )


def _of_block(
    network: Network, ablation: Ablation, variants: Sequence[Variant], options: ProbeOptions
) -> tuple[Float64[Doubles, "variants probes"], bool]:
    """(J by variant and probe, whether any logit moved) for changes that are held together."""
    changes = [variant.change() for variant in variants]
    columns: list[Doubles] = []
    is_used = False
    for inputs in batches(network, options):
        ablated, before = _recorded(network, ablation, inputs)
        column = []
        for change in changes:
            with ablated.by(change), before.replayed():
                after = network.logits(inputs)
            assert before.logits is not None
            is_used |= not torch.equal(after, before.logits)
            column.append(_divergence(before.logits, after, options.temperature))
        columns.append(np.stack(column))
    return np.concatenate(columns, axis=1), is_used


def _recorded(network: Network, ablation: Ablation, inputs: Inputs) -> tuple[Ablation, Replay]:
    """The ablation and what lies in front of it. A module that is never called is read by one around
    it, if at all: then the whole network runs again."""
    before = record(network.module, ablation.target, lambda: network.logits(inputs))
    if before.num_calls == 0:
        ablation = replace(ablation, target=network.module, is_added=False)
    return ablation, before


def _divergence(before: torch.Tensor, after: torch.Tensor, temperature: float) -> Doubles:
    """J of each probe, the mean over the positions that are compared."""
    probes, positions, classes = before.shape
    values = jensen_shannon(
        before.reshape(-1, classes), after.reshape(-1, classes), temperature=temperature
    )
    by_probe: Doubles = values.view(probes, positions).mean(dim=1).double().cpu().numpy()
    return by_probe


def batches(network: Network, options: ProbeOptions) -> Iterator[Inputs]:
    """All probes of a network, the same for every layer: seeded, in batches that follow from the size of
    one input alone."""
    size = max(1, min(options.num_probes, _BATCH_VALUES // network.numel))
    for number in range(math.ceil(options.num_probes / size)):
        seed = seed_for("probes", number, options.seed) % (1 << 63)
        drawn = torch.Generator().manual_seed(seed)
        yield network.draw(min(size, options.num_probes - number * size), drawn)
