"""Checkpoints of a training as ordinary model folders: one trajectory a run, accuracies in the model cards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from jobs.experiments.place import Row
from jobs.experiments.training.pack import checkpoints

Weights = Mapping[str, NDArray[np.float32]]
"""Tensors of one network by name."""


def write_trajectories(
    trained: Path, rows: list[Row], zoo: Path, config: Mapping[str, Any], words: str
) -> list[str]:
    """Write every checkpoint in `trained` as `zoo`/RUN/stepNNN; returns the runs' names.

    `rows`: what the training's log says, by run and step. A folder that is there is kept.
    """
    measured = {(row["run"], row["step"]): row for row in rows}
    names: dict[str, None] = {}
    for step, path in checkpoints(trained).items():
        by_run: dict[str, dict[str, NDArray[np.float32]]] = {}
        for name, values in load_file(path).items():
            run, tensor = name.split("/", 1)
            by_run.setdefault(run, {})[tensor] = values
        for run, tensors in by_run.items():
            names[run] = None
            folder = zoo / run / f"step{step:09d}"
            row = measured.get((run, step), {})
            write_model(folder, run, tensors, {**config, "step": step}, row, words)
    return list(names)


def write_model(
    folder: Path,
    name: str,
    tensors: Weights,
    config: Mapping[str, Any],
    measured: Mapping[str, Any],
    words: str,
) -> None:
    """One model folder, written aside and then named; one that is there is kept."""
    if folder.exists():
        return
    aside = folder.with_name(f".{folder.name}.partial")
    aside.mkdir(parents=True, exist_ok=True)
    save_file(dict(tensors), aside / "model.safetensors", metadata={"format": "pt"})
    (aside / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (aside / "README.md").write_text(_card(name, measured, words), encoding="utf-8")
    aside.rename(folder)


def _card(name: str, measured: Mapping[str, Any], words: str) -> str:
    results = "".join(
        f"""\
  - task: {{type: classification}}
    dataset: {{name: {split} set, type: experiment, split: {split}}}
    metrics:
    - {{type: {split}_{what}, value: {measured[f"{split}_{what}"]:.6g}}}
"""
        for split in ("train", "test")
        for what in ("accuracy", "loss")
        if f"{split}_{what}" in measured
    )
    index = f"model-index:\n- name: {name}\n  results:\n{results}" if results else ""
    return f"---\nlibrary_name: torch\ntags: [grokking]\n{index}---\n# {name}\n\n{words}\n"
