"""Statistics of the entries of a layer's matrices: moments, norm, entropy, non-finite count.

One pass in small float64 blocks, so a tensor of any size and type needs no float64 copy. Knows
nothing of spectra. Works where the tensor lives (CPU or CUDA), by the tensor's own methods: its columns
are also read where torch is not loaded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from jaxtyping import Float64, Real

from zoo.columns import NAT, ONE, WEIGHT, Group
from zoo.spectral.arrays import ArrayLike, Doubles, Tensor, Vector
from zoo.spectral.inputs import stack_of

_CPU_BLOCK_ENTRIES = 1 << 15
"""Entries summed at a time on a CPU: 256 KiB of float64, which stay in the cache."""
_CUDA_BLOCK_ENTRIES = 1 << 24
"""Entries summed at a time on a GPU, where a call costs and memory is large: 128 MiB of float64."""
_SMALLEST_FLOAT64 = 5e-324
"""Stands in for |w| = 0 under the logarithm, so that 0 ln 0 = 0."""
_SAFE_RANGE = (2.0**-200, 2.0**200)
"""Where the largest |w| lies between these, fourth powers stay inside float64; else the entries are
scaled first."""


@dataclass(frozen=True, slots=True)
class EntryStatistics(Group):
    """Statistics over all entries of all slices.

    All None when an entry is NaN or Inf, or when there is no entry.
    """

    weight_mean: Annotated[float | None, WEIGHT] = None
    """Mean of the entries."""
    weight_std: Annotated[float | None, WEIGHT] = None
    """Standard deviation of the entries, of the population (divided by their number)."""
    weight_kurtosis: Annotated[float | None, ONE] = None
    """Excess kurtosis of the entries, m₄/m₂² − 3, ≥ −2; NULL for a constant matrix."""
    weight_max_abs: Annotated[float | None, WEIGHT] = None
    """Largest absolute entry."""
    l2_norm: Annotated[float | None, WEIGHT] = None
    """Frobenius norm, √Σw²."""
    abs_weight_entropy: Annotated[float | None, NAT] = None
    """−Σ|w| ln|w|, not normalised, negative when large entries dominate; to 1e-8, or 1e-15 for float64
    weights."""
    non_finite: int = 0
    """Number of NaN and ±Inf entries; no column."""


NOT_ASKED_FOR = EntryStatistics()
"""The statistics of entries that were not looked at, or are not there."""


def entry_statistics(matrices: Tensor | ArrayLike) -> EntryStatistics:
    """Statistics of `matrices` [k, rows, cols] or [rows, cols], any real dtype, strides and scale."""
    matrices = stack_of(matrices).detach()
    if matrices.numel() == 0:
        return NOT_ASKED_FOR
    table = _block_table(matrices, scale=1.0)
    low, high = float(table[:, _LOW].min()), float(table[:, _HIGH].max())
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = sum(int((~block.isfinite()).sum()) for block in _blocks(matrices))
        return EntryStatistics(non_finite=bad)
    max_abs = max(abs(low), abs(high))
    exponent = 0
    if max_abs > 0.0 and not _SAFE_RANGE[0] < max_abs < _SAFE_RANGE[1]:
        exponent = max(math.frexp(max_abs)[1], -1022)  # of subnormals 2^-exponent is no float64
        table = _block_table(matrices, scale=math.ldexp(1.0, -exponent))
    return _merge(table, low=low, high=high, exponent=exponent)


def statistics_of_table(table: BlockTable) -> EntryStatistics | None:
    """The statistics of one matrix from the sums of its blocks; None where they say that entries are not
    finite or have to be scaled first."""
    low, high = float(table[:, _LOW].min()), float(table[:, _HIGH].max())
    max_abs = max(abs(low), abs(high))
    if not math.isfinite(max_abs) or math.isnan(low) or math.isnan(high):
        return None
    if max_abs > 0.0 and not _SAFE_RANGE[0] < max_abs < _SAFE_RANGE[1]:
        return None
    return _merge(table, low=low, high=high, exponent=0)


_COUNT, _MEAN, _M2, _M3, _M4, _ABS, _ENTROPY, _LOW, _HIGH = range(9)
"""Columns of the block table: number of entries, their mean, Σd², Σd³ and Σd⁴ of their distances d
from it, Σ|w|, −Σ|w| ln|w|, smallest, largest."""
BlockTable = Float64[Doubles, "blocks 9"]
"""One row of sums for every block of entries."""


def _blocks(matrices: Tensor) -> Iterator[Tensor]:
    """All entries as small flat float64 tensors; only the block is copied, whatever the strides."""
    limit = _CUDA_BLOCK_ENTRIES if matrices.is_cuda else _CPU_BLOCK_ENTRIES
    if matrices.numel() <= limit:
        yield matrices.double().reshape(-1)
        return
    axis = next(a for a, size in enumerate(matrices.shape) if size > 1)
    size = matrices.shape[axis]
    step = max(1, limit * size // matrices.numel())
    for start in range(0, size, step):
        yield from _blocks(matrices.narrow(axis, start, min(step, size - start)))


def _block_table(matrices: Tensor, *, scale: float) -> BlockTable:
    """One row of sums per block, of the entries times `scale` (a power of two)."""
    if matrices.is_cuda:
        return _cuda_table(matrices, scale=scale)
    is_float64 = matrices.is_floating_point() and matrices.dtype.itemsize == 8
    log_type = np.float64 if is_float64 else np.float32
    # extreme scales are done again, scaled; 0·ln 0 too, where it is met
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return np.stack([_numpy_row(block, scale, log_type) for block in _blocks(matrices)])


def _cuda_table(matrices: Tensor, *, scale: float) -> BlockTable:
    """`_block_table` on the accelerator; one transfer at the end."""
    import torch

    rows: list[torch.Tensor] = []
    for block in _blocks(matrices):
        x = block if scale == 1.0 else block * scale
        low, high = torch.aminmax(x)
        mean = x.mean()
        d = x - mean
        d2 = d * d
        x = x.abs()  # never in place: a float64 block is a view of the weights
        sums = (mean, d2.sum(), torch.dot(d2, d), torch.dot(d2, d2), x.sum())
        entropy = -torch.dot(
            x, torch.log(x.clamp_min(_SMALLEST_FLOAT64))
        )  # half the time of special.entr
        rows.append(torch.stack((*sums, entropy, low, high)))
        rows[-1] = torch.cat((rows[-1].new_full((1,), x.numel()), rows[-1]))
    table: Doubles = torch.stack(rows).cpu().numpy()
    return table


def _numpy_row(
    block: Real[Tensor, " entries"], scale: float, log_type: type[np.floating]
) -> Float64[Doubles, " 9"]:
    """The row of one CPU block; numpy's logarithm takes a fifth of the time of torch's.

    `log_type`: precision of ln|w|; float32 halves the time of the whole row, at 1e-7 of a term.
    """
    x: Vector = block.detach().numpy()
    if scale != 1.0:
        x = x * scale
    low, high = x.min(), x.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        return np.array([x.size, 0, 0, 0, 0, 0, 0, low, high])
    mean = np.add.reduce(x) / x.size
    d = x - mean
    d2 = d * d
    sums = (d @ d, d2 @ d, d2 @ d2)
    size = np.abs(x, out=d)
    total = np.add.reduce(size)
    logs = size.astype(log_type)
    np.log(logs, out=logs)
    entropy = -(size @ logs)
    if not math.isfinite(entropy):
        np.maximum(size, np.finfo(log_type).smallest_subnormal, out=logs, casting="same_kind")
        entropy = -(size @ np.log(logs, out=logs))
    return np.array([x.size, mean, *sums, total, entropy, low, high])


def _merge(table: BlockTable, *, low: float, high: float, exponent: int) -> EntryStatistics:
    """Join the blocks' central moments about the common mean (Pébay 2008) and undo the scaling."""
    counts, means = table[:, _COUNT], table[:, _MEAN]
    total = float(counts.sum())
    mean = float(counts @ means) / total
    d = means - mean
    m2_blocks, m3_blocks, m4_blocks = table[:, _M2], table[:, _M3], table[:, _M4]
    m2 = float(np.sum(m2_blocks + counts * d**2)) / total
    m4 = float(np.sum(m4_blocks + 4 * d * m3_blocks + 6 * d**2 * m2_blocks + counts * d**4)) / total
    constant = low == high
    if constant:
        mean, m2 = math.ldexp(low, -exponent), 0.0
    absolute = float(table[:, _ABS].sum())
    entropy = float(table[:, _ENTROPY].sum()) - exponent * math.log(2.0) * absolute
    return EntryStatistics(
        weight_mean=_unscaled(mean, exponent),
        weight_std=_unscaled(math.sqrt(m2), exponent),
        weight_kurtosis=None if constant or m2 <= 0.0 else max(m4 / m2**2 - 3.0, -2.0),
        weight_max_abs=max(abs(low), abs(high)),
        l2_norm=_unscaled(math.sqrt(total * (m2 + mean**2)), exponent),
        abs_weight_entropy=_unscaled(entropy, exponent),
        non_finite=0,
    )


def _unscaled(value: float, exponent: int) -> float | None:
    """value·2^exponent; None when it leaves the range of float64."""
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return None
