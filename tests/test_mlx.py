"""MLX's codes against MLX itself, which has wheels for a CPU."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.codes import MANY, Quantised, assert_decodes, assert_is_noticed, damages, reason

mx = pytest.importorskip("mlx.core")

NVFP4 = {"group_size": 16, "bits": 4, "mode": "nvfp4"}


def to_torch(array: mx.array) -> torch.Tensor:
    """Bit for bit; numpy has no bfloat16."""
    if array.dtype == mx.bfloat16:
        return torch.from_numpy(np.array(array.view(mx.uint16))).view(torch.bfloat16)
    return torch.from_numpy(np.array(array))


def normal(*shape: int) -> mx.array:
    return mx.array(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def affine(shape: tuple[int, ...], bits: int, size: int, kind: mx.Dtype) -> Quantised:
    parts = mx.quantize(normal(*shape).astype(kind), group_size=size, bits=bits)
    # Their own arithmetic is that of the scales' type; the definition is of exact numbers.
    wide = (parts[0], *(part.astype(mx.float32) for part in parts[1:]))
    expected = mx.dequantize(*wide, group_size=size, bits=bits)
    names = ("a.weight", "a.scales", "a.biases")
    return Quantised(
        dict(zip(names, map(to_torch, parts), strict=True)),
        to_torch(expected),
        "mlx_affine",
        config={"group_size": size, "bits": bits},
        rtol=1e-6,
    )


@MANY
@given(st.data())
def test_affine_codes_match_mlx(data: st.DataObject) -> None:
    bits = data.draw(st.sampled_from([1, 2, 3, 4, 5, 6, 8]))
    size = data.draw(st.sampled_from([32, 64, 128]))
    rows, groups = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 4))
    stack = data.draw(st.sampled_from([(), (3,)]))
    kind = data.draw(st.sampled_from([mx.float32, mx.float16, mx.bfloat16]))
    stored = affine((*stack, rows, groups * size), bits, size, kind)
    assert_decodes(stored)
    assert_is_noticed(data.draw(damages(stored)), stored)


@MANY
@given(st.sampled_from([("mxfp4", 32), ("mxfp8", 32), ("nvfp4", 16)]), st.data())
def test_small_floats_match_mlx(mode: tuple[str, int], data: st.DataObject) -> None:
    rows, groups = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 4))
    stack = data.draw(st.sampled_from([(), (3,)]))
    parts = mx.quantize(normal(*stack, rows, groups * 32), mode=mode[0])
    expected = mx.dequantize(*parts, mode=mode[0], dtype=mx.float32)
    stored = Quantised(
        dict(zip(("a.weight", "a.scales"), map(to_torch, parts), strict=True)),
        to_torch(expected),
        f"mlx_{mode[0]}",
        config={"group_size": mode[1], "mode": mode[0]},
    )
    assert_decodes(stored)
    assert_is_noticed(data.draw(damages(stored)), stored)


def test_a_global_scale_is_one_for_all_or_one_an_expert() -> None:
    experts, scales = normal(2, 8, 64), (mx.array(3.0), mx.array(5.0))
    each = [
        mx.quantize(experts[i], mode="nvfp4", global_scale=scale) for i, scale in enumerate(scales)
    ]
    expected = [
        to_torch(mx.dequantize(*parts, mode="nvfp4", global_scale=scale, dtype=mx.float32))
        for parts, scale in zip(each, scales, strict=True)
    ]
    codes, factors = (torch.stack([to_torch(parts[i]) for parts in each]) for i in (0, 1))
    state = {"a.weight": codes, "a.scales": factors, "a.global_scale": torch.tensor([3.0, 5.0])}
    assert_decodes(Quantised(state, torch.stack(expected), "mlx_nvfp4", config=NVFP4, rtol=1e-6))
    one = {"a.weight": codes[0], "a.scales": factors[0], "a.global_scale": torch.tensor(3.0)}
    assert_decodes(Quantised(one, expected[0], "mlx_nvfp4", config=NVFP4, rtol=1e-6))


def test_a_module_may_have_bits_of_its_own() -> None:
    stored = affine((8, 128), 6, 32, mx.float32)
    config = {"group_size": 64, "bits": 4, "model.a": {"group_size": 32, "bits": 6}}
    assert_decodes(Quantised(stored.state, stored.expected, "mlx_affine", config=config, rtol=1e-6))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "says bits and group_size"),
        ({"group_size": 64, "bits": 8}, "wanted those of 8 bits in groups of 64"),
        ({"group_size": 64}, "None bits in groups of 64"),
        ({"group_size": 64, "bits": 4, "mode": "trellis"}, "mode 'trellis'"),
        ({"group_size": 64, "bits": 4, "a": False}, r"the config says \[False\] of it"),
        ({"quant_method": "awq", "bits": 4, "group_size": 64}, "says bits and group_size"),
    ],
)
def test_a_config_that_does_not_say_is_a_reason(config: dict[str, object], message: str) -> None:
    stored = affine((8, 128), 4, 64, mx.float32)
    told = reason(Quantised(stored.state, stored.expected, "", config=config))
    assert re.search(message, told), told


def test_metal_of_transformers_is_the_same_under_other_names() -> None:
    from transformers.integrations.metal_quantization import (
        _affine_dequantize_tensor,
        _affine_quantize_tensor,
    )

    parts = _affine_quantize_tensor(torch.from_numpy(np.array(normal(8, 128))), 64, 4)
    stored = Quantised(
        dict(zip(("a.weight", "a.scales", "a.qbiases"), parts, strict=True)),
        _affine_dequantize_tensor(*parts, 64, 4),
        "mlx_affine",
        config={"quant_method": "metal", "bits": 4, "group_size": 64},
        rtol=1e-6,
    )
    assert_decodes(stored)
