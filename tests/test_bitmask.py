"""Sparse matrices with a bitmask, against their definition.

compressed-tensors dropped these writers after 0.12; the decoder gave the values of 0.12.2's
`decompress_weight` for both kinds and all types of values tried here.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.codes import MANY, Quantised, assert_decodes, assert_is_noticed, damages, reason

CONFIG = {"quant_method": "compressed-tensors", "sparsity_config": {"format": "sparse-24-bitmask"}}
KINDS = {
    torch.bfloat16: False, torch.float16: False, torch.float32: False,
    torch.float8_e4m3fn: True, torch.int8: True,
}  # fmt: skip
"""Type of the values, and whether a scale lies beside them."""


def packed(mask: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.packbits(mask, axis=-1, bitorder="little"))


def sparse(shape: tuple[int, int], kind: torch.dtype, *, two_of_four: bool) -> Quantised:
    rng = np.random.default_rng(0)
    values = torch.from_numpy(3 * rng.standard_normal(shape)).float().to(kind).float()
    mask = rng.random(shape) < 0.3
    if two_of_four:
        places = rng.random((shape[0], shape[1] // 4, 4)).argsort(-1) < 2
        mask = places.reshape(shape)
    dense = torch.where(torch.from_numpy(mask), values, torch.zeros(()))
    kept = values[torch.from_numpy(mask)].to(kind)
    counts = mask.sum(1)
    state = {
        "a.compressed": kept.reshape(shape[0], -1) if two_of_four else kept,
        "a.bitmask": packed(mask),
        "a.shape": torch.tensor(shape).reshape(-1, 1) if two_of_four else torch.tensor(shape),
    }
    unused = ["a.shape"]
    if not two_of_four:
        state["a.row_offsets"] = torch.from_numpy(np.cumsum(counts) - counts)
        unused.append("a.row_offsets")
    if KINDS[kind]:
        state["a.weight_scale"] = torch.rand(
            shape[0], 1, generator=torch.Generator().manual_seed(1)
        )
        dense = dense * state["a.weight_scale"]
    decoder = "sparse_24" if two_of_four else "sparse_bitmask"
    return Quantised(state, dense, decoder, config=CONFIG, unused=tuple(unused))


@MANY
@given(st.sampled_from(list(KINDS)), st.booleans(), st.data())
def test_sparse_matrices_match_their_definition(
    kind: torch.dtype, two_of_four: bool, data: st.DataObject
) -> None:
    rows, cols = data.draw(st.integers(1, 600)), data.draw(st.integers(1, 20))
    shape = (rows, 4 * cols if two_of_four else cols + 7)
    stored = sparse(shape, kind, two_of_four=two_of_four)
    assert_decodes(stored)
    assert_is_noticed(data.draw(damages(stored)), stored)


@pytest.mark.parametrize("two_of_four", [True, False])
def test_a_mask_that_keeps_another_number_is_a_reason(two_of_four: bool) -> None:
    stored = sparse((8, 16), torch.float16, two_of_four=two_of_four)
    full = torch.full_like(stored.state["a.bitmask"], 255)
    told = reason(stored, {**stored.state, "a.bitmask": full})
    assert "another number" in told or "for more bits" in told


def test_zero_points_and_marlins_layout_are_refused() -> None:
    stored = sparse((8, 16), torch.int8, two_of_four=True)
    zeros = torch.zeros(8, 1, dtype=torch.int8)
    assert "with zero points" in reason(stored, {**stored.state, "a.weight_zero_point": zeros})
    marlin = {
        "a.weight_packed": torch.ones(4, 32, dtype=torch.int32),
        "a.scale_packed": torch.ones(1, 32).half(),
        "a.meta": torch.ones(8, 16, dtype=torch.int16),
    }
    made = Quantised(marlin, torch.zeros(1), "", config=CONFIG)
    assert "no tensor 'a.weight_scale'" in reason(made)
