"""One shuffle of one layer: its slices permuted, their eigenvalues, and the trap test on them.

Composes shuffle, spectrum, kurtosis and edge. Knows nothing of columns or options.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.spectral.edge import EdgeTest, trap_test
from zoo.spectral.kurtosis import bulk_kurtosis
from zoo.spectral.shuffle import Permutation
from zoo.spectral.spectrum import eigenvalues

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shuffled:
    """One replicate: every slice of the layer shuffled by its own permutation."""

    permutations: tuple[Permutation, ...]
    """One a slice."""
    evals: Vector | None
    """Shape (k, m), each row ascending, in units of 4^exponent; None when only the top was
    computed.
    """
    test: EdgeTest | None
    """None when the layer has no bulk (zero variance beside its traps)."""
    kurtosis: tuple[float, ...]
    """Excess kurtosis of each slice, as the test used it."""


def shuffle_slice(matrix: torch.Tensor, permutation: Permutation) -> torch.Tensor:
    """The matrix [rows, cols] with its entries permuted in row-major order, in a type numpy can
    hold.
    """
    flat = _numpy(matrix.detach().cpu().reshape(-1))
    return torch.from_numpy(permutation.apply(flat)).view(matrix.shape)


def _numpy(flat: torch.Tensor) -> NDArray[np.generic]:
    if flat.dtype in (torch.bfloat16, torch.float16):
        flat = flat.to(torch.float32)
    array: NDArray[np.generic] = flat.numpy()
    return array


def measure_full(
    matrices: torch.Tensor,
    permutations: tuple[Permutation, ...],
    *,
    level: float,
    exponent: int,
    max_abs: float,
    kurtosis: float | None,
    device: torch.device,
) -> Shuffled:
    """Shuffle the slices of `matrices` [k, rows, cols], find all eigenvalues, and test them.

    `max_abs`, `kurtosis`: of all entries of the layer (kurtosis None: compute it here).
    """
    k, rows, cols = matrices.shape
    n, m = max(rows, cols), min(rows, cols)
    evals = np.empty((k, m))
    kurtoses: list[float] = []
    for index in range(k):
        shuffled = shuffle_slice(matrices[index], permutations[index])
        evals[index] = eigenvalues(
            shuffled[None], storage_bits=32, exponent=exponent, device=device
        )[0]
        known = kurtosis if k == 1 else None
        kurtoses.append(bulk_kurtosis(shuffled.view(-1).numpy(), max_abs=max_abs, kurtosis=known))
    test = trap_test(
        list(evals), [float(e.sum()) for e in evals], n=n, m=m, kurtoses=kurtoses, level=level
    )
    return Shuffled(permutations, evals, test, tuple(kurtoses))
