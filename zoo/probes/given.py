"""Given data as probes: tokens, pixels or features of the user's own, in place of random ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from zoo.probes.network import Network, UnprobeableError
from zoo.seeds import generator


def with_data(
    network: Network, arrays: Mapping[str, np.ndarray[Any, Any]], label: str, *, seed: int
) -> Network:
    """The network, probed with the rows of `arrays` in a seeded order.

    The arrays go by the names of the network's inputs (`input_ids`, `pixel_values`, `input_features`,
    ...), one row a probe; a single array is the main input, whatever it is called. What the network needs
    beyond them (tokens of a decoder) is drawn at random, an `attention_mask` is all ones. `label`: what
    the rows say.

    UnprobeableError where they are no input of this network: another kind of numbers, tokens outside the
    vocabulary, arrays of unequal length, fewer than two rows.
    """
    if len(arrays) == 1:
        arrays = {network.main: next(iter(arrays.values()))}
    values = arrays.get(network.main)
    if values is None:
        raise UnprobeableError(
            f"data {label}: got {', '.join(sorted(arrays)) or 'no array'}; wanted one called "
            f"{network.main}, the main input of {type(network.module).__name__}"
        )
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(lengths.values())) != 1 or lengths[network.main] < 2:
        got = ", ".join(f"{name} with {length} rows" for name, length in lengths.items())
        raise UnprobeableError(f"data {label}: got {got}; wanted as many of each, two or more")
    drawn = network.draw(2, torch.Generator().manual_seed(0))
    order = generator("data", seed).permutation(lengths[network.main])
    data = {
        name: _fitted(
            torch.from_numpy(np.ascontiguousarray(array[order])), drawn.get(name), name, label
        )
        for name, array in arrays.items()
    }
    main = data[network.main]
    wanted = drawn[network.main]
    if main.ndim != wanted.ndim:
        raise UnprobeableError(
            f"data {label}: {network.main} has the shape {list(main.shape)}; wanted {wanted.ndim} axes, "
            f"such as {list(wanted.shape)}"
        )
    if not wanted.is_floating_point():
        _check_tokens(network, main, label)
        if "attention_mask" in drawn:
            data.setdefault("attention_mask", torch.ones_like(main))
    per_probe = main[0].numel() if not wanted.is_floating_point() else network.numel
    return replace(network, probe_kind="data", numel=max(1, per_probe), data=data, label=label)


def _fitted(values: torch.Tensor, drawn: object, name: str, label: str) -> torch.Tensor:
    """Values in the type that the network takes under that name."""
    if isinstance(drawn, torch.Tensor):
        if drawn.is_floating_point() != values.is_floating_point():
            raise UnprobeableError(
                f"data {label}: {name} is {str(values.dtype).removeprefix('torch.')}; wanted "
                f"{'real' if drawn.is_floating_point() else 'whole'} numbers"
            )
        return values.to(drawn.dtype)
    return values if values.is_floating_point() else values.long()


def _check_tokens(network: Network, tokens: torch.Tensor, label: str) -> None:
    tables = [m for m in network.module.modules() if isinstance(m, torch.nn.Embedding)]
    vocabulary = max((table.num_embeddings for table in tables), default=0)
    low, high = int(tokens.min()), int(tokens.max())
    if vocabulary and not 0 <= low <= high < vocabulary:
        raise UnprobeableError(
            f"data {label}: got tokens from {low} to {high}; the vocabulary of "
            f"{type(network.module).__name__} has {vocabulary}"
        )
