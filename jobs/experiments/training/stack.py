"""What the training loop asks of a stack of networks, and how their steps become one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

from jobs.experiments.training.flat import Array

Measures = Mapping[str, float]
"""Accuracies, losses and norms of one run at one step, by name."""


@dataclass(frozen=True, slots=True)
class Run:
    """One network of a stack."""

    seed: int
    decay: float
    """Weight decay."""

    @property
    def name(self) -> str:
        """As its folder is called."""
        return f"seed{self.seed}-decay{self.decay:g}"


class Named(Protocol):
    """A run as the training loop knows it."""

    @property
    def name(self) -> str:
        """As its folder is called."""


class Stack(Protocol):
    """Several networks that are trained at once, step by step."""

    steps_done: int
    """Updates so far."""

    def advance(self, steps: int) -> None:
        """So many more updates of every network."""

    def measure(self) -> list[Measures]:
        """What each network is worth now."""

    def tensors(self, run: int) -> dict[str, Array]:
        """One network as a checkpoint holds it."""

    def state(self) -> dict[str, torch.Tensor]:
        """All that a later `load` needs, the step aside; shared with the stack, not copied."""

    def load(self, state: Mapping[str, torch.Tensor], steps_done: int) -> None:
        """Go on from what `state` gave after `steps_done` updates."""


class Chunks:
    """Runs `step(k)` for k below a chunk's length: one by one, or on a GPU as one captured graph.

    `prepare(done, steps)` fills what the steps of a chunk read; it runs outside the graph.
    """

    def __init__(
        self,
        prepare: Callable[[int, int], None],
        step: Callable[[int], None],
        *,
        length: int,
        device: torch.device,
        kept: Callable[[], Mapping[str, torch.Tensor]],
    ) -> None:
        self._prepare, self._step, self._length, self._device = prepare, step, length, device
        self._kept = kept
        self._graph: torch.cuda.CUDAGraph | None = None

    def advance(self, done: int, steps: int) -> int:
        """`steps` more updates after `done`; returns how many there are then."""
        end = done + steps
        while done < end:
            now = min(self._length, end - done)
            whole = self._device.type == "cuda" and now == self._length
            if whole and self._graph is None:
                self._graph = self._captured(done)
            self._prepare(done, now)
            if whole and self._graph is not None:
                self._graph.replay()
            else:
                for k in range(now):
                    self._step(k)
            done += now
        return done

    def _captured(self, done: int) -> torch.cuda.CUDAGraph:
        """The graph of one chunk. The steps that warm it up are undone."""
        before = {name: tensor.clone() for name, tensor in self._kept().items()}
        self._prepare(done, self._length)
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's own
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for k in range(3):  # libraries choose their kernels and compile them now
                self._step(k)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for k in range(self._length):
                self._step(k)
        for name, tensor in self._kept().items():
            tensor.copy_(before[name])
        return graph
