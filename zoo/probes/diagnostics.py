"""What a network does on random inputs, traps aside: how sparse its activations are, and how much its
outputs depend on single weights. The progress measures that grokking is said to be seen in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from zoo.probes.divergence import kullback_leibler
from zoo.probes.layer import batches
from zoo.probes.network import Network
from zoo.probes.options import ProbeOptions
from zoo.seeds import seed_for

SPARSE_BELOW = 0.1
"""τ: an activation below it counts as silent."""
MASKED_SHARE = 0.1
"""Share of the weights that are set to 0 for the circuit complexity."""
_MODULES = ("torch.nn.modules.activation", "transformers.activations")
"""Where the classes of activation functions live."""
_NO_ACTIVATION = (torch.nn.Softmax, torch.nn.LogSoftmax, torch.nn.MultiheadAttention)


@dataclass(frozen=True, slots=True)
class NetworkDiagnostics:
    """Progress measures of one network on its probes (Prakash and Martin 2026; Golechha 2024)."""

    activation_sparsity: float | None
    """Share of the activations below 0.1 behind the activation functions, every layer alike, in [0, 1];
    None where no module of the network is an activation function, or one gives NaN."""
    circuit_complexity: float | None
    """Approximate local circuit complexity in nats a probe, ≥ 0: KL(p ‖ p′), p′ with a tenth of the
    entries of every matrix set to 0 by a seeded mask; None where a logit is not finite."""


def network_diagnostics(network: Network, options: ProbeOptions) -> NetworkDiagnostics:
    """Both measures over the probes of `options`; the network is left as it was."""
    silent, total = 0.0, 0
    divergences: list[torch.Tensor] = []
    for inputs in batches(network, options):
        with _counting(network.module) as counts:
            before = network.logits(inputs)
        silent += sum(part for part, _ in counts)
        total += sum(size for _, size in counts)
        with _masked(network.module, options.seed):
            after = network.logits(inputs)
        classes = before.shape[-1]
        divergences.append(
            kullback_leibler(
                before.reshape(-1, classes),
                after.reshape(-1, classes),
                temperature=options.temperature,
            )
        )
    complexity = float(torch.cat(divergences).double().mean())
    sparsity = silent / total if total else None
    return NetworkDiagnostics(
        activation_sparsity=None if sparsity is None or sparsity != sparsity else sparsity,
        circuit_complexity=complexity if complexity == complexity else None,
    )


@contextmanager
def _counting(module: torch.nn.Module) -> Iterator[list[tuple[float, int]]]:
    """Collects (silent activations, all of them) of every activation function that is called."""
    counts: list[tuple[float, int]] = []

    def count(_: torch.nn.Module, __: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            silent = (output < SPARSE_BELOW).sum().item()
            has_nan = bool(output.isnan().any())
            counts.append((float("nan") if has_nan else float(silent), output.numel()))

    handles = [
        part.register_forward_hook(count)
        for part in module.modules()
        if type(part).__module__ in _MODULES and not isinstance(part, _NO_ACTIVATION)
    ]
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _masked(module: torch.nn.Module, seed: int) -> Iterator[None]:
    """Inside, a tenth of the entries of every matrix is 0: a seeded Bernoulli mask by its name."""
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim >= 2:
                kept.append((parameter, parameter.detach().clone()))
                drawn = torch.Generator().manual_seed(seed_for("mask", name, seed) % (1 << 63))
                mask = torch.rand(parameter.shape, generator=drawn) < MASKED_SHARE
                parameter.masked_fill_(mask.to(parameter.device), 0)
        try:
            yield
        finally:
            for masked, values in kept:
                masked.copy_(values)
