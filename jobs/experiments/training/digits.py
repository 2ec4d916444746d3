"""Handwritten digits as an experiment reads them: an .npz file of MNIST, or a coarser copy of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.experiments.training.perceptrons import Pictures


def from_file(path: Path, *, num_train: int, pooled: bool = False) -> Pictures:
    """`images` [n, 28, 28] (0 to 255) and `labels` [n] of an .npz: `num_train` to train, the rest to test."""
    with np.load(path) as stored:
        return flat_pictures(stored["images"], stored["labels"], num_train=num_train, pooled=pooled)


def flat_pictures(
    images: NDArray[np.uint8],
    labels: NDArray[Any],
    *,
    num_train: int,
    pooled: bool,
    num_candidates: int | None = None,
) -> Pictures:
    """Pixels from 0 to 1, one row a picture; `pooled`: means of 2×2 pixels, 28×28 to 14×14."""
    pixels = images.astype(np.float32) / 255
    if pooled:
        count, height, width = pixels.shape
        pixels = pixels.reshape(count, height // 2, 2, width // 2, 2).mean(axis=(2, 4))
    flat = pixels.reshape(len(pixels), -1).astype(np.float32)
    return Pictures(flat, labels.astype(np.int64), num_train, num_candidates)
