"""Which of three trap counts tracks the test accuracy of a training run, and which comes first.

    zoo demo demo
    python -m benchmarks.trap_counts demo/catalog local/grokking-mlp
    python -m benchmarks.trap_counts CATALOG MODEL      # any swept trajectory whose cards tell test accuracies
    python -m benchmarks.trap_counts --run FOLDER       # step*.safetensors and log.json: [{"step": .., "test": ..}, ..]

The counts: `num_traps` (threshold moved by the kurtosis of the entries), `num_traps_tw` (not moved: the
papers' definition) and `num_traps_ww` (WeightWatcher's recipe); beside them the largest excess over
the edge. For each: the first step from which it stays above zero, the step of the best test accuracy,
and Spearman's rank correlation with the test accuracy from there on, where over-fitting sets in.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from scipy.stats import spearmanr

from catalog.read import views
from jobs.__main__ import run

QUERY = """
with accuracy as (
    select step, max(value) as test
    from evaluations
    where model_id = ? and metric ilike '%accuracy%' and (metric ilike '%test%' or dataset ilike '%test%')
    group by step),
counts as (
    select step, sum(num_traps) as num_traps, sum(num_traps_tw) as num_traps_tw,
        sum(num_traps_ww) as num_traps_ww, max(trap_excess_max) as excess
    from layers_latest where model_id = ? group by step)
select * from counts join accuracy using (step) order by step
"""
CARD = """---
model-index:
- name: run
  results:
  - task: {{type: image-classification}}
    dataset: {{name: digits, split: test}}
    metrics: [{{type: test_accuracy, value: {test}}}]
---
"""
COUNTS = ("num_traps", "num_traps_tw", "num_traps_ww", "excess")


def onset(steps: list[int], values: list[float]) -> int | None:
    """The first step from which the values stay above zero to the end; None without one."""
    start = None
    for step, value in zip(steps, values, strict=True):
        if value <= 0.0:
            start = None
        elif start is None:
            start = step
    return start


def main() -> None:
    """Print a row a count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("catalog", nargs="?")
    parser.add_argument("model", nargs="?")
    parser.add_argument("--run", type=Path)
    arguments = parser.parse_args()
    if arguments.run is None:
        compare(arguments.catalog, arguments.model)
        return
    with tempfile.TemporaryDirectory() as scratch:
        compare(str(swept(arguments.run, Path(scratch))), "local/run")


def swept(checkpoints: Path, scratch: Path) -> Path:
    """A catalog of a run whose accuracies stand in a log, swept from copies with a card each."""
    log = json.loads((checkpoints / "log.json").read_text())
    test = {row["step"]: row["test"] for row in log}
    for file in sorted(checkpoints.glob("step*.safetensors")):
        step = int(file.stem.removeprefix("step"))
        folder = scratch / "run" / f"step{step}"
        folder.mkdir(parents=True)
        shutil.copy(file, folder / "model.safetensors")
        (folder / "README.md").write_text(CARD.format(test=test[step]))
    spec = scratch / "spec.toml"
    spec.write_text("[[source]]\npath = 'run/*'\nstep_pattern = 'step(\\d+)'\n")
    run(["sweep", str(spec), "--out", str(scratch / "catalog"), "-j", "1"])
    return scratch / "catalog"


def compare(catalog: str, model: str) -> None:
    """Print the table of one trajectory."""
    with views.connect(catalog) as con:
        rows = con.execute(QUERY, [model, model]).to_arrow_table().to_pylist()
    steps = [row["step"] for row in rows]
    test = [row["test"] for row in rows]
    best = test.index(max(test))
    print(f"{model}: {len(rows)} steps, best test accuracy {max(test):.3f} at {steps[best]}\n")
    print(
        "| count | onset | at the best step | at the end | Spearman with test accuracy, before | after |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for name in COUNTS:
        values = [float(row[name] or 0.0) for row in rows]
        before = spearmanr(values[: best + 1], test[: best + 1]).statistic
        after = spearmanr(values[best:], test[best:]).statistic
        print(
            f"| `{name}` | {onset(steps, values)} | {values[best]:.3g} | {values[-1]:.3g} "
            f"| {before:.2f} | {after:.2f} |"
        )


if __name__ == "__main__":
    main()
