"""Calibration of the trap test: false alarms on noise, power against one planted entry.

    python -m benchmarks.calibration [--draws 300] [--shapes 200x50,300x300,...] [--png FILE]

False alarms: the share of noise matrices in which a shuffle shows at least one trap, ours at level
0.01 beside WeightWatcher's rule (its margin on its own fit), with the binomial band of 300 draws at
0.01 (95 %: 0 to 2.3 %). Power: one entry planted in noise whose predicted eigenvalue
(θ² + 1)(θ² + γ)/θ² lies z Tracy-Widom units above Johnstone's centre; share of draws in which it is
found.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.stats import binom

from zoo.spectral.arrays import Vector
from zoo.spectral.bulk_entries import Moments
from zoo.spectral.incumbent import incumbent_fit
from zoo.spectral.replicate import EntryFacts, measure_full
from zoo.spectral.shuffle import Permutation
from zoo.spectral.tracy_widom import johnstone

LAWS: dict[str, Callable[[np.random.Generator, tuple[int, int]], Vector]] = {
    "gaussian": lambda rng, shape: rng.standard_normal(shape),
    "uniform": lambda rng, shape: rng.uniform(-1.0, 1.0, shape) * math.sqrt(3.0),
    "rademacher": lambda rng, shape: rng.integers(0, 2, shape) * 2.0 - 1.0,
    "laplace": lambda rng, shape: rng.laplace(size=shape) / math.sqrt(2.0),
}
UNITS = (0.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0)
_LEVEL = 0.01


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one matrix gave under both rules."""

    ours: bool
    incumbent: bool
    standardised: float
    """Largest shuffled eigenvalue in Tracy-Widom units, ours."""


def shuffle_once(w: Vector, seed: int) -> Outcome:
    """One shuffle of one matrix, tested by both rules."""
    n, m = w.shape
    centred = w.ravel() - w.mean()
    variance = float((centred**2).mean())
    kurtosis = float((centred**4).mean()) / variance**2 - 3.0
    moments = Moments(float(w.mean()), variance, kurtosis)
    shuffled = measure_full(
        torch.from_numpy(w.astype(np.float32))[None],
        (Permutation(seed, w.size),),
        entries=EntryFacts(float(np.abs(w).max()), moments, 0),
        bulks=None,
        level=_LEVEL,
        keep=False,
        device=torch.device("cpu"),
    )
    if shuffled.test is None or shuffled.evals is None:
        raise AssertionError("noise always has a bulk")
    fit = incumbent_fit(shuffled.evals[0], n=n, m=m)
    theirs = fit is not None and fit.num_spikes > 0
    test = shuffled.test
    return Outcome(bool(test.traps), theirs, test.slices[0].max_standardised)


def planted_size(n: int, m: int, units: float) -> float:
    """The entry whose predicted eigenvalue lies `units` above the centre (smallest: γ^¼√n)."""
    gamma, law = m / n, johnstone(n, m)
    goal = (law.centre + units * law.scale) / n
    least = math.sqrt(gamma)
    if (least + 1) * (least + gamma) / least >= goal:
        return math.sqrt(least * n)
    theta_sq = brentq(lambda t: (t + 1) * (t + gamma) / t - goal, least, 1e4)
    return math.sqrt(theta_sq * n)


def draw(law: str, n: int, m: int, units: float | None, draws: int) -> list[Outcome]:
    """`draws` matrices of one law, with one planted entry unless `units` is None."""
    rng = np.random.default_rng([n, m, int(10 * (units or 0.0)), len(law)])
    outcomes = []
    for seed in range(draws):
        w = LAWS[law](rng, (n, m))
        if units is not None:
            w[rng.integers(n), rng.integers(m)] = planted_size(n, m, units)
        outcomes.append(shuffle_once(w, seed))
    return outcomes


def share(outcomes: list[Outcome], rule: Callable[[Outcome], bool]) -> float:
    """Percentage of outcomes for which the rule holds."""
    return 100.0 * sum(rule(o) for o in outcomes) / len(outcomes)


def false_alarms(shapes: list[tuple[int, int]], draws: int) -> None:
    """Print the table of false alarms."""
    most = 100.0 * binom.ppf(0.975, draws, _LEVEL) / draws
    print(f"False alarms of {draws} draws, % (band at level 0.01: 0 to {most:.1f})\n")
    print("| n x m | entries | ours | WeightWatcher's rule | mean λ_max, TW units (TW: −1.21) |")
    print("| --- | --- | --- | --- | --- |")
    for n, m in shapes:
        for law in LAWS:
            outcomes = draw(law, n, m, None, draws)
            ours = share(outcomes, lambda o: o.ours)
            theirs = share(outcomes, lambda o: o.incumbent)
            mean = float(np.mean([o.standardised for o in outcomes]))
            print(f"| {n}x{m} | {law} | {ours:.1f} | {theirs:.1f} | {mean:.2f} |", flush=True)
    print()


def power(
    shapes: list[tuple[int, int]], draws: int, units: tuple[float, ...]
) -> dict[tuple[int, int], list[tuple[float, float]]]:
    """Print the table of power on Gaussian matrices; (ours, theirs) in % by shape and units."""
    curves: dict[tuple[int, int], list[tuple[float, float]]] = {}
    print(f"Power, % of {draws} Gaussian draws (ours / WeightWatcher's rule)\n")
    print("| n x m | " + " | ".join(f"{z:g} units" for z in units) + " |")
    print("| --- |" + " --- |" * len(units))
    for n, m in shapes:
        row = []
        for z in units:
            outcomes = draw("gaussian", n, m, z, draws)
            theirs = share(outcomes, lambda o: o.incumbent)
            row.append((share(outcomes, lambda o: o.ours), theirs))
        curves[n, m] = row
        cells = " | ".join(f"{a:.0f} / {b:.0f}" for a, b in row)
        print(f"| {n}x{m} | {cells} |", flush=True)
    print()
    return curves


def picture(
    curves: dict[tuple[int, int], list[tuple[float, float]]], units: tuple[float, ...], path: str
) -> None:
    """Power against the size of the planted entry, ours solid, WeightWatcher's rule dashed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")
    for index, ((n, m), row) in enumerate(curves.items()):
        colour = f"C{index}"
        axes.plot(units, [a for a, _ in row], "o-", color=colour, label=f"{n} x {m}")
        axes.plot(units, [b for _, b in row], "s--", color=colour, alpha=0.6)
    axes.axhline(93.0, color="0.7", linewidth=0.8)
    axes.set_xlabel("predicted eigenvalue of the planted entry, Tracy-Widom units above centre")
    axes.set_ylabel("found, % of draws")
    axes.set_title("One planted entry: ours solid, WeightWatcher's rule dashed", fontsize=10)
    axes.set_ylim(-3, 103)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)


def parse_shapes(text: str) -> list[tuple[int, int]]:
    """`200x50,300x300` as pairs."""
    pairs = (item.split("x") for item in text.split(","))
    return [(int(n), int(m)) for n, m in pairs]


def main() -> None:
    """Print both tables and write the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--shapes", default="200x50,300x300,800x200,1000x100,2000x500")
    parser.add_argument("--power-shapes", default="200x50,300x300,800x200")
    parser.add_argument("--png")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.shapes:
        false_alarms(parse_shapes(arguments.shapes), arguments.draws)
    curves = power(parse_shapes(arguments.power_shapes), arguments.draws, UNITS)
    if arguments.png:
        picture(curves, UNITS, arguments.png)


if __name__ == "__main__":
    main()
