"""Handwritten digits as an experiment reads them: an .npz file of MNIST, or a coarser copy of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jobs.experiments.training.perceptrons import Pictures


def from_file(path: Path, *, num_train: int, pooled: bool = False) -> Pictures:
    """`images` [n, 28, 28] (0 to 255) and `labels` [n] of an .npz; `pooled`: means of 2×2 pixels, 14×14."""
    with np.load(path) as stored:
        images, labels = stored["images"].astype(np.float32) / 255, stored["labels"]
    if pooled:
        count, height, width = images.shape
        images = images.reshape(count, height // 2, 2, width // 2, 2).mean(axis=(2, 4))
    return Pictures(
        np.ascontiguousarray(images.reshape(len(images), -1)), labels.astype(np.int64), num_train
    )
