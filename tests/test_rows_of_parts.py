"""Parts of fused projections are the rows that the model's own code takes apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tests import tiny_fused, tiny_models
from tests.row_tracing import row_sets
from tests.test_architectures import taken
from zoo.layers.spec import LayerSpec

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # transformers warns about its own defaults
]

FAMILIES = {
    **dict.fromkeys(tiny_fused.MODELS, tiny_fused),
    **dict.fromkeys(
        ["gpt2", "gpt_bigcode", "codegen", "gpt_neox", "bloom", "falcon_7b", "falcon_40b", "falcon_rw",
         "phi3", "modernbert", "mamba", "mamba2", "jamba"],
        tiny_models,
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    return FAMILIES[request.param].build(request.param)


def split_projections(model: Any) -> Iterator[tuple[str, list[LayerSpec]]]:
    """Paths of the linear layers that are split, with their parts."""
    tensors = {n: (tuple(t.shape), t.dtype) for n, t in model.state_dict().items()}
    parts = defaultdict(list)
    for layer in taken(tensors, model.config.to_dict()).specs:
        if layer.part is not None and layer.expert is None:
            parts[layer.tensor.removesuffix(".weight")].append(layer)
    yield from parts.items()


def rows(layer: LayerSpec, num_rows: int, *, is_transposed: bool) -> frozenset[int]:
    """Numbers of the output channels of the fused projection that a part has."""
    assert layer.weight is not None
    numbers = torch.arange(num_rows, dtype=torch.float64)
    shape = layer.weight.shape
    stored = numbers.expand(shape) if is_transposed else numbers.unsqueeze(1).expand(shape)
    return frozenset(int(number) for number in layer.matrices(stored.contiguous()).unique())


def test_the_code_takes_apart_what_the_parts_are(model: Any) -> None:
    checked = 0
    state = model.state_dict()
    for path, parts in split_projections(model):
        module = model.get_submodule(path)
        num_rows = getattr(module, "out_features", None) or module.nf
        is_transposed = type(module).__name__ == "Conv1D"
        ours = [rows(part, num_rows, is_transposed=is_transposed) for part in parts]
        assert sorted(number for part in ours for number in part) == list(range(num_rows))
        theirs = row_sets(model, path, lambda: tiny_fused.run(model))
        for part, numbers in zip(parts, ours, strict=True):
            assert numbers in theirs, (path, part.part, sorted(numbers)[:12])
            weight = state[part.tensor].double()
            used = (weight.T if is_transposed else weight)[sorted(numbers)]
            ours_now, theirs_now = (np.linalg.svd(m.numpy(), compute_uv=False)
                                    for m in (part.matrices(weight)[0], used))  # fmt: skip
            np.testing.assert_allclose(ours_now, theirs_now, rtol=1e-10)
        checked += 1
    assert checked
