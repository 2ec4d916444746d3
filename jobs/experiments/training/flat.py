"""Parameters of several equal networks, each network one row of a matrix, seen through named views.

An optimiser's update is then a few operations on one matrix, however many networks and tensors there are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

ALIGNMENT = 32
"""Every tensor begins at a multiple of so many elements: vector loads, and what cuBLAS prefers."""

Array = NDArray[np.float64]
"""First weights, and what a checkpoint holds before it is rounded to float32."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each named tensor of a network lies in its row."""

    shapes: Mapping[str, tuple[int, ...]]

    @property
    def starts(self) -> dict[str, int]:
        """First element of each tensor."""
        starts, at = {}, 0
        for name, shape in self.shapes.items():
            starts[name] = at
            at += -(-math.prod(shape) // ALIGNMENT) * ALIGNMENT
        return starts

    @property
    def size(self) -> int:
        """Elements of a row, with what aligns its tensors (zeros that stay zeros)."""
        return sum(-(-math.prod(shape) // ALIGNMENT) * ALIGNMENT for shape in self.shapes.values())

    def views(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """Each tensor of all networks, [runs, *shape], sharing the memory of `rows` [runs, size]."""
        return {
            name: rows[:, start : start + math.prod(shape)].view(len(rows), *shape)
            for (name, shape), start in zip(self.shapes.items(), self.starts.values(), strict=True)
        }

    def rows(
        self, networks: Sequence[Mapping[str, Array]], *, dtype: torch.dtype, device: torch.device
    ) -> torch.Tensor:
        """[runs, size]: the tensors of each of `networks`."""
        rows = torch.zeros(len(networks), self.size, dtype=torch.float64)
        views = self.views(rows)
        for run, network in enumerate(networks):
            for name, values in network.items():
                views[name][run] = torch.from_numpy(values)
        return rows.to(device=device, dtype=dtype)
