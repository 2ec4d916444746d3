"""`est_s` of `zoo plan`, calibrated on this machine, against the CPU seconds that measuring takes.

    python -m benchmarks.estimates                 # transformers of random weights, three layers of ten with traps
    python -m benchmarks.estimates FOLDER ...      # models of your own

The bar is a ratio within 2. CPU seconds of one process with one thread, so that neighbours count little.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from jobs.sources.find import find_targets
from jobs.spec.starting import spec_of_sources
from jobs.sweep.work import measure_task
from jobs.units.plan import plan_unit
from jobs.units.speed import slowness
from jobs.units.unit import Task, unit_of
from zoo.machine.threads import set_threads
from zoo.options import AnalysisOptions, LayerSelection

WIDTHS = (64, 192, 384, 768)


def put_transformer(folder: Path, width: int, *, blocks: int = 5) -> Path:
    """Two matrices a block, [w, w] and [4w, w], with tails; a large entry in three of ten."""
    rng = np.random.default_rng(width)
    tensors = {}
    for block in range(blocks):
        for name, rows in (("o", width), ("up", 4 * width)):
            scale = np.exp(0.3 * rng.standard_normal((rows, 1)))
            weight = (rng.standard_normal((rows, width)) * scale).astype(np.float32)
            if rng.random() < 0.3:
                weight[0, 0] = 3.0 * (rows**0.5 + width**0.5)
            tensors[f"layers.{block}.{name}.weight"] = weight
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    return folder


def ratio(path: Path, options: AnalysisOptions) -> tuple[float, float]:
    """Estimated and spent CPU seconds of one model."""
    spec, _ = spec_of_sources([str(path)], here=Path.cwd())
    (target,) = find_targets(spec)
    unit = unit_of(target, options, LayerSelection())
    estimate = slowness() * plan_unit(unit).seconds
    started = time.process_time()
    measure_task(Task(unit, device="cpu"))
    return estimate, time.process_time() - started


def main() -> None:
    """Print a row a model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    folders = parser.parse_args().folders
    set_threads(1)
    print(f"this machine takes {slowness():.2f} s for one of the machine of the costs\n")
    print("| model | options | est_s | CPU seconds | ratio |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as scratch:
        folders = folders or [put_transformer(Path(scratch) / f"w{w}", w) for w in WIDTHS]
        ratio(folders[0], AnalysisOptions())  # what is loaded and warmed once
        for folder in folders:
            for name, options in (
                ("default", AnalysisOptions()),
                ('shuffle = "none"', AnalysisOptions(shuffle="none")),
                ('metrics = "tail"', AnalysisOptions(metrics="tail")),
            ):
                estimate, spent = ratio(folder, options)
                print(
                    f"| {folder.name} | {name} | {estimate:.2f} | {spent:.2f} | {estimate / spent:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
