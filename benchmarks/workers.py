"""Two workers against one.

    python -m benchmarks.workers [--copies 24] [--layers 12]

A zoo of equal models is swept by one worker and by two. Two ratios are printed: of whole commands, in which both pay
the same few seconds for starting Python and torch and for fingerprinting the files; and of the pace at which models
are committed once work is under way. Runs are interleaved, and the best of each is taken, as the machine is shared.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=24)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        spec = build(root, args.copies, args.layers)
        times: dict[int, list[float]] = {1: [], 2: []}
        paces: dict[int, list[float]] = {1: [], 2: []}
        for number in range(args.rounds):
            for workers in (1, 2):
                out = root / f"cat-{number}-{workers}"
                times[workers].append(sweep(spec, out, workers))
                paces[workers].append(pace(out))
    one, two = min(times[1]), min(times[2])
    print(
        f"{args.copies} models of {args.layers} layers 1536x384: one worker {one:.1f} s, two {two:.1f} s"
    )
    print(f"two workers against one, whole command: {one / two:.2f} times")
    slow, fast = max(paces[1]), max(paces[2])
    print(f"under way: {fast / slow:.2f} times ({slow:.2f} and {fast:.2f} models a second)")


def build(root: Path, copies: int, layers: int) -> Path:
    """Folders of random layers and a spec; returns the spec."""
    for copy in range(copies):
        rng = np.random.default_rng(copy)
        tensors = {
            f"layers.{i}.weight": rng.standard_normal((1536, 384), dtype=np.float32)
            for i in range(layers)
        }
        target = root / "zoo" / f"model{copy:02d}"
        target.mkdir(parents=True)
        save_file(tensors, target / "model.safetensors")
    spec = root / "spec.toml"
    spec.write_text('[[source]]\npath = "zoo/*"\n')
    return spec


def sweep(spec: Path, out: Path, workers: int) -> float:
    """Seconds of a whole `zoo sweep` process."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "jobs", "sweep", str(spec), "--out", str(out)]
    subprocess.run([*command, "-j", str(workers), "--quiet"], check=True)
    return time.perf_counter() - started


def pace(catalog: Path) -> float:
    """Models committed per second between the second and the last commit."""
    from catalog.read import views
    from catalog.read.query import ask

    query = "select epoch(committed_at) as t from models order by t"
    with views.connect(catalog) as con:
        moments = ask(con, query).column(0).to_pylist()
    return float((len(moments) - 3) / (moments[-2] - moments[1]))


if __name__ == "__main__":
    main()
