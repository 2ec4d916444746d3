"""Several ablations in one pass: the same inputs side by side, each part with its own change of the layer.

A pass over few inputs is all overhead; where the outputs are small, many variants go through the rest
of the network together. How many follows from the network, the layer and the probes alone, never from
the memory that is left, so values do not depend on where they were computed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map

from zoo.probes.ablation import Ablation
from zoo.probes.network import Inputs, Network, UnprobeableError
from zoo.probes.replay import Kept, Replay, record

_FEW, _MORE = 2, 3
"""Sizes of two small batches: what grows with them counts the probes."""
_TOLERANCE = 1e-3
"""Rows of logits that depend on themselves alone differ less than this, of the largest logit."""


@dataclass(frozen=True, slots=True)
class Joint:
    """How many ablations of a layer run together."""

    num_variants: int = 1
    batched: Kept = field(default_factory=dict)
    """Of each tensor that a replay keeps, whether its first axis counts the probes."""


def joint_of(network: Network, ablation: Ablation, batch_size: int) -> Joint:
    """For batches of `batch_size` probes. One at a time where the weight itself is exchanged, where the
    outputs of one probe depend on the others of its batch, and where the layer does not see the probes
    one after the other along the first axis."""
    if not ablation.is_added:
        return Joint()
    more = network.sample(_MORE)
    few = {
        name: value[:_FEW] if isinstance(value, torch.Tensor) and len(value) == _MORE else value
        for name, value in more.items()
    }
    try:
        small, large = (_recorded(network, ablation, inputs) for inputs in (few, more))
    except UnprobeableError:
        return Joint()
    batched = _batched(small, large)
    if batched is None or not _rows_are_independent(small, large):
        return Joint()
    of_a_batch = large.largest_bytes / _MORE * batch_size
    return Joint(max(1, int(network.pass_bytes // max(1.0, of_a_batch))), batched)


def _recorded(network: Network, ablation: Ablation, inputs: Inputs) -> Replay:
    return record(network.module, ablation.target, lambda: network.logits(inputs), keeps_own=True)


def _batched(small: Replay, large: Replay) -> Kept | None:
    """What grows with the number of probes; None where anything else does, or in another way."""
    calls = {module: set(of_module) for module, of_module in small.kept.items()}
    if (
        not small.num_calls
        or calls != {module: set(of_module) for module, of_module in large.kept.items()}
        or len(small.taken) != len(large.taken)
        or not all(
            few[:1] == (_FEW,) and more == (_MORE, *few[1:])
            for few, more in zip(small.taken, large.taken, strict=True)
        )
    ):
        return None
    batched: Kept = {}
    for module, of_module in small.kept.items():
        for number, output in of_module.items():
            other = large.kept[module][number]
            if len(tree_leaves(output)) != len(tree_leaves(other)):
                return None
            grows = tree_map(_grows, output, other)
            if any(leaf is None for leaf in tree_leaves(grows)):
                return None
            batched.setdefault(module, {})[number] = grows
    return batched


def _grows(few: Any, more: Any) -> bool | None:
    """Whether the first axis counts the probes; None where that cannot be told."""
    if not isinstance(few, torch.Tensor) or not isinstance(more, torch.Tensor):
        is_plain = few is None or isinstance(few, bool | int | float | str)
        return False if is_plain and few == more else None
    if few.shape == more.shape:
        return False
    is_first = few.ndim > 0 and few.shape[1:] == more.shape[1:]
    return True if is_first and few.shape[0] * _MORE == more.shape[0] * _FEW else None


def _rows_are_independent(small: Replay, large: Replay) -> bool:
    """True when the logits of a probe are the same whoever stands beside it."""
    assert small.logits is not None and large.logits is not None
    if small.logits.shape != (_FEW, *large.logits.shape[1:]) or len(large.logits) != _MORE:
        return False
    most = _TOLERANCE * max(1e-30, float(large.logits.float().abs().max()))
    if small.logits.dtype != torch.float32:
        most *= 16
    return bool(((small.logits - large.logits[:_FEW]).abs() <= most).all())
