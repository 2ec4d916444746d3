"""AdamW on the stacked parameters of several networks, each with a weight decay of its own.

Loshchilov and Hutter 2019, as torch.optim.AdamW computes it: decay first, then Adam's step.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

Update = Literal["auto", "plain", "triton"]
"""How a step is computed: six operations of torch, or one Triton kernel (GPUs alone)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The constants of AdamW."""

    learning_rate: float
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8


class AdamW:
    """Parameters, gradients and moments, each [runs, size], and the step that moves them."""

    def __init__(
        self,
        parameters: torch.Tensor,
        decays: Sequence[float],
        settings: Settings,
        *,
        update: Update = "auto",
    ) -> None:
        self.parameters = parameters
        self.gradient = torch.zeros_like(parameters)
        self.first = torch.zeros_like(parameters)
        self.second = torch.zeros_like(parameters)
        self._settings = settings
        self._scratch = torch.empty_like(parameters)
        rates = torch.tensor(decays, dtype=torch.float64) * settings.learning_rate
        self._keep = (1 - rates).to(parameters)[:, None]
        self._decays = any(decays)
        beta1, beta2 = settings.beta1, settings.beta2
        self._constants = torch.tensor(
            [beta1, 1 - beta1, beta2, 1 - beta2, settings.epsilon], dtype=torch.float64
        ).to(parameters)
        self._triton = _wants_triton(update, parameters.device)

    def state(self) -> dict[str, torch.Tensor]:
        """Parameters and moments."""
        return {"parameters": self.parameters, "first": self.first, "second": self.second}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take over what `state` gave."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])

    def corrections(self, done: int, steps: int) -> torch.Tensor:
        """[steps, 2]: learning rate over 1 - beta1^t, and 1 / sqrt(1 - beta2^t), t from done + 1 on."""
        device = self.parameters.device  # made there: a copy from here would wait for the device
        t = torch.arange(done + 1, done + steps + 1, dtype=torch.float64, device=device)
        settings = self._settings
        pairs = torch.stack(
            [
                settings.learning_rate / (1 - settings.beta1**t),
                (1 - settings.beta2**t).rsqrt(),
            ],
            dim=1,
        )
        return pairs.to(self.parameters)

    def step(self, correction: torch.Tensor) -> None:
        """Move the parameters along the gradient; `correction` is one row of `corrections`."""
        if self._triton:
            from jobs.experiments.training.adamw_kernel import fused_step

            fused_step(
                self.parameters,
                self.first,
                self.second,
                self.gradient,
                self._keep,
                self._constants,
                correction,
            )
            return
        settings, scratch = self._settings, self._scratch
        if self._decays:
            self.parameters.mul_(self._keep)
        self.first.lerp_(self.gradient, 1 - settings.beta1)
        self.second.mul_(settings.beta2)
        self.second.addcmul_(self.gradient, self.gradient, value=1 - settings.beta2)
        torch.sqrt(self.second, out=scratch)
        scratch.mul_(correction[1]).add_(settings.epsilon)
        torch.div(self.first, scratch, out=scratch)
        self.parameters.sub_(scratch.mul_(correction[0]))


def _wants_triton(update: Update, device: torch.device) -> bool:
    if update == "auto":
        return device.type == "cuda" and importlib.util.find_spec("triton") is not None
    return update == "triton"
