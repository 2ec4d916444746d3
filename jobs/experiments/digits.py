"""The digits of an experiment: MNIST from a file or the Hub, or the small ones that scikit-learn ships."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.experiments.training.digits import flat_pictures, from_file
from jobs.experiments.training.perceptrons import Pictures
from zoo.errors import UseError

HUB = "ylecun/mnist"
"""The Hub's data set of MNIST, Parquet files with PNG pictures."""
_FILES = {
    "train": "mnist/train-00000-of-00001.parquet",
    "test": "mnist/test-00000-of-00001.parquet",
}
_CANDIDATES = 10_000
"""Of the first so many training pictures a run chooses its own: seeds share few, and memory stays small."""


def of_scikit_learn(num_train: int) -> Pictures:
    """1,797 digits of 8×8 pixels. UseError without scikit-learn."""
    if importlib.util.find_spec("sklearn") is None:
        raise UseError(
            "--scale small trains on scikit-learn's digits; install it: pip install 'spectral-zoo[demo]'"
        )
    from sklearn.datasets import load_digits

    data = load_digits()
    images = (data.data / 16).astype(np.float32)
    return Pictures(images, data.target.astype(np.int64), num_train)


def mnist(file: Path | None, *, num_train: int, pooled: bool) -> Pictures:
    """MNIST from an .npz (`images` [n, 28, 28], `labels` [n]: `num_train` to train, the rest to test), or
    from the Hub (the 10,000 test pictures to test). UseError where neither can be read."""
    if file is not None:
        try:
            return from_file(file, num_train=num_train, pooled=pooled)
        except (OSError, KeyError, ValueError) as error:
            raise UseError(
                f"--data {file}: {error}; wanted an .npz with images [n, 28, 28] and labels [n]"
            ) from error
    from huggingface_hub import hf_hub_download

    try:
        paths = {
            split: Path(hf_hub_download(HUB, name, repo_type="dataset"))
            for split, name in _FILES.items()
        }
    except OSError as error:  # huggingface_hub's errors are, offline or not
        raise UseError(
            f"MNIST from the Hub ({HUB}): {error}; wanted a connection, or --data FILE.npz"
        ) from error
    train, test = (read_parquet(paths[split]) for split in ("train", "test"))
    images = np.concatenate([train[0][:_CANDIDATES], test[0]])
    labels = np.concatenate([train[1][:_CANDIDATES], test[1]])
    return flat_pictures(
        images, labels, num_train=num_train, pooled=pooled, num_candidates=_CANDIDATES
    )


def read_parquet(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(images [n, 28, 28], labels [n]) of the Hub's files: a PNG and a label a row."""
    import pyarrow.parquet as pq

    try:
        from PIL import Image
    except ImportError as error:
        raise UseError(
            "MNIST from the Hub comes as PNG; install Pillow: pip install 'spectral-zoo[plot]'"
        ) from error
    table = pq.read_table(path, columns=["image", "label"])
    images = [
        np.asarray(Image.open(io.BytesIO(picture["bytes"])))
        for picture in table["image"].to_pylist()
    ]
    return np.stack(images), table["label"].to_numpy().astype(np.int64)
