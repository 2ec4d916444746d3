"""The rule of `replicates = "auto"`: false alarms on noise, power against one planted entry, shuffles spent.

    python -m benchmarks.replicates [--draws 300]

A layer is called trapped when its `trap_p_value`, combined over the replicates, is at most 0.01. Beside
it: the share of layers with a trap in any replicate, the mean number of shuffles, and the same for
one shuffle and for five. The planted entry's predicted eigenvalue lies so many Tracy-Widom units above
the centre of the law (`benchmarks.calibration`).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from benchmarks.calibration import LAWS, planted_size
from zoo.measure.layer import measure_layer
from zoo.options import AnalysisOptions

LEVEL = 0.01
COUNTS: tuple[int | Literal["auto"], ...] = ("auto", 1, 5)
SHAPES = ((200, 50), (300, 300), (400, 200), (800, 200))


@dataclass(frozen=True, slots=True)
class Tally:
    """What a number of layers of one kind gave, as shares and a mean."""

    significant: float
    """Share with trap_p_value ≤ LEVEL."""
    any_trap: float
    """Share with num_traps > 0."""
    shuffles: float
    """Mean number of replicates."""


def tally(
    law: str, n: int, m: int, units: float | None, draws: int, replicates: int | Literal["auto"]
) -> Tally:
    """Measure `draws` matrices of a law, with an entry planted `units` above the centre or none."""
    rng = np.random.default_rng([n, m, int(10 * (units or 0.0)), len(law)])
    options = AnalysisOptions(replicates=replicates, modes=False, incumbent=False)
    rows = []
    for number in range(draws):
        w = LAWS[law](rng, (n, m))
        if units is not None:
            w[rng.integers(n), rng.integers(m)] = planted_size(n, m, units)
        matrix = torch.from_numpy(w.astype(np.float32))[None]
        key = ("w", "", "", str(number))
        rows.append(measure_layer(matrix, options=options, seed_key=key, storage_bits=32).columns)
    p_values = np.array([row["trap_p_value"] for row in rows], dtype=float)
    traps = np.array([row["num_traps"] for row in rows], dtype=float)
    lengths = [len(row["trap_counts"]) for row in rows]  # type: ignore[arg-type]
    return Tally(
        float((p_values <= LEVEL).mean()), float((traps > 0).mean()), float(np.mean(lengths))
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=300)
    draws = parser.parse_args().draws
    print(
        f"{draws} draws a row; p: share with trap_p_value <= {LEVEL}, any: with num_traps > 0, %\n"
    )
    print(
        "| n x m | entries | planted, TW units | auto: p | any | shuffles | one: p | five: p | any |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    cases = [(law, None) for law in LAWS] + [("gaussian", 6.0), ("gaussian", 8.0)]
    for n, m in SHAPES:
        for law, units in cases:
            auto, one, five = (tally(law, n, m, units, draws, count) for count in COUNTS)
            planted = "none" if units is None else f"{units:g}"
            print(
                f"| {n}x{m} | {law} | {planted} | {100 * auto.significant:.1f} "
                f"| {100 * auto.any_trap:.1f} | {auto.shuffles:.2f} | {100 * one.significant:.1f} "
                f"| {100 * five.significant:.1f} | {100 * five.any_trap:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
