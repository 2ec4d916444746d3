"""All singular modes of one shuffled slice, so that its traps and its bulk can be ablated alike.

Knows nothing of networks. What a trap is, `zoo.spectral.trap_test` says; here it is a rank.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Real

from zoo.spectral.arrays import Doubles, Vector
from zoo.spectral.localisation import Mode
from zoo.spectral.replicate import shuffle_slice
from zoo.spectral.shuffle import Permutation
from zoo.spectral.solve import divided, entry_exponent
from zoo.spectral.trap_modes import carry_back

_SMALLEST_SIGMA = 1e-5
"""Modes below this share of the largest singular value are rounding: they are no control."""


@dataclass(frozen=True, slots=True)
class ShuffledModes:
    """The singular triples of one shuffled slice, largest first."""

    permutation: Permutation
    shape: tuple[int, int]
    """Rows and columns of the slice."""
    sigmas: Vector
    """Singular values, descending."""
    left: Float64[Doubles, "rows m"]
    right: Float64[Doubles, "cols m"]

    def eigenvalue(self, rank: int) -> float:
        """λ = σ² of the mode of that rank, from 0."""
        return float(self.sigmas[rank] ** 2)

    def carried(self, rank: int) -> Real[np.ndarray, "rows cols"]:
        """The mode σ u vᵀ with its entries where they were before the shuffle, in float32."""
        mode = Mode(float(self.sigmas[rank]), self.left[:, rank], self.right[:, rank])
        return carry_back(mode, self.permutation, self.shape)

    def bulk(self, num_traps: int) -> range:
        """Ranks of the modes below the traps that are more than rounding."""
        floor = _SMALLEST_SIGMA * self.sigmas[0]
        return range(num_traps, int(np.count_nonzero(self.sigmas > floor)))


def shuffled_modes(
    matrix: Real[torch.Tensor, "rows cols"], permutation: Permutation
) -> ShuffledModes:
    """Shuffle `matrix` as the trap test did, and take it apart in float64.

    From the eigenvectors of the Gram matrix on the shorter side: the modes at the edge and in the bulk
    come out to 1e-8 of the largest singular value.
    """
    rows, cols = matrix.shape
    moved = shuffle_slice(matrix, permutation)
    exponent = entry_exponent(float(moved.abs().max()))
    work = divided(moved.to(torch.float64), exponent)
    is_tall = rows >= cols
    tall = work if is_tall else work.T
    evals, vectors = torch.linalg.eigh(tall.T @ tall)
    order = torch.arange(len(evals) - 1, -1, -1)
    sigmas = evals[order].clamp(min=0).sqrt()
    short = vectors[:, order]
    floor = torch.finfo(torch.float64).tiny
    long = (tall @ short) / sigmas.clamp(min=floor)
    left, right = (long, short) if is_tall else (short, long)
    scale = 2.0**exponent
    return ShuffledModes(
        permutation, (rows, cols), sigmas.numpy() * scale, left.numpy(), right.numpy()
    )
