"""The transformer of experiment `addition` as a module with parts that probes can replace, and its random inputs.

`zoo probe --factory jobs.experiments.addition_network:build` probes its checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

Draw = Callable[[int, torch.Generator], Mapping[str, Any]]
"""Inputs of so many probes."""


class _Attention(torch.nn.Module):
    """Causal, without biases; the modules bear the papers' names."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.W_Q = torch.nn.Linear(width, width, bias=False)
        self.W_K = torch.nn.Linear(width, width, bias=False)
        self.W_V = torch.nn.Linear(width, width, bias=False)
        self.out_proj = torch.nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, positions, width]"""
        batch, length, width = x.shape

        def split(values: torch.Tensor) -> torch.Tensor:
            return values.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

        mixed = torch.nn.functional.scaled_dot_product_attention(
            split(self.W_Q(x)), split(self.W_K(x)), split(self.W_V(x)), is_causal=True
        )
        out: torch.Tensor = self.out_proj(mixed.transpose(1, 2).reshape(batch, length, width))
        return out


class _Perceptron(torch.nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = torch.nn.Linear(width, hidden), torch.nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, positions, width]"""
        out: torch.Tensor = self.fc2(torch.relu(self.fc1(x)))
        return out


class _Block(torch.nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attn, self.mlp = _Attention(width, heads), _Perceptron(width, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Both with a residual, no LayerNorm."""
        x = x + self.attn(x)
        out: torch.Tensor = x + self.mlp(x)
        return out


class _Named(torch.nn.Module):
    """A module of one name inside another: the papers' embed.embed and unembed.unembed."""

    def __init__(self, name: str, module: torch.nn.Module) -> None:
        super().__init__()
        self.add_module(name, module)
        self._name = name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What the module in it gives."""
        out: torch.Tensor = self.get_submodule(self._name)(x)
        return out


class AdditionTransformer(torch.nn.Module):
    """One layer; logits [batch, 3, words] of tokens [batch, 3]."""

    def __init__(self, *, p: int, width: int, heads: int, mlp: int) -> None:
        super().__init__()
        words = p + 1
        self.embed = _Named("embed", torch.nn.Embedding(words, width))
        self.pos_embed = torch.nn.Embedding(3, width)
        self.blocks = torch.nn.ModuleList([_Block(width, heads, mlp)])
        self.unembed = _Named("unembed", torch.nn.Linear(width, words, bias=False))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits of every position."""
        x = self.embed(tokens) + self.pos_embed.weight
        for block in self.blocks:
            x = block(x)
        out: torch.Tensor = self.unembed(x)
        return out


def build(config: Mapping[str, Any]) -> tuple[torch.nn.Module, Draw]:
    """The module of a config.json and its probes: x and y uniform, then "="."""
    p = int(config["p"])
    module = AdditionTransformer(
        p=p, width=int(config["width"]), heads=int(config["heads"]), mlp=int(config["mlp"])
    )

    def draw(count: int, generator: torch.Generator) -> Mapping[str, Any]:
        numbers = torch.randint(0, p, (count, 2), generator=generator)
        return {"tokens": torch.cat([numbers, torch.full((count, 1), p)], dim=1)}

    return module, draw
