"""Perceptrons on pictures, several at once: mean squared error against one-hot labels, ReLU, AdamW.

Liu et al. 2022 (Omnigrok); Prakash and Martin 2026, Table 2. The gradient is written out: fifteen kernels a
step for all runs together. A bias is one more column of its matrix, behind which the inputs hold a one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from jobs.experiments.training.adamw import AdamW, Settings, Update
from jobs.experiments.training.flat import Array, Layout
from jobs.experiments.training.order import orders
from jobs.experiments.training.stack import Chunks, Measures, Run

CLASSES = 10
"""The digits."""
DEFAULT = Settings(learning_rate=5e-4)
"""The papers' optimiser, the decay aside."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """A data set, flat, and how many of it are trained on."""

    images: NDArray[np.float32]
    """[count, pixels], 0 to 1."""
    labels: NDArray[np.int64]
    num_train: int
    """As many of each class; which ones is chosen by a run's seed, the rest is its test set."""
    num_candidates: int | None = None
    """Only the first so many may be trained on, and only the others are tested on."""

    def training(self, seed: int) -> NDArray[np.int64]:
        """Indices of the training pictures of `seed`, `num_train` / 10 of each class."""
        rng = np.random.default_rng([seed, 1])
        each = self.num_train // CLASSES
        labels = self.labels[: self.num_candidates]
        chosen = [
            rng.permutation(np.flatnonzero(labels == digit))[:each] for digit in range(CLASSES)
        ]
        return np.sort(np.concatenate(chosen))

    def testing(self, seed: int) -> NDArray[np.int64]:
        """Indices of the test pictures of `seed`."""
        if self.num_candidates is not None:
            return np.arange(self.num_candidates, len(self.labels))
        return np.setdiff1d(np.arange(len(self.labels)), self.training(seed))


@dataclass(frozen=True, slots=True)
class Shape:
    """A perceptron and how it is trained."""

    hidden: tuple[int, int] = (200, 200)
    scale: float = 8.0
    """The first weights and biases are so many times torch's own."""
    batch: int = 200
    adamw: Settings = DEFAULT
    steps_a_graph: int = 100


def initial(sizes: Sequence[int], *, seed: int, scale: float) -> list[tuple[Array, Array]]:
    """(weight, bias) of each layer as torch.nn.Linear draws them, uniform in ±1/√fan_in, times `scale`."""
    rng = np.random.default_rng([seed, 0])
    layers = []
    for fan_in, fan_out in pairwise(sizes):
        bound = scale / np.sqrt(fan_in)
        weight, bias = (rng.uniform(-bound, bound, s) for s in ((fan_out, fan_in), (fan_out,)))
        layers.append((weight, bias))
    return layers


