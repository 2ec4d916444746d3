"""One-layer transformers on addition modulo p, several at once: x y = -> x + y mod p.

No LayerNorm, causal attention, ReLU, cross-entropy at the last position; full batch (Nanda et al. 2023, whose
first weights and optimiser these are; Prakash and Martin 2026 do not state theirs). Only the last position is
read, whose query is that of "=" in every example, and keys and values depend on one token each: so they are
computed once a token and spread over the examples by products with one-hot matrices, which are the same
numbers in the same order on every run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from jobs.experiments.training.adamw import AdamW, Settings, Update
from jobs.experiments.training.flat import Array, Layout
from jobs.experiments.training.stack import Chunks, Measures, Run

NAMES = {
    "embed": "embed.embed.weight",
    "position": "pos_embed.weight",
    "query": "blocks.0.attn.W_Q.weight",
    "key": "blocks.0.attn.W_K.weight",
    "value": "blocks.0.attn.W_V.weight",
    "out": "blocks.0.attn.out_proj.weight",
    "up": "blocks.0.mlp.fc1.weight",
    "up_bias": "blocks.0.mlp.fc1.bias",
    "down": "blocks.0.mlp.fc2.weight",
    "down_bias": "blocks.0.mlp.fc2.bias",
    "unembed": "unembed.unembed.weight",
}
"""Our short names, and those of a checkpoint, which are the papers'."""

DEFAULT = Settings(learning_rate=1e-3, beta1=0.9, beta2=0.98)
"""The optimiser of Nanda et al., the decay aside."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A transformer and how it is trained."""

    p: int = 113
    width: int = 128
    heads: int = 4
    mlp: int = 512
    train_fraction: float = 0.3
    adamw: Settings = DEFAULT
    steps_a_graph: int = 20


def initial(shape: Shape, seed: int) -> dict[str, Array]:
    """First weights by our short names: randn / √width, the head's / √vocabulary, biases zero."""
    rng = np.random.default_rng([seed, 0])
    width, mlp, words = shape.width, shape.mlp, shape.p + 1
    sizes = {
        "embed": (words, width), "position": (3, width), "query": (width, width),
        "key": (width, width), "value": (width, width), "out": (width, width),
        "up": (mlp, width), "down": (width, mlp), "unembed": (words, width),
    }  # fmt: skip
    first = {name: rng.standard_normal(size) / np.sqrt(width) for name, size in sizes.items()}
    first["unembed"] *= np.sqrt(width / words)
    return first | {"up_bias": np.zeros(mlp), "down_bias": np.zeros(width)}


