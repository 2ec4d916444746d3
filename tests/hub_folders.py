"""Small folders of checkpoints to serve, and what tests of the Hub share."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
import numpy as np
from safetensors.numpy import save_file

CARD = """---
license: mit
base_model: acme/base
library_name: transformers
pipeline_tag: text-generation
tags: [tiny]
model-index:
- name: tiny
  results:
  - task: {type: text-generation}
    dataset: {name: toy, split: test}
    metrics: [{type: accuracy, value: 0.5}]
---
# Tiny
"""


def weights(seed: int, *, num: int = 4, rows: int = 64, cols: int = 32) -> dict[str, np.ndarray]:
    """`num` seeded float32 matrices named `layers.<i>.weight`."""
    rng = np.random.default_rng(seed)
    return {
        f"layers.{i}.weight": rng.standard_normal((rows, cols)).astype("float32")
        for i in range(num)
    }


def put_model(
    folder: Path,
    *,
    seed: int = 0,
    card: str | None = CARD,
    tensors: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """A model of one shard with a config and a card."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(tensors or weights(seed)), folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"model_type": "toy", "architectures": ["Toy"]}))
    if card is not None:
        (folder / "README.md").write_text(card)
    return folder


def put_settings(folder: Path, **settings: object) -> None:
    """`.hub/repo.json` of a repository."""
    (folder / ".hub").mkdir(parents=True, exist_ok=True)
    (folder / ".hub" / "repo.json").write_text(json.dumps(settings))


def put_sharded(folder: Path, *, num_shards: int = 3, seed: int = 0) -> dict[str, np.ndarray]:
    """A model of several shards with an index; gives its tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, np.ndarray] = {}
    weight_map: dict[str, str] = {}
    for shard in range(num_shards):
        file = f"model-{shard + 1:05d}-of-{num_shards:05d}.safetensors"
        part = {f"shard{shard}.{k}": v for k, v in weights(seed + shard).items()}
        save_file(part, folder / file, {"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
        tensors |= part
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text("{}")
    return tensors


@contextmanager
def fresh_session() -> Iterator[None]:
    """Close huggingface_hub's shared session afterwards, so that no socket outlives a test."""
    try:
        yield
    finally:
        huggingface_hub.close_session()
