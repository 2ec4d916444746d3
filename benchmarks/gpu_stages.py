"""Where the time of a batch goes on an accelerator: milliseconds a matrix, stage by stage.

    python -m benchmarks.gpu_stages [ROWSxCOLSxCOUNT ...]

Times every function that `zoo.measure.device_batch` and `device_shuffles` call, with the device waited for before and
after each, so the sum is a little more than the whole without these waits, which is printed as well. One matrix in
eight has a planted trap. Without a CUDA device it runs on the CPU, which shows the stages and no rate.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch

from zoo.machine.helpers import Helpers, shared_helpers
from zoo.machine.threads import set_threads
from zoo.measure import device_batch, device_shuffles
from zoo.measure.batch import measure_layers, measure_on
from zoo.options import AnalysisOptions
from zoo.spectral import batched_krylov, batched_modes, philox

SHAPES = (
    "2880x2880x64",
    "384x384x256",
    "768x768x256",
    "1024x1024x128",
    "4096x4096x32",
    "5760x2880x64",
)
STAGES: tuple[tuple[Any, str], ...] = (
    (device_batch, "statistics_of"),
    (device_batch, "grams"),
    (device_batch, "symmetric_eigenvalues_of"),
    (device_shuffles, "shuffle_stack"),
    (device_shuffles, "bulks_of"),
    (device_shuffles, "grams"),
    (device_shuffles, "symmetric_eigenvalues_of"),
    (device_shuffles, "tops_of"),
    (device_shuffles, "first_blocks"),
    (device_shuffles.BatchShuffles, "_tests"),
    (device_shuffles.BatchShuffles, "_inner"),
    (device_shuffles, "modes_from"),
    (device_shuffles, "carried_back"),
    (device_shuffles, "sectors_of"),
    (batched_krylov, "_estimates"),
    (philox, "keys"),
    (batched_modes, "tops_of"),
)


def wait() -> None:
    """Until the device has done all."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes, device and all."""
    wait()
    started = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - started


def stack_of(rows: int, cols: int, count: int, device: torch.device) -> torch.Tensor:
    """Noise in bf16 with a large entry in every eighth matrix."""
    torch.manual_seed(1)
    stack = torch.randn((count, rows, cols), device=device, dtype=torch.float32).to(torch.bfloat16)
    stack[::8, 5, 7] = 3.0 * max(rows, cols) ** 0.5
    return stack


def staged(work: Callable[[], object]) -> dict[str, tuple[float, int]]:
    """Seconds and calls of every stage while `work` runs."""
    seconds: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    kept = [(owner, name, getattr(owner, name)) for owner, name in STAGES]

    def wrapped(label: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            result: list[Any] = []
            seconds[label] += timed(lambda: result.append(function(*arguments, **named)))
            calls[label] += 1
            return result[0]

        return call

    for owner, name, function in kept:
        setattr(owner, name, wrapped(f"{owner.__name__.rpartition('.')[2]}.{name}", function))
    try:
        work()
    finally:
        for owner, name, function in kept:
            setattr(owner, name, function)
    return {label: (seconds[label], calls[label]) for label in seconds}


def main() -> None:
    """Print a table a shape."""
    set_threads(1)
    has_card = torch.cuda.is_available()
    device = torch.device("cuda", 0) if has_card else torch.device("cpu")
    print(
        "device:", torch.cuda.get_device_name(0) if has_card else "cpu (no rate)", torch.__version__
    )
    helpers = shared_helpers() if has_card else Helpers(0)
    options = AnalysisOptions(device=device.type)
    for shape in sys.argv[1:] or SHAPES:
        rows, cols, count = map(int, shape.split("x"))
        stack = stack_of(rows, cols, count, device)
        keys = [("bench", "", str(number), shape) for number in range(count)]

        def whole(stack: torch.Tensor = stack, keys: list[tuple[str, ...]] = keys) -> None:
            if has_card:
                for _ in measure_layers(stack, options=options, seed_keys=keys, storage_bits=16):
                    pass
                return
            for _ in measure_on(
                device, stack, options=options, seed_keys=keys, storage_bits=16, helpers=helpers
            ):
                pass

        def begun(stack: torch.Tensor = stack, keys: list[tuple[str, ...]] = keys) -> None:
            measure_on(
                device, stack, options=options, seed_keys=keys, storage_bits=16, helpers=helpers
            )

        whole()
        both, first = timed(whole), timed(begun)
        whole()  # lets the helpers end what `begun` gave them
        print(
            f"\n{shape}: {1e3 * both / count:.2f} ms a matrix, {1e3 * first / count:.2f} on the device"
        )
        if has_card:
            print(f"peak {torch.cuda.max_memory_allocated() / 1e9:.1f} GB")
        for label, (spent, number) in sorted(staged(whole).items(), key=lambda item: -item[1][0]):
            print(f"  {label:45} {1e3 * spent / count:8.3f} ms  {number:5} calls", flush=True)
        if has_card:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
