"""BitNet's packed matrices against transformers."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.codes import MANY, Quantised, assert_decodes, assert_is_noticed, damages, reason

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of torch.jit, at import
    from transformers.integrations import bitnet

OFFLINE = {
    "quant_method": "bitnet",
    "linear_class": "autobitlinear",
    "quantization_mode": "offline",
}
PLAIN_CLASS = {"quant_method": "bitnet"}


def packed(shape: tuple[int, int], config: dict[str, str], scale: float = 1.22) -> Quantised:
    generator = torch.Generator().manual_seed(1)
    ternary = torch.randint(-1, 2, shape, generator=generator)
    factor = torch.tensor([scale], dtype=torch.bfloat16)
    state = {"a.weight": bitnet.pack_weights(ternary.clone()), "a.weight_scale": factor}
    by = factor.float() if config is OFFLINE else 1.0 / factor.float()
    return Quantised(state, ternary * by, "bitnet", config=config, rtol=1e-6)


@MANY
@given(st.integers(1, 20), st.integers(1, 40), st.booleans(), st.data())
def test_packed_matrices_match_transformers(
    quarter: int, num_in: int, multiplies: bool, data: st.DataObject
) -> None:
    stored = packed((4 * quarter, num_in), OFFLINE if multiplies else PLAIN_CLASS)
    assert_decodes(stored)
    assert_is_noticed(data.draw(damages(stored)), stored)


@pytest.mark.parametrize("kind", ["BitLinear", "AutoBitLinear"])
def test_a_layer_computes_with_the_decoded_matrix(kind: str) -> None:
    """The factor multiplies in one class and divides in the other: what the layers compute says so."""
    layer = getattr(bitnet, kind)(8, 8, bias=False)
    stored = packed((8, 8), OFFLINE if kind == "AutoBitLinear" else PLAIN_CLASS)
    with torch.compiler.set_stance("force_eager"):
        codes = bitnet.unpack_weights(stored.state["a.weight"], dtype=torch.float32)
    held = stored.state["a.weight"] if kind == "BitLinear" else codes
    layer.weight = torch.nn.Parameter(held, requires_grad=False)
    layer.weight_scale = stored.state["a.weight_scale"].float()
    layer.dtype = torch.float32
    with torch.compiler.set_stance("force_eager"):
        computed = torch.stack([layer(127 * row) / 127 for row in torch.eye(8)], dim=1)
    torch.testing.assert_close(computed, stored.expected, rtol=1e-5, atol=1e-6)


def test_codes_and_factors_that_cannot_be_are_reasons() -> None:
    stored = packed((8, 8), OFFLINE)
    threes = torch.full((2, 8), 3, dtype=torch.uint8)
    assert "holds the code 3" in reason(stored, {**stored.state, "a.weight": threes})
    assert "is 0, and it divides" in reason(packed((8, 8), PLAIN_CLASS, scale=0.0))
    other = Quantised(stored.state, stored.expected, "", config={**OFFLINE, "linear_class": "x"})
    assert "linear_class 'x'" in reason(other)


def test_a_matrix_saved_again_after_loading_is_unpacked() -> None:
    stored = packed((8, 8), OFFLINE)
    ternary = (stored.expected / stored.expected.abs().max()).round().bfloat16()
    again = {**stored.state, "a.weight": ternary}
    assert_decodes(Quantised(again, stored.expected, "bitnet", config=OFFLINE))
    assert "holds other numbers" in reason(stored, {**again, "a.weight": ternary / 2})
    plain = Quantised(again, stored.expected, "bitnet", config=PLAIN_CLASS)
    assert "wanted U8 of bitlinear" in reason(plain)
