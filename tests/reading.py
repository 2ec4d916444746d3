"""Reads whole checkpoints, as the analysis does: what will be read is announced first."""

from __future__ import annotations

from collections.abc import Collection

import torch

from zoo.io.checkpoint import Checkpoint


def read_many(checkpoint: Checkpoint, names: Collection[str]) -> dict[str, torch.Tensor]:
    """The tensors called `names`, read in file order."""
    ordered = [name for name in checkpoint.tensors if name in names]
    checkpoint.expect(ordered)
    return {name: checkpoint.read(name) for name in ordered}
