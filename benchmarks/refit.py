"""Speed of `zoo refit`: layers a second on a catalog of small and medium layers, unchanged options.

    python -m benchmarks.refit [--models 100] [--sides 64,128,256,384,512] [--workers 2] [--json FILE]

The catalog is made first: spectra of random matrices with heavy rows, numbers by the same functions
that measure a layer, one layer of every (side, q) in each model, committed as a sweep does. The time
is that of the whole command: listing, reading Parquet, computing, comparing, to the last number. Each
shape is drawn a few times only and its rows repeated under other names, which no part of refit sees.
`cpu_ms_a_layer` is the processor time of the run with one worker, which a busy machine does not stretch.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime

import numpy as np
import torch

from catalog.write.commits import commit_unit
from jobs.refit.columns import Change, refit_layer
from jobs.refit.run import refit_catalog
from jobs.units.key import options_key
from zoo.cells import cells
from zoo.machine.threads import set_threads
from zoo.measure.layer import LayerMeasures, measure_layer
from zoo.measure.row import LayerName
from zoo.options import AnalysisOptions, LayerSelection

RATIOS = (1, 2, 4)
DRAWS = 3
SAME = Change(AnalysisOptions(), AnalysisOptions())


def measured(m: int, q: int, draw: int) -> LayerMeasures:
    """One layer with side m and aspect q: noise with heavy rows, as trained layers look."""
    rng = np.random.default_rng([m, q, draw])
    w = rng.standard_normal((q * m, m)) * np.exp(0.5 * rng.standard_normal(q * m))[:, None]
    weights = torch.from_numpy(w.astype(np.float32))[None]
    key = ("revision", f"{m}.{q}.{draw}", "", "")
    options = AnalysisOptions(modes=False)
    return measure_layer(weights, options=options, seed_key=key, storage_bits=32)


def build(root: str, models: int, layers: list[LayerMeasures]) -> int:
    """Commit `models` units that hold a third of `layers` each; the number of layers."""
    key = options_key(AnalysisOptions(), LayerSelection())
    total = 0
    for number in range(models):
        chosen = layers[number % DRAWS :: DRAWS]
        rows, spectra = [], []
        for index, layer in enumerate(chosen):
            name = {"layer_index": index, "tensor": f"layers.{index}.weight"}
            rows.append({**layer.columns, **name, "stored_dtype": "F32"})
            assert layer.spectrum is not None and layer.rand_spectrum is not None
            spectra.append(
                {
                    **name,
                    "eigenvalues": layer.spectrum.evals.astype(np.float32),
                    "scale_exponent": layer.spectrum.scale_exponent,
                    "rand_eigenvalues": layer.rand_spectrum.evals.astype(np.float32),
                    "rand_scale_exponent": layer.rand_spectrum.scale_exponent,
                }
            )
        model = {
            "sweep_id": "20261123T000000-00000000",
            "model_id": f"local/model{number:05d}",
            "revision": f"{number:040x}",
            "analysis_key": key,
            "layers_analysed": len(rows),
            "layers_skipped": 0,
            "layers_failed": 0,
            "committed_at": datetime.now(UTC),
        }
        commit_unit(root, model=model, layers=rows, spectra=spectra)
        total += len(rows)
    return total


def per_layer(layers: list[LayerMeasures]) -> dict[int, float]:
    """Milliseconds of mathematics for one layer, by smaller side."""
    seconds: dict[int, list[float]] = {}
    for layer in layers:
        assert layer.spectrum is not None
        name = LayerName(0, "layers.0.weight", None, None)
        row = {"revision": "", **cells(name), **layer.columns, "stored_dtype": "F32"}
        started = time.perf_counter()
        for _ in range(5):
            refit_layer(row, layer.spectrum, layer.rand_spectrum, SAME)
        seconds.setdefault(layer.spectrum.evals.size, []).append(
            (time.perf_counter() - started) / 5
        )
    return {m: 1e3 * float(np.mean(times)) for m, times in sorted(seconds.items())}


def main() -> None:
    """Print and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=400)
    parser.add_argument("--sides", default="64,128,256,384,512")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json")
    given = parser.parse_args()
    set_threads(1)
    sides = [int(side) for side in given.sides.split(",")]
    shapes = [(m, q) for m in sides for q in RATIOS]
    layers = [measured(m, q, draw) for m, q in shapes for draw in range(DRAWS)]
    result: dict[str, object] = {
        "machine": platform.machine(),
        "sides": sides,
        "ratios": RATIOS,
        "ms_of_mathematics_by_side": per_layer(layers),
    }
    with tempfile.TemporaryDirectory() as root:
        result["layers"] = total = build(root, given.models, layers)
        for workers in sorted({1, given.workers}):
            started, busy = time.perf_counter(), time.process_time()
            tally = refit_catalog(root, spec=None, spec_text="", workers=workers, dry_run=True)
            seconds = time.perf_counter() - started
            assert tally.num_layers == total, (tally.num_layers, total)
            if workers == 1:
                result["cpu_ms_a_layer"] = 1e3 * (time.process_time() - busy) / total
            result[f"workers_{workers}"] = {
                "seconds": seconds,
                "layers_a_second": total / seconds,
                "numbers_moved": tally.num_moved,
            }
    json.dump(result, sys.stdout, indent=1)
    print()
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
