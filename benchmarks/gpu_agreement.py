"""An accelerator against the processor: every column of 300 layers of all kinds, and the trap test by both kinds of
permutation: false alarms on noise, and planted traps that are noticed.

The processor replays the accelerator's permutations for the columns, in as many processes as there are cores; for the
counts it draws its own.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import torch
from scipy.stats import binom

from benchmarks.gpu_bars import Bar, Section
from zoo.cells import cells
from zoo.measure.batch import measure_layers
from zoo.measure.layer import measure_layer
from zoo.options import AnalysisOptions

_SEEDS = 8
_UNLIKE = {"spectrum_s", "shuffle_s", "total_s", "device", "solver", "permutation", "batch_size"}
"""Columns that say how, not what."""
_LOOSE = {
    "lambda_min": math.inf,  # of singular matrices: rounding
    "localisation_q": 1e-2, "ipr_left": 1e-2, "ipr_right": 1e-2, "participation_ratio": 1e-2,
    "top_overlap": 1e-2,
}  # fmt: skip
"""Relative tolerance where it is another than 1e-3: of vectors that are found by iteration."""
_NOISE, _PLANTED, _SIDE = 1000, 200, 128
_LEVEL = 0.01
_COLUMNS = Bar("columns beyond the accuracy bar, 300 layers of all kinds", 0, "cells")
_ALARMS = Bar(
    "false alarms in 1,000 noise matrices, outside the binomial band (99.9 %)", 0, "kinds"
)
_POWER = Bar("planted traps noticed, difference of the kinds in standard errors", 3.3, "σ")


def layers(seed: int) -> Iterator[tuple[str, torch.Tensor]]:
    """About forty layers by kind, equal ones in one stack."""
    draw = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw) / shape[-1] ** 0.5

    heavy = noise(3, 120, 80)
    spiked = noise(5, 240, 120)
    spiked[0, 7, 9] = 4.0
    spiked[1, 100, 3] = -6.0
    spiked[2] += 0.02
    spiked[3] += 0.4 * noise(240, 1) @ noise(1, 120)
    degenerate = torch.zeros(4, 60, 40)
    degenerate[1] = 0.25
    degenerate[2] = noise(60, 5) @ noise(5, 40)
    degenerate[3, 5, 5] = 1.0
    scaled = noise(3, 90, 70)
    scaled[1] *= 2.0**-70
    scaled[2] *= 2.0**90
    broken = noise(3, 64, 64)
    broken[1, 3, 3] = math.nan
    yield "square noise", noise(4, 128, 128)
    yield "bfloat16", noise(3, 150, 110).to(torch.bfloat16)
    yield "float16", noise(3, 110, 150).to(torch.float16)
    yield "float64", noise(2, 90, 60).double()
    yield "wide", noise(3, 40, 300)
    yield "tiny", noise(4, 12, 8)
    yield "vectors", noise(2, 1, 50)
    yield "heavy tails", heavy.sign() * heavy.abs() ** 3 * 4
    yield "planted traps", spiked
    yield "degenerate", degenerate
    yield "extreme scales", scaled
    yield "not finite", broken
    yield "correlated", noise(2, 200, 150) @ torch.diag(torch.linspace(0.01, 1, 150) ** 2)
    if seed % 4 == 0:
        large = noise(2, 700, 640)
        large[0, 3, 4] = 5.0
        yield "large", large


def _key(name: str, seed: int, number: int) -> tuple[str, ...]:
    return (name, "", f"{seed}-{number}", "shape")


Row = tuple[dict[str, Any], list[dict[str, Any]]]
"""The columns of a layer, and of its traps."""


def _bits(stack: torch.Tensor) -> int:
    return 64 if stack.dtype == torch.float64 else 32


def on_cpu(seed: int) -> dict[tuple[str, int, int], Row]:
    """The layers of a seed one by one, with the accelerator's permutations. Body of a process."""
    from zoo.measure import shuffles

    of = shuffles.Permutation.of

    def replayed(*arguments: Any, **named: Any) -> Any:
        return of(*arguments, **{**named, "kind": "philox"})

    shuffles.Permutation.of = replayed  # type: ignore[method-assign,assignment]
    torch.set_num_threads(1)
    rows: dict[tuple[str, int, int], Row] = {}
    try:
        for name, stack in layers(seed):
            for number, matrix in enumerate(stack):
                measures = measure_layer(
                    matrix[None],
                    options=AnalysisOptions(device="cpu"),
                    seed_key=_key(name, seed, number),
                    storage_bits=_bits(stack),
                )
                rows[name, seed, number] = (
                    dict(measures.columns),
                    [dict(cells(trap)) for trap in measures.traps],
                )
    finally:
        shuffles.Permutation.of = of  # type: ignore[method-assign]
    return rows


def on_device(seed: int, device: str) -> dict[tuple[str, int, int], Row]:
    """The same in batches."""
    rows: dict[tuple[str, int, int], Row] = {}
    for name, stack in layers(seed):
        found = measure_layers(
            list(stack),
            options=AnalysisOptions(device=device),
            seed_keys=[_key(name, seed, number) for number in range(len(stack))],
            storage_bits=_bits(stack),
        )
        for number, measures in enumerate(found):
            rows[name, seed, number] = (
                dict(measures.columns),
                [dict(cells(trap)) for trap in measures.traps],
            )
    return rows


