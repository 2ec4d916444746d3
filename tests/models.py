"""Tiny model folders for tests: real safetensors files, seeded weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

Floats = NDArray[np.float32]


def weights(seed: int, *shapes: tuple[int, ...]) -> dict[str, Floats]:
    """`layers.<i>.weight` of the given shapes, heavy enough in the tail to be fitted."""
    rng = np.random.default_rng(seed)
    found: dict[str, Floats] = {}
    for number, shape in enumerate(shapes):
        scale = np.exp(rng.standard_normal(shape[0]))[:, None] if len(shape) == 2 else 1.0
        found[f"layers.{number}.weight"] = (rng.standard_normal(shape) * scale).astype(np.float32)
    return found


def write_model(
    folder: Path, tensors: Mapping[str, Floats], *, config: Mapping[str, object] | None = None
) -> Path:
    """An ordinary model folder; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(tensors), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config or {"model_type": "mlp"}))
    return folder


def small_zoo(root: Path, *, models: int = 3, side: int = 60) -> Path:
    """`models` folders of three layers each below `root`, and a spec beside them; returns the spec."""
    for number in range(models):
        write_model(
            root / "zoo" / f"model{number}",
            weights(number, (side, 2 * side), (side, side), (side, 5)),
        )
    spec = root / "spec.toml"
    spec.write_text('[sweep]\nname = "test"\n[[source]]\npath = "zoo/*"\n')
    return spec
