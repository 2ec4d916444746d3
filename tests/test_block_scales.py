"""Scales under the names of particular writers: blockwise INT8, and Mistral's own files."""

from __future__ import annotations

import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.codes import MANY, Quantised, assert_decodes, assert_is_noticed, damages


def drawn(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@MANY
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([16, 32, 64]), st.data())
def test_blockwise_int8_matches_the_loop(
    num_out: int, num_in: int, size: int, data: st.DataObject
) -> None:
    codes = (40 * drawn((num_out, num_in), 0)).clamp(-128, 127).to(torch.int8)
    scale = drawn((-(-num_out // size), -(-num_in // size)), 1).abs() + 0.01
    expected = torch.empty(num_out, num_in)
    for i in range(num_out):
        for j in range(num_in):
            expected[i, j] = codes[i, j] * scale[i // size, j // size]
    stored = Quantised(
        {"a.weight": codes, "a.weight_scale_inv": scale},
        expected,
        "int8",
        config={"quant_method": "blockwise_int8", "weight_block_size": [size, size]},
    )
    assert_decodes(stored)
    assert_is_noticed(data.draw(damages(stored)), stored)


@MANY
@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_mistrals_scale_multiplies(num_out: int, num_in: int, data: st.DataObject) -> None:
    assume((num_out, num_in) != (1, 32))  # one group of a format with a name of its own
    codes, scale = drawn((num_out, num_in), 0).to(torch.float8_e4m3fn), drawn((), 1).bfloat16()
    stored = Quantised(
        {"a.weight": codes, "a.qscale_weight": scale, "a.qscale_act": torch.tensor(0.5)},
        codes.float() * scale.float(),
        "fp8",
        unused=("a.qscale_act",),
    )
    assert_decodes(stored)
    assert_is_noticed(data.draw(damages(stored)), stored)
