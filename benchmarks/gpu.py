"""A GPU against itself: the whole analysis of large experts, beside a plain `eigvalsh` loop.

    python -m benchmarks.gpu [--count 8]

Batches of 2880x2880 and 5760x2880 matrices (the experts of a 120-billion-parameter MoE): amortised
milliseconds a matrix for every column (own spectrum, top of the shuffle, traps) through
`measure_layers`, and for `torch.linalg.eigvalsh(w.T @ w)` in float64 and float32, one matrix at a
time. Aim: 120 ms or less on an H100. Without a CUDA device it says so and measures nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from zoo.measure.batch import measure_layers
from zoo.options import AnalysisOptions

SHAPES = ((2880, 2880), (5760, 2880))


def milliseconds(work: Callable[[], object], count: int) -> float:
    """Wall milliseconds a matrix, after one warm-up."""
    work()
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start) / count


def plain_loop(stack: torch.Tensor, dtype: torch.dtype) -> None:
    """What one would write first."""
    for matrix in stack:
        w = matrix.to("cuda", dtype)
        torch.linalg.eigvalsh(w.T @ w).cpu()


def main() -> None:
    """Print one row a shape."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=8)
    count = parser.parse_args().count
    if not torch.cuda.is_available():
        print("unmeasured: this machine has no CUDA device")
        return
    options = AnalysisOptions(device="cuda")
    print(f"device: {torch.cuda.get_device_name(0)}\n")
    print("| shape | whole analysis ms | eigvalsh loop float64 ms | float32 ms |")
    print("| --- | --- | --- | --- |")
    for rows, cols in SHAPES:
        stack = torch.randn((count, rows, cols), dtype=torch.float32).to(torch.bfloat16)
        keys = [("bench", "experts", "", str(i)) for i in range(count)]

        def whole(stack: torch.Tensor = stack, keys: list[tuple[str, ...]] = keys) -> None:
            for _ in measure_layers(list(stack), options=options, seed_keys=keys, storage_bits=32):
                pass

        loops = [
            milliseconds(lambda s=stack, d=dtype: plain_loop(s, d), count)
            for dtype in (torch.float64, torch.float32)
        ]
        ours = milliseconds(whole, count)
        print(f"| {rows}x{cols} | {ours:.0f} | {loops[0]:.0f} | {loops[1]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