class Perceptrons:
    """A stack of perceptrons; see `jobs.experiments.training.stack.Stack`."""

    def __init__(
        self,
        pictures: Pictures,
        runs: Sequence[Run],
        shape: Shape,
        *,
        dtype: torch.dtype,
        device: torch.device,
        update: Update = "auto",
    ) -> None:
        self.steps_done = 0
        self._shape, self._runs = shape, tuple(runs)
        self._sizes = (pictures.images.shape[1], *shape.hidden, CLASSES)
        padded = [_padded(size) for size in self._sizes]
        self._layout = Layout(
            {
                f"fc{layer + 1}": (self._sizes[layer + 1], padded[layer])
                for layer in range(len(self._sizes) - 1)
            }
        )
        rows = self._layout.rows(
            [self._first(run.seed) for run in runs], dtype=dtype, device=device
        )
        self._adamw = AdamW(rows, [run.decay for run in runs], shape.adamw, update=update)
        self._weights = list(self._layout.views(rows).values())
        self._gradients = list(self._layout.views(self._adamw.gradient).values())
        self._read(pictures, dtype=dtype, device=device)
        self._make_buffers(padded, dtype=dtype, device=device)
        self._chunks = Chunks(
            self._prepare,
            self._step,
            length=shape.steps_a_graph,
            device=device,
            kept=self.state,
        )

    def advance(self, steps: int) -> None:
        """So many more updates of every network."""
        self.steps_done = self._chunks.advance(self.steps_done, steps)

    def measure(self) -> list[Measures]:
        """Accuracy and mean squared error on both sets, and the norm of all parameters, of each run."""
        measured: list[Measures] = []
        for run in range(len(self._runs)):
            hidden = self._images
            for layer, weights in enumerate(self._weights):
                used = weights[run, :, : self._sizes[layer] + 1]
                hidden = hidden @ used.T
                if layer < len(self._weights) - 1:
                    hidden = torch.relu(hidden)
                    hidden = torch.cat([hidden, hidden.new_ones(len(hidden), 1)], dim=1)
            right = (hidden.argmax(dim=1) == self._labels).to(hidden.dtype)
            errors = (hidden - self._one_hot).square().mean(dim=1)
            shares = self._shares[run]
            norm = torch.linalg.vector_norm(self._adamw.parameters[run])
            values = [(what * share).sum() for what in (right, errors) for share in shares]
            numbers = torch.stack([*values, norm]).tolist()
            names = ("train_accuracy", "test_accuracy", "train_loss", "test_loss", "l2_norm")
            measured.append(dict(zip(names, numbers, strict=True)))
        return measured

    def tensors(self, run: int) -> dict[str, Array]:
        """`fc1.weight`, `fc1.bias`, … of one network."""
        tensors: dict[str, Array] = {}
        for layer, weights in enumerate(self._weights):
            values = weights[run].to("cpu", torch.float64).numpy()
            fan_in = self._sizes[layer]
            tensors[f"fc{layer + 1}.weight"] = values[:, :fan_in].copy()
            tensors[f"fc{layer + 1}.bias"] = values[:, fan_in].copy()
        return tensors

    def state(self) -> dict[str, torch.Tensor]:
        """Parameters and moments."""
        return self._adamw.state()

    def load(self, state: Mapping[str, torch.Tensor], steps_done: int) -> None:
        """Go on from what `state` gave after `steps_done` updates."""
        self._adamw.load(state)
        self.steps_done = steps_done

    def put(self, networks: Sequence[Mapping[str, torch.Tensor]]) -> None:
        """Set the weights of every run, by the names of `tensors`; moments and steps begin anew."""
        for run, network in enumerate(networks):
            for layer, weights in enumerate(self._weights):
                fan_in = self._sizes[layer]
                weights[run, :, :fan_in] = network[f"fc{layer + 1}.weight"].to(weights)
                weights[run, :, fan_in] = network[f"fc{layer + 1}.bias"].to(weights)
        self._adamw.first.zero_()
        self._adamw.second.zero_()
        self.steps_done = 0

    def _first(self, seed: int) -> dict[str, Array]:
        """The first weights, the bias as one more column, zeros behind it."""
        networks = {}
        drawn = initial(self._sizes, seed=seed, scale=self._shape.scale)
        for (name, shape), (weight, bias) in zip(self._layout.shapes.items(), drawn, strict=True):
            values = np.zeros(shape)
            values[:, : weight.shape[1]] = weight
            values[:, weight.shape[1]] = bias
            networks[name] = values
        return networks

    def _read(self, pictures: Pictures, *, dtype: torch.dtype, device: torch.device) -> None:
        """The pictures on the device: all of them for measuring, and each run's own for training."""
        images = torch.from_numpy(pictures.images)
        labels = torch.from_numpy(pictures.labels)
        one_hot = torch.nn.functional.one_hot(labels, CLASSES)
        inputs = _padded(images.shape[1])
        whole = torch.zeros(len(images), inputs + _padded(CLASSES), dtype=torch.float64)
        whole[:, : images.shape[1]] = images
        whole[:, images.shape[1]] = 1
        whole[:, inputs : inputs + CLASSES] = one_hot
        whole = whole.to(device=device, dtype=dtype)
        training = [torch.from_numpy(pictures.training(run.seed)) for run in self._runs]
        self._table = torch.cat([whole[chosen.to(device)] for chosen in training])
        self._num_train = len(training[0])
        self._images = whole[:, : images.shape[1] + 1].contiguous()
        self._one_hot = whole[:, inputs : inputs + CLASSES].contiguous()
        self._labels = labels.to(device)
        shares = torch.zeros(len(self._runs), 2, len(images), dtype=torch.float64)
        for run, chosen in enumerate(training):
            tested = torch.from_numpy(pictures.testing(self._runs[run].seed))
            shares[run, 0, chosen] = 1 / len(chosen)
            shares[run, 1, tested] = 1 / len(tested)
        self._shares = shares.to(device=device, dtype=dtype)
        self._seeds = torch.tensor([run.seed for run in self._runs], device=device)

    def _make_buffers(
        self, padded: Sequence[int], *, dtype: torch.dtype, device: torch.device
    ) -> None:
        """What the steps of a graph read and write, at addresses that never change."""
        runs, batch, length = len(self._runs), self._shape.batch, self._shape.steps_a_graph

        def empty(*shape: int) -> torch.Tensor:
            return torch.zeros(*shape, dtype=dtype, device=device)

        self._picked = torch.zeros(length, runs * batch, dtype=torch.int64, device=device)
        self._corrections = empty(length, 2)
        self._batch = empty(runs * batch, self._table.shape[1])
        both = self._batch.view(runs, batch, -1)
        self._inputs = both[:, :, : padded[0]]
        self._targets = both[:, :, padded[0] : padded[0] + CLASSES]
        self._hidden, self._active, self._deltas = [], [], []
        for size, room in zip(self._sizes[1:-1], padded[1:-1], strict=True):
            whole = empty(runs, batch, room)
            whole[:, :, size] = 1  # meets the bias
            self._hidden.append(whole)
            self._active.append(whole[:, :, :size])
            self._deltas.append(empty(runs, batch, size))
        self._error = empty(runs, batch, CLASSES)

    def _prepare(self, done: int, steps: int) -> None:
        """Which pictures the next `steps` take, and what AdamW corrects by."""
        batch, count, runs = self._shape.batch, self._num_train, len(self._runs)
        each = count // batch
        first = done // each
        epochs = -(-(done + steps) // each) - first
        order = orders(self._seeds, first, epochs, count)[:, :, : each * batch]
        offsets = torch.arange(runs, device=order.device)[None, :, None] * count
        batches = (order + offsets).view(epochs, runs, each, batch).transpose(1, 2)
        batches = batches.reshape(epochs * each, runs * batch)
        begin = done - first * each
        self._picked[:steps].copy_(batches[begin : begin + steps])
        self._corrections[:steps].copy_(self._adamw.corrections(done, steps))

    def _step(self, k: int) -> None:
        """One update of all networks."""
        torch.index_select(self._table, 0, self._picked[k], out=self._batch)
        w1, w2, w3 = self._weights
        g1, g2, g3 = self._gradients
        (h1, h2), (a1, a2), (d1, d2) = self._hidden, self._active, self._deltas
        torch.bmm(self._inputs, w1.mT, out=a1)
        a1.relu_()
        torch.bmm(h1, w2.mT, out=a2)
        a2.relu_()
        times = 2 / (self._shape.batch * CLASSES)  # of the mean of squares
        torch.baddbmm(self._targets, h2, w3.mT, beta=-times, alpha=times, out=self._error)
        torch.bmm(self._error.mT, h2, out=g3)
        torch.bmm(self._error, w3[:, :, : self._sizes[2]], out=d2)
        _where_active(d2, a2)
        torch.bmm(d2.mT, h1, out=g2)
        torch.bmm(d2, w2[:, :, : self._sizes[1]], out=d1)
        _where_active(d1, a1)
        torch.bmm(d1.mT, self._inputs, out=g1)
        self._adamw.step(self._corrections[k])


def _where_active(delta: torch.Tensor, active: torch.Tensor) -> None:
    """Zero `delta` wherever a ReLU gave nothing, in place: one kernel."""
    torch.ops.aten.threshold_backward.grad_input(delta, active, 0, grad_input=delta)


def _padded(size: int) -> int:
    """Columns for `size` inputs and a one, to a multiple of eight."""
    return (size + 8) // 8 * 8
