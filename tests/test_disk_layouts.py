"""A model on disk gives the spectra of its modules, in whatever layout `transformers` stores it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import tiny_fused
from tests.test_architectures import taken
from zoo.formats.account import account
from zoo.io.local import LocalLocation
from zoo.io.opening import open_checkpoint
from zoo.layers.spec import LayerSpec
from zoo.layers.take import take
from zoo.options import LayerSelection

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # transformers warns about its own defaults
]

IN_OTHER_PIECES = {"ssm_conv", "embedding"}
"""Convolutions of q, k and v are one in the module; Molmo keeps an embedding in two pieces."""


def is_of_tower(layer: LayerSpec) -> bool:
    """Inkling numbers on disk what the module names, in its two small towers."""
    return re.search(r"visual|vision|audio", layer.tensor) is not None


def spectrum(layer: LayerSpec, loaded: torch.Tensor) -> tuple[object, ...]:
    """Role and singular values, which know nothing of names, order and orientation."""
    values = np.linalg.svd(layer.matrices(loaded).double().numpy(), compute_uv=False)
    return layer.role, layer.expert is not None, tuple(np.sort(values.ravel()).round(6))


def in_modules(model: Any) -> Counter[tuple[object, ...]]:
    state = model.state_dict()
    tensors = {n: (tuple(t.shape), t.dtype) for n, t in state.items()}
    layers = taken(tensors, model.config.to_dict()).specs
    return Counter(
        spectrum(layer, state[layer.tensor]) for layer in layers if not is_of_tower(layer)
    )


@pytest.mark.parametrize("family", tiny_fused.ON_DISK)
def test_spectra_on_disk_are_those_of_the_modules(family: str, tmp_path: Path) -> None:
    model = tiny_fused.build(family)
    model.save_pretrained(tmp_path)
    with open_checkpoint(LocalLocation(str(tmp_path)).open()) as checkpoint:
        layers = take(checkpoint, account(checkpoint), LayerSelection()).specs
        assert not [layer.note for layer in layers if layer.note]
        names = set(model.state_dict())
        assert not names.issuperset(checkpoint.tensors), "stored as in the modules"
        on_disk = Counter(
            spectrum(layer, layer.weight.load(checkpoint))
            for layer in layers
            if layer.weight is not None and layer.is_measurable and not is_of_tower(layer)
        )
    expected = in_modules(model)
    assert {role for role, *_ in on_disk - expected} <= IN_OTHER_PIECES
    assert {role for role, *_ in expected - on_disk} <= IN_OTHER_PIECES | {"lm_head"}  # tied
