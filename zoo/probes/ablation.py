"""One layer of a network with another matrix for a while: by a term added to its output where that is
the same, else by exchanging the weight and restoring it bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float32

from zoo.probes.sites import Site

Change = Float32[torch.Tensor, "rows cols"]
"""ΔW in the layer's own orientation."""


@dataclass(frozen=True, slots=True)
class Ablation:
    """A layer inside a network, ready to be changed."""

    target: torch.nn.Module
    """The module whose output changes: what lies before its first call does not."""
    parameter: torch.nn.Parameter
    site: Site
    is_added: bool
    """True where ΔW·x is added to the output of `target`; else the weight is exchanged."""
    is_shared: bool
    """True where several modules hold the parameter: all of them change."""

    @contextmanager
    def by(self, *changes: Change) -> Iterator[None]:
        """Inside, the layer's matrix is W + change.

        Several changes, where `is_added`: the inputs of the pass are as many equal parts, one after the
        other, and each part meets its own.
        """
        if self.is_added:
            handle = self.target.register_forward_hook(self._adding(changes))
            try:
                yield
            finally:
                handle.remove()
            return
        (change,) = changes
        if self.parameter.is_meta:
            handle = self.target.register_forward_pre_hook(self._exchanging(change))
            try:
                yield
            finally:
                handle.remove()
            return
        with torch.no_grad():
            kept = self.site.view(self.parameter).clone()
            self.site.add(self.parameter, change)
            try:
                yield
            finally:
                self.site.view(self.parameter).copy_(kept)

    def _exchanging(self, change: Change) -> Callable[..., None]:
        """A hook for a weight that is loaded for each call, and dropped after it."""
        name = self.site.parameter.rpartition(".")[2]

        def hook(module: torch.nn.Module, _: object) -> None:
            with torch.no_grad():
                self.site.add(module.get_parameter(name), change)

        return hook

    def _adding(self, changes: Sequence[Change]) -> Callable[..., torch.Tensor]:
        """A hook: the output and what ΔW makes of the input, in float32, rounded once."""
        kind, lines, axis = type(self.target), self.site.lines, self.site.axis
        stored = torch.stack([self.site.stored(change) for change in changes])
        moved = stored if self.parameter.is_meta else stored.to(self.parameter.device)
        if _is_flipped(kind):  # it stores [in, out]
            moved, axis = moved.transpose(1, 2), 1 - axis

        def hook(
            _: torch.nn.Module, given: tuple[torch.Tensor, ...], out: torch.Tensor
        ) -> torch.Tensor:
            nonlocal moved
            values = given[0]
            moved = moved.to(values.device)
            if kind is torch.nn.Embedding:
                parts = values.chunk(len(moved))
                term = torch.cat(
                    [
                        torch.nn.functional.embedding(part, table)
                        for part, table in zip(parts, moved, strict=True)
                    ]
                )
            elif lines is not None and axis == 1:
                term = _products(values[..., lines.to(values.device)], moved)
            else:
                term = _products(values, moved)
            if lines is None or axis == 1:
                return (out.float() + term).to(out.dtype)
            total = out.float().index_add(-1, lines.to(out.device), term)
            return total.to(out.dtype)

        return hook


def _products(values: torch.Tensor, moved: torch.Tensor) -> torch.Tensor:
    """ΔW·x in float32: each of the matrices `moved` with its part of the inputs."""
    if len(moved) == 1:
        return torch.nn.functional.linear(values.float(), moved[0])
    parts = values.float().reshape(len(moved), -1, values.shape[-1])
    term = torch.bmm(parts, moved.transpose(1, 2))
    return term.reshape(*values.shape[:-1], moved.shape[1])


def ablation_at(network: torch.nn.Module, site: Site) -> Ablation:
    """How the matrix at `site` is changed in `network`."""
    parameter = network.get_parameter(site.parameter)
    owners = [
        (module, name)
        for module in network.modules()
        for name, held in module.named_parameters(recurse=False)
        if held is parameter
    ]
    owner, name = owners[0]
    is_shared = len(owners) > 1
    is_alone = name == "weight" and site.index is None and site.place is None and not is_shared
    kind = type(owner)
    is_table = kind is torch.nn.Embedding and site.lines is None
    is_added = is_alone and (kind is torch.nn.Linear or _is_flipped(kind) or is_table)
    return Ablation(network if is_shared else owner, parameter, site, is_added, is_shared)


def _is_flipped(kind: type[torch.nn.Module]) -> bool:
    """True for the Conv1D of GPT-2, a linear map that stores its weight [in, out]."""
    return kind.__name__ == "Conv1D"
