"""Equal matrices that are layers of their own (the experts of a block), measured together.

On an accelerator their Gram matrices and eigenvalues come from one batched call, which fills it; on
the CPU they are measured one after the other, which is as fast. Same values either way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.device import choose_device
from zoo.layer import LayerMeasures, measure_layer
from zoo.options import AnalysisOptions
from zoo.spectral.spectrum import eigenvalues

_BATCH_BYTES = 4 << 30
"""Float64 copies of the matrices of one batch on the accelerator."""


def measure_layers(
    stack: torch.Tensor,
    *,
    options: AnalysisOptions,
    seed_keys: Sequence[tuple[str, ...]],
    storage_bits: int,
) -> tuple[LayerMeasures, ...]:
    """Measure every matrix of `stack` [count, rows, cols] as a layer; one seed key each."""
    if len(seed_keys) != stack.shape[0]:
        raise ValueError(f"{len(seed_keys)} seed keys for {stack.shape[0]} matrices; give one each")
    solved = _solved(stack, storage_bits, choose_device(options.device))
    return tuple(
        measure_layer(
            matrix[None],
            options=options,
            seed_key=key,
            storage_bits=storage_bits,
            solved=None if solved is None else solved[index : index + 1],
        )
        for index, (matrix, key) in enumerate(zip(stack, seed_keys, strict=True))
    )


def _solved(
    stack: torch.Tensor, storage_bits: int, device: torch.device
) -> NDArray[np.float64] | None:
    """Eigenvalues [count, m] by batched solves; None where each matrix is to be solved by itself."""
    if device.type == "cpu" or stack.shape[0] < 2 or stack.numel() == 0 or storage_bits == 64:
        return None
    size = max(1, _BATCH_BYTES // (8 * stack.shape[1] * stack.shape[2]))
    try:
        parts = [
            eigenvalues(part, storage_bits=storage_bits, device=device)
            for part in torch.split(stack, size)
        ]
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return None
    except ValueError:  # a non-finite entry: its matrix fails by itself, the others are measured
        return None
    return np.concatenate(parts)
