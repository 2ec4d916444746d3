"""Weights stored as what they are computed from, against torch's own modules."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn.utils import parametrizations, prune, spectral_norm

from zoo.formats.account import account
from zoo.io.memory import memory_checkpoint
from zoo.layers.take import take
from zoo.options import LayerSelection


def trained(module: torch.nn.Module) -> torch.nn.Module:
    """A few steps of the power iteration, then as it would be saved."""
    for _ in range(3):
        module(torch.ones(2, *((5,) if isinstance(module, torch.nn.Linear) else (5, 6, 6))))
    return module.eval()


@pytest.mark.filterwarnings("ignore:.*spectral_norm.*:FutureWarning")
@pytest.mark.parametrize(
    "made",
    [
        lambda: spectral_norm(torch.nn.Linear(5, 7)),
        lambda: spectral_norm(torch.nn.ConvTranspose2d(5, 5, 2)),
        lambda: parametrizations.spectral_norm(torch.nn.Conv2d(5, 4, 3)),
        lambda: prune.random_unstructured(torch.nn.Linear(5, 7), "weight", 0.5),
    ],
    ids=["linear", "transposed", "parametrised", "pruned"],
)
def test_the_weight_is_the_one_the_module_computes_with(
    made: Callable[[], torch.nn.Linear],
) -> None:
    torch.manual_seed(0)
    module = trained(made())
    with torch.no_grad():
        module(torch.ones(1, *((5,) if isinstance(module, torch.nn.Linear) else (5, 6, 6))))
    checkpoint = memory_checkpoint({f"a.{n}": t for n, t in module.state_dict().items()}, {})
    (spec,) = take(checkpoint, account(checkpoint), LayerSelection()).specs
    assert spec.weight is not None
    assert spec.tensor == "a.weight"
    torch.testing.assert_close(spec.weight.load(checkpoint), module.weight.detach())


def test_an_unknown_parametrisation_is_an_error() -> None:
    checkpoint = memory_checkpoint({"a.parametrizations.weight.original": torch.ones(4, 3)}, {})
    (spec,) = take(checkpoint, account(checkpoint), LayerSelection()).specs
    assert "how the weight is computed" in (spec.fail_reason or "")
