"""Threads that shuffle and measure at a time on the CPU: seconds, and how much faster than one.

    python -m benchmarks.threads [THREADS]

Shuffles of 2,880-square float32 matrices, and whole layers of 768 square through `measure_layers`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from zoo.machine.threads import set_threads
from zoo.measure.batch import measure_layers
from zoo.options import AnalysisOptions
from zoo.spectral.shuffle import Permutation


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of `work`."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def shuffled(number: int) -> None:
    """One permutation of eight million entries."""
    entries = 2880 * 2880
    Permutation(number, entries).apply(np.zeros(entries, dtype=np.float32))


def layers(count: int) -> None:
    """`count` equal layers."""
    stack = torch.randn((count, 768, 768), generator=torch.Generator().manual_seed(1))
    keys = [("bench", "", str(number), "768x768") for number in range(count)]
    options = AnalysisOptions(device="cpu")
    for _ in measure_layers(list(stack), options=options, seed_keys=keys, storage_bits=32):
        pass


def main() -> None:
    """Print a line a kind of work."""
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 16
    set_threads(1)
    shuffled(0)
    alone = seconds(lambda: [shuffled(number) for number in range(threads)])
    with ThreadPoolExecutor(threads) as pool:
        together = seconds(lambda: list(pool.map(shuffled, range(threads))))
    print(
        f"{threads} shuffles: {alone:.2f} s, on {threads} threads {together:.2f} s: {alone / together:.1f} times"
    )
    layers(2)
    alone = seconds(lambda: layers(2 * threads))
    set_threads(threads)
    together = seconds(lambda: layers(2 * threads))
    print(
        f"{2 * threads} layers: {alone:.2f} s, on {threads} threads {together:.2f} s: {alone / together:.1f} times"
    )


if __name__ == "__main__":
    main()
