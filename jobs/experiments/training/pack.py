"""A training's checkpoints in a few files of bounded size, to travel; and such files back into its folder.

`pack-NNN.safetensors` holds float32 tensors named STEP/RUN/TENSOR.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

MAX_BYTES = 15 * 2**20
"""Most bytes of tensors in one file."""
_STEP = re.compile(r"step(\d+)\.safetensors$")

Tensors = dict[str, NDArray[np.float32]]
"""By name."""


def pack(
    folder: Path, *, whole_runs: Collection[str], landmarks: Collection[int], max_files: int
) -> list[Path]:
    """Replace the checkpoints of `folder` by at most `max_files` packs.

    Of `whole_runs` every step is kept, of the others the steps nearest to `landmarks` and the last. Where this
    is too much, the early steps of what fits worst are dropped: the earliest first, never the last.
    """
    paths = sorted(path for path in folder.iterdir() if _STEP.search(path.name))
    steps = [_step_of(path) for path in paths]
    near = {min(steps, key=lambda step: abs(step - mark)) for mark in landmarks} | {steps[-1]}
    wanted: list[tuple[int, Tensors]] = []
    for path, step in zip(paths, steps, strict=True):
        by_run: dict[str, Tensors] = defaultdict(dict)
        for name, values in load_file(path).items():
            run = name.split("/", 1)[0]
            if run in whole_runs or step in near:
                by_run[run][f"{step}/{name}"] = values
        wanted.extend((step, tensors) for tensors in by_run.values())
    files = _filled(wanted)
    while len(files) > max_files:
        wanted.pop(1)  # the first weights and the last steps say most
        files = _filled(wanted)
    written = []
    for number, tensors in enumerate(files):
        target = folder / f"pack-{number:03d}.safetensors"
        aside = target.with_name(f".{target.name}.partial")
        save_file(tensors, aside)
        aside.rename(target)
        written.append(target)
    for path in paths:
        path.unlink()
    return written


def unpack(folder: Path, into: Path) -> list[Path]:
    """Write the checkpoints of the packs in `folder` as a training writes them; returns them."""
    by_step: dict[int, Tensors] = defaultdict(dict)
    for path in sorted(folder.glob("pack-*.safetensors")):
        for name, values in load_file(path).items():
            counted, rest = name.split("/", 1)
            by_step[int(counted)][rest] = values
    into.mkdir(parents=True, exist_ok=True)
    written = []
    for step, tensors in sorted(by_step.items()):
        target = into / f"step{step:09d}.safetensors"
        aside = target.with_name(f".{target.name}.partial")
        save_file(tensors, aside)
        aside.rename(target)
        written.append(target)
    return written


def checkpoints(folder: Path) -> dict[int, Path]:
    """The checkpoints in `folder` by step, ascending."""
    paths = [path for path in folder.iterdir() if _STEP.search(path.name)]
    return dict(sorted((_step_of(path), path) for path in paths))


def _step_of(path: Path) -> int:
    match = _STEP.search(path.name)
    assert match is not None, path
    return int(match[1])


def _filled(parts: list[tuple[int, Tensors]]) -> list[Tensors]:
    """The parts in as few files as one after the other makes."""
    files: list[Tensors] = [{}]
    room = MAX_BYTES
    for _, tensors in parts:
        nbytes = sum(values.nbytes for values in tensors.values())
        if nbytes > room and files[-1]:
            files.append({})
            room = MAX_BYTES
        files[-1].update(tensors)
        room -= nbytes
    return files
