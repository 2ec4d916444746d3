"""Perceptrons that learn to classify by plain SGD, several learning rates at once (SETOL's MLP3).

Martin and Hinrichs 2025, appendix A5, and their code: Glorot-normal weights, zero biases, cross-entropy, its mean
over the batch, no momentum, constant rate. The error at the outputs is scaled by each run's rate, so that every
gradient is a step; a bias is one more column of its matrix, behind which the inputs hold a one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from jobs.experiments.training.flat import Array, Layout
from jobs.experiments.training.order import orders
from jobs.experiments.training.perceptrons import CLASSES, Pictures
from jobs.experiments.training.stack import Measures

RATE = 0.01
"""The learning rate that a trial multiplies."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One network: how it is trained."""

    batch: int
    times: int
    """Learning rate over RATE."""
    seed: int

    @property
    def name(self) -> str:
        """As its folder is called."""
        return f"batch{self.batch}-rate{self.times}-seed{self.seed}"


class Classifiers:
    """Trials of one batch size; a `jobs.experiments.training.stack.Stack`."""

    def __init__(
        self,
        pictures: Pictures,
        trials: Sequence[Trial],
        hidden: tuple[int, int],
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.steps_done = 0
        self._trials = tuple(trials)
        (self._batch,) = {trial.batch for trial in trials}
        sizes = (pictures.images.shape[1], *hidden, CLASSES)
        self._layout = Layout(
            {f"fc{n}": (out, into + 1) for n, (into, out) in enumerate(pairwise(sizes), 1)}
        )
        first = [_glorot(sizes, trial.seed) for trial in trials]
        self._rows = self._layout.rows(first, dtype=dtype, device=device)
        self._weights = list(self._layout.views(self._rows).values())
        images = torch.from_numpy(pictures.images).to(device, dtype)
        self._images = torch.cat([images, images.new_ones(len(images), 1)], dim=1)
        self._labels = torch.from_numpy(pictures.labels).to(device)
        self._one_hot = torch.nn.functional.one_hot(self._labels, CLASSES).to(dtype)
        training = [pictures.training(trial.seed) for trial in trials]
        self._training = torch.from_numpy(np.stack(training)).to(device)
        testing = [pictures.testing(trial.seed) for trial in trials]
        self._testing = [torch.from_numpy(chosen).to(device) for chosen in testing]
        self._seeds = torch.tensor([trial.seed for trial in trials], device=device)
        rates = torch.tensor(
            [RATE * trial.times / self._batch for trial in trials], dtype=torch.float64
        )
        self._rates = rates.to(device, dtype)[:, None, None]

    @property
    def steps_an_epoch(self) -> int:
        """Updates after which every training picture was seen once; a last, smaller batch is left out."""
        return self._training.shape[1] // self._batch

    def advance(self, steps: int) -> None:
        """So many more updates of every network."""
        each, end = self.steps_an_epoch, self.steps_done + steps
        while self.steps_done < end:
            epoch, begin = divmod(self.steps_done, each)
            now = min(each - begin, end - self.steps_done)
            order = orders(self._seeds, epoch, 1, self._training.shape[1])[0]
            chosen = self._training.gather(1, order)
            for step in range(begin, begin + now):
                self._step(chosen[:, step * self._batch : (step + 1) * self._batch])
            self.steps_done += now

    def measure(self) -> list[Measures]:
        """Accuracy and cross-entropy on both sets, and the norm of all parameters, of each run."""
        measured: list[Measures] = []
        for run in range(len(self._trials)):
            logits = _forward([weights[run : run + 1] for weights in self._weights], self._images)[
                0
            ]
            losses = torch.nn.functional.cross_entropy(logits, self._labels, reduction="none")
            right = (logits.argmax(dim=1) == self._labels).to(losses.dtype)
            values = [
                what[chosen].mean()
                for what in (right, losses)
                for chosen in (self._training[run], self._testing[run])
            ]
            norm = torch.linalg.vector_norm(self._rows[run])
            names = ("train_accuracy", "test_accuracy", "train_loss", "test_loss", "l2_norm")
            numbers = torch.stack([*values, norm]).tolist()
            measured.append(dict(zip(names, numbers, strict=True)))
        return measured

    def tensors(self, run: int) -> dict[str, Array]:
        """`fc1.weight`, `fc1.bias`, … of one network."""
        tensors: dict[str, Array] = {}
        for layer, weights in enumerate(self._weights, 1):
            values = weights[run].to("cpu", torch.float64).numpy()
            tensors[f"fc{layer}.weight"] = values[:, :-1].copy()
            tensors[f"fc{layer}.bias"] = values[:, -1].copy()
        return tensors

    def state(self) -> dict[str, torch.Tensor]:
        """The parameters: plain SGD has nothing else."""
        return {"parameters": self._rows}

    def load(self, state: Mapping[str, torch.Tensor], steps_done: int) -> None:
        """Go on from what `state` gave after `steps_done` updates."""
        self._rows.copy_(state["parameters"])
        self.steps_done = steps_done

    def _step(self, chosen: torch.Tensor) -> None:
        """One update of every network with its pictures `chosen` [runs, batch]."""
        w1, w2, w3 = self._weights
        inputs = self._images[chosen]
        h1 = _with_one(torch.relu(torch.bmm(inputs, w1.mT)))
        h2 = _with_one(torch.relu(torch.bmm(h1, w2.mT)))
        logits = torch.bmm(h2, w3.mT)
        delta = (self._one_hot[chosen] - logits.softmax(dim=2)) * self._rates  # downhill
        d2 = torch.bmm(delta, w3[:, :, :-1]) * (h2[:, :, :-1] > 0)
        d1 = torch.bmm(d2, w2[:, :, :-1]) * (h1[:, :, :-1] > 0)
        w3.baddbmm_(delta.mT, h2)
        w2.baddbmm_(d2.mT, h1)
        w1.baddbmm_(d1.mT, inputs)


def _forward(weights: Sequence[torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """[runs, images, classes]: logits of all pictures."""
    values = images.expand(len(weights[0]), *images.shape)
    for layer, weight in enumerate(weights):
        values = torch.bmm(values, weight.mT)
        if layer < len(weights) - 1:
            values = _with_one(torch.relu(values))
    return values


def _with_one(values: torch.Tensor) -> torch.Tensor:
    """One more column, which meets the bias."""
    return torch.nn.functional.pad(values, (0, 1), value=1.0)


def _glorot(sizes: Sequence[int], seed: int) -> dict[str, Array]:
    """Normal weights of variance 2 / (fan_in + fan_out), the bias as one more column, zero."""
    rng = np.random.default_rng([seed, 0])
    networks = {}
    for number, (fan_in, fan_out) in enumerate(pairwise(sizes), 1):
        weight = rng.standard_normal((fan_out, fan_in)) * np.sqrt(2 / (fan_in + fan_out))
        networks[f"fc{number}"] = np.concatenate([weight, np.zeros((fan_out, 1))], axis=1)
    return networks