def unlike(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Columns that differ by more than the bar, with both values."""
    for column in ours.keys() - _UNLIKE:
        mine, other = ours[column], theirs[column]
        if isinstance(mine, float) and isinstance(other, float):
            rel = _LOOSE.get(column, 1e-4 if column == "ks_distance" else 1e-3)
            if (
                not math.isclose(mine, other, rel_tol=min(rel, 1e300), abs_tol=1e-6)
                and rel < math.inf
            ):
                yield column, mine, other
        elif mine != other:
            yield column, mine, other


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(max(1, (os.cpu_count() or 2) - 2), mp_context=get_context("spawn"))


def compare(device: str, seeds: int) -> tuple[int, list[str]]:
    """Cells that differ, and lines that say which."""
    with _pool() as pool:
        of_cpu = pool.map(on_cpu, range(seeds))
        here = {
            place: row for seed in range(seeds) for place, row in on_device(seed, device).items()
        }
        there = {place: row for rows in of_cpu for place, row in rows.items()}
    worst: Counter[str] = Counter()
    lines: list[str] = []
    for place, (columns, traps) in here.items():
        reference, their_traps = there[place]
        found = list(unlike(columns, reference))
        if len(traps) != len(their_traps):
            found.append(("(number of traps)", len(traps), len(their_traps)))
        for one, other in zip(traps, their_traps, strict=False):
            found += [(f"trap.{c}", a, b) for c, a, b in unlike(one, other)]
        for column, mine, other in found:
            worst[column] += 1
            if worst[column] <= 3:
                lines.append(f"- {place} `{column}`: {mine!r}, on the processor {other!r}")
    lines.insert(0, f"- {len(here)} layers; by column: {dict(worst.most_common(12))}")
    return sum(worst.values()), lines


def noise(seed: int, entry: float | None) -> torch.Tensor:
    """A square noise matrix, perhaps with one entry of `entry` times the root of the side."""
    matrix = torch.randn(_SIDE, _SIDE, generator=torch.Generator().manual_seed(seed))
    if entry is not None:
        matrix[3, 5] = entry * _SIDE**0.5
    return matrix


_ENTRY = 1.2
"""Of a planted trap: it is noticed in some of the matrices, not in all."""


def counted_on_cpu(seeds: tuple[int, int], *, entry: float | None) -> int:
    """Matrices with a trap among the seeds, by the processor's own permutations."""
    torch.set_num_threads(1)
    options = AnalysisOptions(device="cpu", modes=False)
    return sum(
        bool(
            measure_layer(
                noise(seed, entry)[None],
                options=options,
                seed_key=("alarm", "", str(seed), ""),
                storage_bits=32,
            ).columns["num_traps"]
        )
        for seed in range(*seeds)
    )


def counted_on_device(count: int, first: int, *, entry: float | None, device: str) -> int:
    """The same by the accelerator's."""
    found = measure_layers(
        [noise(seed, entry) for seed in range(first, first + count)],
        options=AnalysisOptions(device=device, modes=False),
        seed_keys=[("alarm", "", str(seed), "") for seed in range(first, first + count)],
        storage_bits=32,
    )
    return sum(bool(measures.columns["num_traps"]) for measures in found)


def counts(device: str, num_noise: int, num_planted: int) -> dict[str, tuple[int, int]]:
    """Matrices with a trap, among noise and among planted, by kind of permutation."""
    cases = ((num_noise, 10_000, None), (num_planted, 90_000, _ENTRY))
    step = 50
    with _pool() as pool:
        there = []
        for count, first, entry in cases:
            spans = [
                (at, min(at + step, first + count)) for at in range(first, first + count, step)
            ]
            there.append(pool.map(partial(counted_on_cpu, entry=entry), spans))
        philox = [counted_on_device(n, at, entry=e, device=device) for n, at, e in cases]
        fisher_yates = [sum(span) for span in there]
    return {
        "philox": (philox[0], philox[1]),
        "fisher_yates": (fisher_yates[0], fisher_yates[1]),
    }


def _agreement() -> tuple[list[Bar], list[str]]:
    cells_apart, lines = compare("cuda", _SEEDS)
    return [_COLUMNS.at(cells_apart)], lines


def _alarms() -> tuple[list[Bar], list[str]]:
    by_kind = counts("cuda", _NOISE, _PLANTED)
    low, high = (int(end) for end in binom.interval(0.999, _NOISE, _LEVEL))
    outside = sum(not low <= alarms <= high for alarms, _ in by_kind.values())
    shares = [noticed / _PLANTED for _, noticed in by_kind.values()]
    mean = sum(shares) / 2
    error = math.sqrt(max(2 * mean * (1 - mean) / _PLANTED, 1e-12))
    notes = [
        f"- {kind}: {alarms} false alarms in {_NOISE} (band {low} to {high}); {noticed} of {_PLANTED} "
        "planted traps noticed"
        for kind, (alarms, noticed) in by_kind.items()
    ]
    return [_ALARMS.at(outside), _POWER.at(abs(shares[0] - shares[1]) / error)], notes


AGREEMENT = Section("agreement", (_COLUMNS,), _agreement, 25)
ALARMS = Section("alarms", (_ALARMS, _POWER), _alarms, 25)
