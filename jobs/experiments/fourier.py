"""What a network of modular addition has learned: frequencies of its tables, Gram matrices of its keys, and the
kernel of the rule (Prakash and Martin 2026, 2602.02859, appendix H).

Frequencies run from 0 to p − 1; f and p − f are one pair. Transform: exp(−2πi f t/p)/√p over the tokens t.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from jobs.experiments.addition_network import AdditionTransformer

Floats = NDArray[np.float64]
"""Weights, tables and powers."""
NUM_KEYS = 6
"""Frequencies that count as the strongest: three pairs."""


@dataclass(frozen=True, slots=True)
class Circuit:
    """The quantities of one checkpoint."""

    embed: Floats
    """[p]: share of each frequency in the power of the embedding, the constant left out."""
    unembed: Floats
    """[p]: likewise of the unembedding."""
    gram_max: tuple[float, ...]
    """Largest eigenvalue of the centred keys' Gram matrix over the width of a head, first position."""
    key_mass: float
    """Share of the six strongest frequencies in the keys' power without the constant, all heads, in [0, 1]."""
    key_frequencies: frozenset[int]
    """These six."""
    kernel: Floats
    """[p]: power of each frequency in the mean logit at x + y + Δ, a function of Δ; 0 for the constant."""

    @property
    def rule(self) -> tuple[int, ...]:
        """The six strongest frequencies of the kernel, ascending."""
        return tuple(sorted(int(f) for f in np.argsort(self.kernel)[::-1][:NUM_KEYS]))


def circuit_of(tensors: Mapping[str, NDArray[np.float32]], *, p: int, heads: int) -> Circuit:
    """The quantities of a checkpoint's tensors."""
    w = {name: np.asarray(values, dtype=np.float64) for name, values in tensors.items()}
    embed = w["embed.embed.weight"]
    key = w["blocks.0.attn.W_K.weight"]
    keys = (embed[:p] + w["pos_embed.weight"][0]) @ key.T
    by_head = keys.reshape(p, heads, -1)
    centred = by_head - by_head.mean(axis=0)
    gram = [
        float(np.linalg.svd(centred[:, head], compute_uv=False)[0] ** 2 / centred.shape[2])
        for head in range(heads)
    ]
    power = frequency_power(keys)
    power[0] = 0
    strongest = np.argsort(power)[::-1][:NUM_KEYS]
    return Circuit(
        embed=shares(embed[:p]),
        unembed=shares(w["unembed.unembed.weight"][:p]),
        gram_max=tuple(gram),
        key_mass=float(power[strongest].sum() / power.sum()),
        key_frequencies=frozenset(int(f) for f in strongest),
        kernel=kernel_power(logits_of(tensors, p=p, heads=heads), p),
    )


def frequency_power(table: Floats) -> Floats:
    """[p]: mean over the columns of |DFT over the tokens|²; Parseval: it sums to the mean squared column."""
    transformed = np.fft.fft(table, axis=0) / np.sqrt(len(table))
    power: Floats = (np.abs(transformed) ** 2).mean(axis=1)
    return power


def shares(table: Floats) -> Floats:
    """[p]: shares of the power without the constant; they sum to 1, and the constant has 0."""
    power = frequency_power(table)
    power[0] = 0
    relative: Floats = power / power.sum()
    return relative


def kernel_power(logits: Floats, p: int) -> Floats:
    """[p]: |DFT|² of k(Δ) = mean over x, y of the logit of x + y + Δ, its mean over Δ taken off.

    `logits` [p·p, words], row x·p + y.
    """
    index = np.arange(p * p)
    sums = (index // p + index % p) % p
    kernel = np.array([logits[index, (sums + shift) % p].mean() for shift in range(p)])
    power: Floats = np.abs(np.fft.fft(kernel - kernel.mean())) ** 2
    power[0] = 0
    return power


def logits_of(tensors: Mapping[str, NDArray[np.float32]], *, p: int, heads: int) -> Floats:
    """[p·p, words]: the logits at "=" of every sum, row x·p + y."""
    hidden, width = tensors["blocks.0.mlp.fc1.weight"].shape
    module = AdditionTransformer(p=p, width=width, heads=heads, mlp=hidden)
    module.load_state_dict({name: torch.from_numpy(values) for name, values in tensors.items()})
    pairs = torch.arange(p * p)
    tokens = torch.stack([pairs // p, pairs % p, torch.full_like(pairs, p)], dim=1)
    with torch.no_grad():
        logits = [module(tokens[at : at + 4096])[:, -1] for at in range(0, len(tokens), 4096)]
    return torch.cat(logits).double().numpy()
