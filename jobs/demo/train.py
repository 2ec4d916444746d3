"""A perceptron trained far beyond memorisation, in numpy: the setting in which Correlation Traps were found.

64 pixels -> 100 -> 100 -> 10, ReLU, mean squared error against one-hot labels, batches of 50, AdamW without
weight decay (which is Adam), PyTorch's default initialisation times 8 (Liu et al. 2022, Omnigrok; Prakash and
Martin 2026). Written by hand because at this size a framework's overhead is nine tenths of a step. Batches of 50
grok three times earlier than full batches of 200 (test 0.86 instead of 0.36 at 60,000 steps), and reach the late
decline within 200,000 steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
"""Pictures, weights and their gradients."""
Labels = NDArray[np.int64]
"""The digit that each picture shows."""

WIDTH = 100
"""Units of each hidden layer."""
CLASSES = 10
"""The digits."""
INIT_SCALE = 8.0
"""The first weights are so many times the usual ones, which makes a network memorise first."""
LEARNING_RATE = 3e-3
BATCH = 50
"""Pictures of one step."""
# the usual constants of Adam
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True, slots=True)
class Digits:
    """scikit-learn's 8x8 digits, split."""

    train_images: Floats
    """[num_train, 64], 0 to 1."""
    train_labels: Labels
    test_images: Floats
    test_labels: Labels


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The network after `step` updates."""

    step: int
    tensors: dict[str, Floats]
    train_accuracy: float
    test_accuracy: float


def load_digits(*, num_train: int, seed: int, shuffle_labels: bool = False) -> Digits:
    """A seeded split; with `shuffle_labels` the training labels are permuted, so there is nothing to learn."""
    from sklearn.datasets import load_digits as load

    data = load()
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(data.target))
    images = (data.data[order] / 16).astype(np.float32)
    labels = data.target[order].astype(np.int64)
    train_labels = labels[:num_train]
    if shuffle_labels:
        train_labels = rng.permutation(train_labels)
    return Digits(images[:num_train], train_labels, images[num_train:], labels[num_train:])


class Perceptron:
    """Parameters, gradients and Adam's moments, each one flat array seen through six views."""

    def __init__(self, num_inputs: int, *, seed: int, scale: float) -> None:
        rng = np.random.default_rng(seed)
        shapes: list[tuple[int, ...]] = []
        values: list[NDArray[np.float64]] = []
        for fan_out, fan_in in ((WIDTH, num_inputs), (WIDTH, WIDTH), (CLASSES, WIDTH)):
            bound = 1 / np.sqrt(
                fan_in
            )  # torch.nn.Linear: uniform in ±1/√fan_in, weights and biases
            shapes += [(fan_out, fan_in), (fan_out,)]
            values += [rng.uniform(-bound, bound, shape) for shape in shapes[-2:]]
        self._flat = (np.concatenate([v.ravel() for v in values]) * scale).astype(np.float32)
        self._gradient = np.zeros_like(self._flat)
        self._first = np.zeros_like(self._flat)
        self._second = np.zeros_like(self._flat)
        self._scratch = np.zeros_like(self._flat)
        self.parameters = _views(self._flat, shapes)
        self._gradients = _views(self._gradient, shapes)
        self._steps = 0

    def logits(self, images: Floats) -> Floats:
        """[batch, 10]"""
        w1, b1, w2, b2, w3, b3 = self.parameters
        hidden = np.maximum(images @ w1.T + b1, 0)
        hidden = np.maximum(hidden @ w2.T + b2, 0)
        result: Floats = hidden @ w3.T + b3
        return result

    def accuracy(self, images: Floats, labels: Labels) -> float:
        """Share of images whose largest logit is their label."""
        return float((self.logits(images).argmax(axis=1) == labels).mean())

    def update(self, images: Floats, targets: Floats) -> None:
        """One Adam step on the mean squared error against one-hot `targets`."""
        w1, b1, w2, b2, w3, b3 = self.parameters
        g1, h1, g2, h2, g3, h3 = self._gradients
        first = images @ w1.T
        first += b1
        np.maximum(first, 0, out=first)
        second = first @ w2.T
        second += b2
        np.maximum(second, 0, out=second)
        delta = second @ w3.T
        delta += b3
        delta -= targets
        delta *= 2 / delta.size
        np.dot(delta.T, second, out=g3)
        delta.sum(axis=0, out=h3)
        delta = delta @ w3
        delta *= second > 0
        np.dot(delta.T, first, out=g2)
        delta.sum(axis=0, out=h2)
        delta = delta @ w2
        delta *= first > 0
        np.dot(delta.T, images, out=g1)
        delta.sum(axis=0, out=h1)
        self._adam()

    def _adam(self) -> None:
        self._steps += 1
        gradient, scratch = self._gradient, self._scratch
        self._first *= BETA1
        np.multiply(gradient, 1 - BETA1, out=scratch)
        self._first += scratch
        self._second *= BETA2
        np.multiply(gradient, gradient, out=scratch)
        scratch *= 1 - BETA2
        self._second += scratch
        np.sqrt(self._second, out=scratch)
        scratch *= 1 / np.sqrt(1 - BETA2**self._steps)
        scratch += EPSILON
        np.divide(self._first, scratch, out=scratch)
        scratch *= LEARNING_RATE / (1 - BETA1**self._steps)
        self._flat -= scratch


def train(
    digits: Digits, *, steps: tuple[int, ...], seed: int, scale: float = INIT_SCALE
) -> Iterator[Snapshot]:
    """Train to the last of `steps` (ascending), yielding a snapshot at each; step 0 is the initial network."""
    network = Perceptron(digits.train_images.shape[1], seed=seed, scale=scale)
    targets = np.eye(CLASSES, dtype=np.float32)[digits.train_labels]
    batches = np.random.default_rng([seed, 1])
    done = 0
    for step in steps:
        for _ in range(step - done):
            batch = batches.integers(0, len(targets), BATCH)
            network.update(digits.train_images[batch], targets[batch])
        done = step
        yield _snapshot(network, digits, step)


def _snapshot(network: Perceptron, digits: Digits, step: int) -> Snapshot:
    names = [f"fc{layer}.{kind}" for layer in (1, 2, 3) for kind in ("weight", "bias")]
    return Snapshot(
        step,
        {name: value.copy() for name, value in zip(names, network.parameters, strict=True)},
        network.accuracy(digits.train_images, digits.train_labels),
        network.accuracy(digits.test_images, digits.test_labels),
    )


def _views(flat: Floats, shapes: list[tuple[int, ...]]) -> list[Floats]:
    views, start = [], 0
    for shape in shapes:
        size = int(np.prod(shape))
        views.append(flat[start : start + size].reshape(shape))
        start += size
    return views
