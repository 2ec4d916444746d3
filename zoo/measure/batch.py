"""Equal matrices that are layers of their own (the experts of a block), measured together.

On an accelerator their Gram matrices and eigenvalues come from one batched call, which fills it; on
the CPU they are measured one after the other, which is as fast. Same values either way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float64, Shaped

from zoo.machine.device import choose_device
from zoo.measure.layer import LayerMeasures, measure_layer
from zoo.options import AnalysisOptions
from zoo.spectral.arrays import Doubles
from zoo.spectral.solve import eigenvalues

_BATCH_BYTES = 4 << 30
"""The matrices of one batch take no more than this in float64, as the accelerator holds them."""


def measure_layers(
    matrices: Sequence[Shaped[torch.Tensor, "rows cols"]],
    *,
    options: AnalysisOptions,
    seed_keys: Sequence[tuple[str, ...]],
    storage_bits: int,
) -> Iterator[LayerMeasures]:
    """Measure each of the equal `matrices` as a layer; one seed key each."""
    if len(seed_keys) != len(matrices):
        raise ValueError(f"{len(seed_keys)} seed keys for {len(matrices)} matrices; give one each")
    solved = _solved(matrices, storage_bits, choose_device(options.device))
    for index, (matrix, key) in enumerate(zip(matrices, seed_keys, strict=True)):
        yield measure_layer(
            matrix[None],
            options=options,
            seed_key=key,
            storage_bits=storage_bits,
            solved=None if solved is None else solved[index : index + 1],
        )


def _solved(
    matrices: Sequence[Shaped[torch.Tensor, "rows cols"]], storage_bits: int, device: torch.device
) -> Float64[Doubles, "layers m"] | None:
    """Eigenvalues of every matrix by batched solves; None where each is to be solved by itself."""
    if device.type == "cpu" or len(matrices) < 2 or storage_bits == 64:
        return None
    numel = matrices[0].numel()
    if numel == 0:
        return None
    size = max(1, _BATCH_BYTES // (8 * numel))
    try:
        parts = [
            eigenvalues(
                torch.stack(tuple(matrices[start : start + size])),
                storage_bits=storage_bits,
                device=device,
            )
            for start in range(0, len(matrices), size)
        ]
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return None
    except ValueError:  # a non-finite entry: its matrix fails by itself, the others are measured
        return None
    return np.concatenate(parts)
