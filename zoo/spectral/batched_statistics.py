"""Statistics of the entries of many equal matrices at once, where they lie, in float64.

The sums of `diagnostics` and `bulk_entries`, taken over a whole batch with one wait for the device each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Real

from zoo.spectral.arrays import Doubles
from zoo.spectral.batch_sizes import BLOCK_BYTES
from zoo.spectral.bulk_entries import (
    SAMPLE_ENTRIES,
    Moments,
    bulk_from_sums,
    cut_beyond,
    quantile_places,
    without_extremes,
)
from zoo.spectral.diagnostics import EntryStatistics, entry_statistics, statistics_of_table
from zoo.spectral.trap_test import BulkEntries

_SMALLEST_FLOAT64 = 5e-324
"""Stands in for |w| = 0 under the logarithm, so that 0 ln 0 = 0."""


def statistics_of(stack: Real[torch.Tensor, "k rows cols"]) -> list[EntryStatistics]:
    """`entry_statistics` of every matrix of a contiguous `stack`."""
    k = stack.shape[0]
    flat = stack.reshape(k, -1)
    table: Float64[Doubles, "k blocks 9"] = _table(flat).cpu().numpy()
    merged: list[EntryStatistics] = []
    for index in range(k):
        known = statistics_of_table(table[index])
        # NaN, Inf, and numbers whose fourth powers leave float64: by itself
        merged.append(entry_statistics(stack[index]) if known is None else known)
    return merged


def _table(flat: Real[torch.Tensor, "k entries"]) -> Float64[torch.Tensor, "k blocks 9"]:
    """Sums of each block of each matrix, in the order of `diagnostics.BlockTable`."""
    k, entries = flat.shape
    most = max(1, BLOCK_BYTES // 8)
    blocks = -(-entries // most)
    width = -(-entries // blocks)
    together = max(1, most // width)
    rows: list[torch.Tensor] = []
    for start in range(0, k, together):
        chosen = flat[start : start + together]
        parts = [_sums(part.to(torch.float64)) for part in torch.split(chosen, width, dim=1)]
        rows.append(torch.stack(parts, dim=1))
    return torch.cat(rows)


def _sums(x: Float64[torch.Tensor, "k entries"]) -> Float64[torch.Tensor, "k 9"]:
    low, high = torch.aminmax(x, dim=1)
    mean = x.mean(dim=1)
    d = x - mean[:, None]
    d2 = d * d
    m2, m3, m4 = d2.sum(dim=1), torch.linalg.vecdot(d2, d), torch.linalg.vecdot(d2, d2)
    size = x.abs()
    entropy = -torch.linalg.vecdot(size, d.copy_(size).clamp_min_(_SMALLEST_FLOAT64).log_())
    count = torch.full_like(mean, x.shape[1])
    return torch.stack((count, mean, m2, m3, m4, size.sum(dim=1), entropy, low, high), dim=1)


def bulks_of(
    shuffled: Real[torch.Tensor, "k rows cols"],
    *,
    max_abs: Sequence[float],
    moments: Sequence[Moments | None],
) -> list[BulkEntries]:
    """`bulk_entries` of every shuffled matrix of a contiguous stack; see there."""
    k = shuffled.shape[0]
    flat = shuffled.reshape(k, -1)
    size = flat.shape[1]
    is_plain = np.array([0.0 < largest < math.inf for largest in max_abs])
    scale = torch.tensor(
        [v if ok else 1.0 for v, ok in zip(max_abs, is_plain, strict=True)],
        dtype=torch.float64,
        device=flat.device,
    )
    sample = flat[:, :SAMPLE_ENTRIES].to(torch.float64) / scale[:, None]
    shifts: Doubles = sample.mean(dim=1).cpu().numpy()
    cuts = np.full(k, math.inf)
    places = quantile_places(sample.shape[1])
    if places is not None:
        far, near = places
        ordered = sample.abs_().sort(dim=1).values
        ends: Doubles = ordered[:, [-near, -far]].cpu().numpy()
        for index, (low, high) in enumerate(ends.tolist()):
            cuts[index] = cut_beyond(
                low, high, far=far, near=near, sampled=sample.shape[1], size=size
            )
    cuts = np.minimum(cuts, 1.0)
    beyond = np.where((cuts < 1.0) & is_plain, cuts * np.array(max_abs), math.inf)
    large = _beyond(flat, beyond)
    bulks: list[BulkEntries] = []
    for index in range(k):
        known = moments[index]
        bulk = None
        if not is_plain[index]:
            bulk = BulkEntries(0.0, 0.0)
        elif known is not None and cuts[index] >= 1.0:
            bulk = BulkEntries(known.kurtosis, 0.0)
        elif known is not None:
            bulk = without_extremes(large[index], size, known)
        bulks.append(
            bulk
            or _from_sums(
                flat[index],
                scale=float(max_abs[index]),
                cut=float(cuts[index]),
                shift=float(shifts[index]),
            )
        )
    return bulks


def _beyond(flat: Real[torch.Tensor, "k entries"], limits: Doubles) -> list[Doubles]:
    """The entries of every matrix with |w| above its limit, in float64."""
    k, entries = flat.shape
    large: list[Doubles] = []
    step = max(1, BLOCK_BYTES // (8 * entries))
    wide = torch.float64 if flat.dtype == torch.float64 else torch.float32
    for start in range(0, k, step):
        block = flat[start : start + step]
        limit = torch.as_tensor(limits[start : start + step], device=flat.device).to(wide)
        mask: Bool[torch.Tensor, "some entries"] = block.abs().to(wide) > limit[:, None]
        counts = mask.sum(dim=1).cpu().tolist()
        values: Doubles = block[mask].to(torch.float64).cpu().numpy()
        large += np.split(values, np.cumsum(counts)[:-1])
    return large


def _from_sums(
    entries: Real[torch.Tensor, " entries"], *, scale: float, cut: float, shift: float
) -> BulkEntries:
    """`bulk_entries` of one matrix by the moments of all entries within the cut."""
    count, sums, extreme, inside = 0, np.zeros(4), 0.0, 0.0
    for part in torch.split(entries, max(1, BLOCK_BYTES // 16)):
        block: Float[torch.Tensor, " part"] = part.to(torch.float64) / scale
        kept = block.abs() <= cut if cut < 1.0 else torch.ones_like(block, dtype=torch.bool)
        beyond = block.masked_fill(kept, 0.0)
        within = block.masked_fill(~kept, 0.0)
        d = (block - shift).masked_fill_(~kept, 0.0)
        squares = d * d
        told = torch.stack(
            (
                kept.sum().to(torch.float64),
                torch.dot(beyond, beyond),
                torch.dot(within, within),
                d.sum(),
                squares.sum(),
                torch.dot(squares, d),
                torch.dot(squares, squares),
            )
        )
        values: Doubles = told.cpu().numpy()
        count += int(values[0])
        extreme += float(values[1])
        inside += float(values[2])
        sums += values[3:]
    return bulk_from_sums(count, sums, extreme=extreme, inside=inside, shift=shift)
