"""By how much the callback slows a training, against 2 %: paired stretches of one real training loop.

    python -m benchmarks.callbacks [--device cpu|cuda] [--pairs 12] [--every 50]

A GPT-2 of 6 blocks is trained on random tokens. Stretches of `--every` steps with the watch and without take
turns, in an order that changes from pair to pair; a stretch with it holds one snapshot, and the process beside the
training measures all the while. Printed are the ratio of each pair's times, their median and quartiles, what the
training itself spent in the watch, and how long a measurement took. The exit code is 1 when the median is over the
limit.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from zoo.callbacks import watch

LIMIT = 1.02
"""Time of a step with the watch over that of a step without."""
WARM_UP = 10
"""Steps before anything is timed."""


def main() -> int:
    """Measure and print; 1 when the training was slowed too much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument(
        "--width", type=int, default=None, help="of the model; 256 on a CPU, 768 on a GPU"
    )
    parser.add_argument(
        "--compete",
        action="store_true",
        help="measure beside it as any process, not in idle time alone",
    )
    parser.add_argument("--threads", type=int, default=1, help="of the training, on a CPU")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    width = args.width or (768 if args.device == "cuda" else 256)
    step = training_step(args.device, width)
    with tempfile.TemporaryDirectory() as folder:
        catalog = Path(folder, "catalog")
        ratios, cpu, told = paired(
            step,
            catalog,
            pairs=args.pairs,
            every=args.every,
            device=args.device,
            compete=args.compete,
        )
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(" ".join(f"{ratio:.4f}" for ratio in ratios))
    print(f"{args.device}, {args.every} steps between snapshots: {told}")
    print(
        f"time with the watch / without: median {middle:.4f}, quartiles {low:.4f} to {high:.4f}; limit {LIMIT}"
    )
    print(
        f"the training's own processor time, which busy neighbours do not change: {statistics.median(cpu):.4f}"
    )
    return int(middle > LIMIT)


def training_step(device: str, width: int) -> Step:
    """One optimizer step on random tokens, as a function; `model` is what it trains."""
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=6, n_embd=width, n_head=width // 64, vocab_size=2048, n_positions=128
    )
    model = GPT2LMHeadModel(config).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    tokens = torch.randint(
        2048, (4 if device == "cpu" else 32, 64 if device == "cpu" else 128), device=device
    )

    def take() -> None:
        optimizer.zero_grad()
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()

    return Step(model, take)


class Step:
    """A model and what trains it by one step."""

    def __init__(self, model: torch.nn.Module, take: Callable[[], None]) -> None:
        self.model, self.take = model, take


def paired(
    step: Step, catalog: Path, *, pairs: int, every: int, device: str, compete: bool
) -> tuple[list[float], list[float], str]:
    """(time with / time without) of each pair of stretches, the same of processor time, and what there is to say
    of the rest."""
    ratios: list[float] = []
    cpu: list[float] = []
    for _ in range(WARM_UP):
        step.take()
    with watch(
        step.model, catalog, every=every, model_id="local/benchmark", idle_only=not compete
    ) as watching:
        watching.measure(
            0
        )  # the memory of the snapshot is taken here, as at the start of any training
        for pair in range(pairs):
            times: dict[bool, float] = {}
            processor: dict[bool, float] = {}
            for is_watched in (True, False) if pair % 2 else (False, True):
                watching._settle(
                    None
                )  # the process is idle in a stretch without, and free in one with
                started, used = time.perf_counter(), time.process_time()
                for number in range(every):
                    if is_watched:  # the first is copied out, and measured during the others
                        watching((pair + 1) * every + number)
                    step.take()
                if device == "cuda":
                    torch.cuda.synchronize()
                times[is_watched] = time.perf_counter() - started
                processor[is_watched] = time.process_time() - used
            ratios.append(times[True] / times[False])
            cpu.append(processor[True] / processor[False])
        state = watching.state
        spent = state.seconds
    megabytes = sum(t.numel() * t.element_size() for t in step.model.parameters()) / 1e6
    told = (
        f"{megabytes:.0f} MB of weights, {times[False] / every * 1e3:.1f} ms a step, "
        f"{spent * 1e3 / max(1, len(state.measured) - 1):.1f} ms of the training's own time a snapshot, "
        f"{len(state.measured)} measured, {len(state.skipped_busy) + len(state.skipped_cost)} skipped, "
        f"{state.measuring_seconds or 0.0:.1f} s a measurement beside it"
    )
    return ratios, cpu, told


if __name__ == "__main__":
    raise SystemExit(main())
