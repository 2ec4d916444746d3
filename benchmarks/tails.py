"""Known answers for the power-law fit: bias and coverage on planted samples, and speed.

    python -m benchmarks.tails [--draws 200] [--json FILE]

Samples follow Clauset, Shalizi and Newman (2009), section 3: a power law from xmin = 1 with the
tail size given, above a body of as many values that is not one (uniform on [0.2, 1)), so that xmin
has to be found. `bias` is the mean of alpha − truth, `coverage` the share of draws with |alpha −
truth| ≤ 2 stderr; the standard error takes xmin as known, so some loss against 95 % is expected.
`known xmin` repeats both with the tail alone and xmin given.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from zoo.spectral.bootstrap import goodness_of_fit
from zoo.spectral.tail_models import fit_tail_models
from zoo.spectral.tail_start import tail_alpha
from zoo.spectral.tails import TailFit, fit_tail

ALPHAS = (1.5, 2.0, 2.5, 3.0, 4.0, 6.0)
TAILS = (50, 200, 1000, 5000)


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table."""

    alpha: float
    num_tail: int
    bias: float
    spread: float
    """Standard deviation of alpha over draws."""
    mean_stderr: float
    coverage: float
    xmin_bias: float
    known_bias: float
    known_coverage: float


def sample(alpha: float, num_tail: int, rng: np.random.Generator) -> np.ndarray:
    """A tail x ≥ 1 above as many body values on [0.2, 1), ascending."""
    tail = np.exp(rng.standard_exponential(num_tail) / (alpha - 1.0))
    return np.sort(np.concatenate((rng.uniform(0.2, 1.0, num_tail), tail)))


def run_case(alpha: float, num_tail: int, draws: int) -> Case:
    """Bias and coverage over `draws` seeded samples."""
    rng = np.random.default_rng([int(10 * alpha), num_tail])
    fitted, errors, xmins, known = [], [], [], []
    for _ in range(draws):
        x = sample(alpha, num_tail, rng)
        fit = fit_tail(x, m=x.size, storage_bits=64)
        if not isinstance(fit, TailFit):
            raise SystemExit(f"no fit for alpha {alpha}, tail {num_tail}: {fit}; wanted one")
        fitted.append(fit.alpha)
        errors.append(fit.alpha_stderr)
        xmins.append(fit.xmin)
        known.append(tail_alpha(np.concatenate(([1.0], x[num_tail:]))))
    a, e, k = np.array(fitted), np.array(errors), np.array(known)
    k_error = (k - 1.0) / math.sqrt(num_tail)
    return Case(
        alpha=alpha,
        num_tail=num_tail,
        bias=float(np.mean(a) - alpha),
        spread=float(np.std(a)),
        mean_stderr=float(np.mean(e)),
        coverage=float(np.mean(np.abs(a - alpha) <= 2.0 * e)),
        xmin_bias=float(np.mean(xmins) - 1.0),
        known_bias=float(np.mean(k) - alpha),
        known_coverage=float(np.mean(np.abs(k - alpha) <= 2.0 * k_error)),
    )


def milliseconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Fastest of a few runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def timings() -> dict[str, float]:
    """Milliseconds of the parts of the tail analysis, one thread."""
    rng = np.random.default_rng(0)
    result = {}
    for m in (384, 1024, 4096, 16384):
        for name, x in (
            ("power law", np.sort(np.exp(rng.standard_exponential(m) / 1.5))),
            ("lognormal", np.sort(rng.lognormal(0, 2, m))),
        ):
            result[f"fit m={m} {name}"] = milliseconds(
                lambda x=x: fit_tail(x, m=x.size, storage_bits=32)  # type: ignore[misc]
            )
    tail = np.sort(np.exp(rng.standard_exponential(2000) / 1.5))
    result["TPL, lognormal, exponential on 2000"] = milliseconds(lambda: fit_tail_models(tail))
    x = np.sort(rng.lognormal(0, 2, 384))
    fit = fit_tail(x, m=384, storage_bits=32)
    if isinstance(fit, TailFit):
        result["bootstrap, 100 draws of 384"] = milliseconds(
            lambda: goodness_of_fit(
                x, fit, m=384, storage_bits=32, num_draws=100, rng=np.random.default_rng(1)
            )
        )
    return result


def main() -> int:
    """Print the table and the timings; optionally keep them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--draws", type=int, default=200, help="samples a case")
    parser.add_argument("--json", help="also write the numbers to this file")
    options = parser.parse_args()

    print(
        "| alpha | tail | bias | spread | stderr | coverage | xmin bias | known: bias | coverage |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    cases = []
    for alpha in ALPHAS:
        for num_tail in TAILS:
            case = run_case(alpha, num_tail, options.draws)
            cases.append(case)
            print(
                f"| {alpha} | {num_tail} | {case.bias:+.4f} | {case.spread:.4f} "
                f"| {case.mean_stderr:.4f} | {case.coverage:.0%} | {case.xmin_bias:+.3f} "
                f"| {case.known_bias:+.4f} | {case.known_coverage:.0%} |",
                flush=True,
            )
    print()
    times = timings()
    for name, value in times.items():
        print(f"{name}: {value:.2f} ms")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"cases": [asdict(c) for c in cases], "ms": times}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