def training_examples(shape: Shape, seed: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """[p·p]: which of the sums x + y (x = index // p, y = index % p) are trained on."""
    count = shape.p**2
    chosen = np.random.default_rng([seed, 1]).permutation(count)
    is_train = np.zeros(count, dtype=np.bool_)
    is_train[chosen[: int(count * shape.train_fraction)]] = True
    return is_train


class Transformers:
    """A stack of transformers; see `jobs.experiments.training.stack.Stack`."""

    def __init__(
        self,
        runs: Sequence[Run],
        shape: Shape,
        *,
        dtype: torch.dtype,
        device: torch.device,
        update: Update = "auto",
    ) -> None:
        self.steps_done = 0
        self._shape, self._runs = shape, tuple(runs)
        first = [initial(shape, run.seed) for run in runs]
        self._layout = Layout({name: value.shape for name, value in first[0].items()})
        rows = self._layout.rows(first, dtype=dtype, device=device)
        self._adamw = AdamW(rows, [run.decay for run in runs], shape.adamw, update=update)
        self._leaves = {  # what autograd differentiates by: the same memory as `rows`
            name: view.detach().requires_grad_() for name, view in self._layout.views(rows).items()
        }
        self._gradients = list(self._layout.views(self._adamw.gradient).values())
        self._read(dtype=dtype, device=device)
        self._corrections = torch.zeros(shape.steps_a_graph, 2, dtype=dtype, device=device)
        self._chunks = Chunks(
            self._prepare, self._step, length=shape.steps_a_graph, device=device, kept=self.state
        )

    def advance(self, steps: int) -> None:
        """So many more updates of every network."""
        self.steps_done = self._chunks.advance(self.steps_done, steps)

    def measure(self) -> list[Measures]:
        """Accuracy and cross-entropy on both sets, and the norm of all parameters, of each run."""
        measured: list[Measures] = []
        with torch.no_grad():
            for run in range(len(self._runs)):
                one = {name: leaf[run : run + 1] for name, leaf in self._leaves.items()}
                logits = _logits(one, self._all_x[None], self._all_y[None], self._shape.heads)[0]
                losses = -logits.double().log_softmax(dim=-1).gather(1, self._sums[:, None])[:, 0]
                right = (logits.argmax(dim=-1) == self._sums).double()
                train = self._is_train[run]
                norm = torch.linalg.vector_norm(self._adamw.parameters[run].double())
                values = [
                    what[chosen].mean() for what in (right, losses) for chosen in (train, ~train)
                ]
                numbers = torch.stack([*values, norm]).tolist()
                names = ("train_accuracy", "test_accuracy", "train_loss", "test_loss", "l2_norm")
                measured.append(dict(zip(names, numbers, strict=True)))
        return measured

    def tensors(self, run: int) -> dict[str, Array]:
        """One network, by the names of a checkpoint."""
        return {
            NAMES[name]: view[run].to("cpu", torch.float64).numpy().copy()
            for name, view in self._layout.views(self._adamw.parameters).items()
        }

    def state(self) -> dict[str, torch.Tensor]:
        """Parameters and moments."""
        return self._adamw.state()

    def load(self, state: Mapping[str, torch.Tensor], steps_done: int) -> None:
        """Go on from what `state` gave after `steps_done` updates."""
        self._adamw.load(state)
        self.steps_done = steps_done

    def _read(self, *, dtype: torch.dtype, device: torch.device) -> None:
        """One-hot rows of the first and second numbers: all for measuring, each run's own to train."""
        p, words = self._shape.p, self._shape.p + 1
        pairs = torch.arange(p * p)
        x, y = pairs // p, pairs % p
        sums = (x + y) % p
        trained = [torch.from_numpy(training_examples(self._shape, run.seed)) for run in self._runs]
        one_hot = torch.nn.functional.one_hot

        def spread(numbers: torch.Tensor) -> torch.Tensor:
            return one_hot(numbers, words).to(device=device, dtype=dtype)

        self._x = spread(torch.stack([x[chosen] for chosen in trained]))
        self._y = spread(torch.stack([y[chosen] for chosen in trained]))
        self._targets = one_hot(torch.stack([sums[chosen] for chosen in trained]), words)
        self._targets = self._targets.to(device=device, dtype=torch.float64)
        self._all_x, self._all_y = spread(x), spread(y)
        self._sums = sums.to(device)
        self._is_train = torch.stack(trained).to(device)

    def _prepare(self, done: int, steps: int) -> None:
        self._corrections[:steps].copy_(self._adamw.corrections(done, steps))

    def _step(self, k: int) -> None:
        """One update of all networks; the softmax in float64, as at tiny losses float32 rounds it to one."""
        logits = _logits(self._leaves, self._x, self._y, self._shape.heads)
        right = (logits.double().log_softmax(dim=-1) * self._targets).sum(dim=(1, 2))
        loss = -right.sum() / self._x.shape[1]  # of each run its mean: runs share no parameter
        gradients = torch.autograd.grad(loss, list(self._leaves.values()))
        torch._foreach_copy_(self._gradients, list(gradients))
        with torch.no_grad():
            self._adamw.step(self._corrections[k])


def _logits(
    w: Mapping[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor, heads: int
) -> torch.Tensor:
    """[runs, examples, words] at the last position; `x` and `y` are one-hot, [runs, examples, words]."""
    runs, words, width = w["embed"].shape
    equals = words - 1
    tokens = w["embed"][:, :equals]  # the numbers, each at either place
    places = [tokens + w["position"][:, place, None] for place in (0, 1)]
    last = w["embed"][:, equals:] + w["position"][:, 2:]
    sources = torch.cat([*places, last], dim=1)
    query = torch.bmm(last, w["query"].mT).view(runs, heads, 1, -1)

    def split(table: torch.Tensor) -> torch.Tensor:
        return table.view(runs, -1, heads, width // heads).transpose(1, 2)

    keys, values = (split(torch.bmm(sources, w[name].mT)) for name in ("key", "value"))
    scores = (keys * query).sum(-1).transpose(1, 2) / (
        width // heads
    ) ** 0.5  # runs, sources, heads
    values = values.transpose(1, 2).reshape(runs, -1, width)
    x, y = x[:, :, :equals], y[:, :, :equals]
    at_x = torch.bmm(x, torch.cat([scores[:, :equals], values[:, :equals]], dim=2))
    at_y = torch.bmm(y, torch.cat([scores[:, equals:-1], values[:, equals:-1]], dim=2))
    at_last = torch.cat([scores[:, -1:], values[:, -1:]], dim=2).expand_as(at_x)
    three = torch.stack([at_x, at_y, at_last], dim=2)  # runs, examples, 3, heads + width
    attention = three[..., :heads].softmax(dim=2)
    each = three[..., heads:].reshape(*three.shape[:3], heads, width // heads)
    mixed = (attention[..., None] * each).sum(dim=2)
    residual = last + torch.bmm(mixed.flatten(2), w["out"].mT)
    up = torch.relu(torch.baddbmm(w["up_bias"][:, None], residual, w["up"].mT))
    residual = residual + torch.baddbmm(w["down_bias"][:, None], up, w["down"].mT)
    return torch.bmm(residual, w["unembed"].mT)
