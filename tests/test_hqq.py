"""HQQ's state dict, as transformers saves it, against hqq itself."""

from __future__ import annotations

import re
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.codes import MANY, Quantised, assert_decodes, assert_is_noticed, damages, reason

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

UNUSED = (
    "a.channel_wise", "a.compute_dtype", "a.encoded_state_dict", "a.offload_meta", "a.optimize",
    "a.round_zero", "a.stores_quant_config", "a.unpack_view_dtype",
)  # fmt: skip


def quantised(
    shape: tuple[int, int], bits: float, size: int | None, axis: int, *, as_float: bool = False
) -> Quantised:
    """A layer that hqq quantised and saved. `dequantize` in float32 says what it is worth."""
    linear = torch.nn.Linear(shape[1], shape[0], bias=False)
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    linear.weight.data.copy_(weight)
    config = BaseQuantizeConfig(
        nbits=bits, group_size=size, axis=axis, view_as_float=as_float, quant_zero=False
    )
    config["weight_quant_params"]["optimize"] = False
    layer = HQQLinear(linear, config, compute_dtype=torch.float32, device="cpu", del_orig=False)
    state = {f"a.{key}": value for key, value in layer.state_dict().items() if value is not None}
    state = {key: getattr(value, "data", value).contiguous() for key, value in state.items()}
    unused = tuple(name for name in UNUSED if name in state)
    return Quantised(
        state, layer.dequantize(), "hqq", config={"quant_method": "hqq"}, unused=unused, rtol=1e-6
    )


@MANY
@given(st.data())
def test_hqq_codes_match_hqq(data: st.DataObject) -> None:
    bits = data.draw(st.sampled_from([8, 6, 5, 4, 3, 2, 1.58, 1]))
    axis = data.draw(st.sampled_from([0, 1]))
    size = data.draw(st.sampled_from([16, 64, None]))
    rows, cols = 8 * data.draw(st.integers(1, 4)), 64 * data.draw(st.integers(1, 3))
    as_float = data.draw(st.booleans())
    stored = quantised((rows, cols), bits, size, axis, as_float=as_float)
    assert_decodes(stored)
    assert_is_noticed(data.draw(damages(stored)), stored)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("nbits", torch.tensor(3, dtype=torch.int32), r"3.0 bits packed as '4bit_u8'"),
        ("axis", torch.tensor(2, dtype=torch.int32), "axis 2"),
        ("group_size", torch.tensor(48, dtype=torch.int32), "groups of 48"),
        ("group_size", torch.tensor(32, dtype=torch.int32), r"wanted \[64, 32\]"),
        ("shape", torch.tensor([16, 64]), "groups of 64 along axis 1"),
        ("packing", torch.tensor([52], dtype=torch.uint8), "packed as '4'"),
        ("quant_scale", torch.tensor(1, dtype=torch.uint8), "quant_scale is set"),
        ("scale2", torch.ones(8), "'a.scale2' beside it is no part of HQQ"),
    ],
)
def test_what_contradicts_the_codes_is_a_reason(
    part: str, value: torch.Tensor, message: str
) -> None:
    stored = quantised((64, 64), 4, 64, 1)
    told = reason(stored, {**stored.state, f"a.{part}": value})
    assert re.search(message, told), told
