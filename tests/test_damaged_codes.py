"""Damage to each format whose values tests/test_formats.py holds against its library.

Nothing here says what the values are: the sound weight's own are what a damaged one may give, or a
reason. Types stay as they are, because other types of the same names are other formats, which are
read. The formats with property tests of their own (torchao, MLX, ...) are damaged there.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.codes import DAMAGES, MANY, Quantised, assert_is_noticed, damages, dense_words
from zoo.formats.account import account
from zoo.io.memory import memory_checkpoint

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from bitsandbytes import functional as bnb

SHAPES = tuple(kind for kind in DAMAGES if kind != "another type")
Tensors = Mapping[str, torch.Tensor]
Config = Mapping[str, object]


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def whole(high: int, *shape: int, dtype: torch.dtype = torch.uint8, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, high, shape, generator=generator).to(dtype)


def float8(rows: int, cols: int) -> torch.Tensor:
    return drawn(rows, cols).to(torch.float8_e4m3fn)


def compressed(**weights: object) -> Config:
    return {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": weights}}}


def fp8_channels(rows: int, groups: int) -> tuple[Tensors, Config]:
    return {
        "a.weight": float8(rows, 32 * groups), "a.weight_scale": drawn(rows, 1, seed=2).abs(),
        "a.input_scale": torch.tensor(1.0),
    }, {}  # fmt: skip


def fp8_blocks(rows: int, groups: int) -> tuple[Tensors, Config]:
    grid = drawn(-(-rows // 16), 2 * groups, seed=2).abs()
    state = {"a.weight": float8(rows, 32 * groups), "a.weight_scale_inv": grid}
    return state, {"quant_method": "fp8", "weight_block_size": [16, 16]}


def mxfp8(rows: int, groups: int) -> tuple[Tensors, Config]:
    scale = whole(20, rows, groups) + 117
    state = {"a.weight": float8(rows, 32 * groups), "a.weight_scale": scale}
    return state, {"quant_method": "mxfp8"}


def mxfp4_blocks(rows: int, groups: int) -> tuple[Tensors, Config]:
    scales = whole(12, 3, rows, groups) + 120
    return {"a.weight_blocks": whole(256, 3, rows, groups, 16), "a.weight_scales": scales}, {}


def mxfp4_packed(rows: int, groups: int) -> tuple[Tensors, Config]:
    scale = whole(12, rows, groups) + 120
    return {"a.weight": whole(256, rows, 16 * groups), "a.weight_scale": scale}, {}


def nvfp4(rows: int, groups: int) -> tuple[Tensors, Config]:
    scale = drawn(rows, 2 * groups, seed=2).abs().to(torch.float8_e4m3fn)
    return {
        "a.weight": whole(256, rows, 16 * groups), "a.weight_scale": scale,
        "a.weight_scale_2": torch.tensor(0.03),
    }, {}  # fmt: skip


def nvfp4_packed(rows: int, groups: int) -> tuple[Tensors, Config]:
    scale = drawn(rows, 2 * groups, seed=2).abs().to(torch.float8_e4m3fn)
    return {
        "a.weight_packed": whole(256, rows, 16 * groups), "a.weight_scale": scale,
        "a.weight_global_scale": torch.tensor([7.0]),
    }, {}  # fmt: skip


def four_bits(rows: int, groups: int, *, nested: bool) -> tuple[Tensors, Config]:
    packed, state = bnb.quantize_4bit(
        drawn(rows, 32 * groups), blocksize=64, quant_type="nf4", compress_statistics=nested
    )
    parts = {f"a.weight.{name}": part for name, part in state.as_dict(packed=True).items()}
    return {"a.weight": packed, **parts}, {"quant_method": "bitsandbytes"}


def eight_bit_rows(rows: int, groups: int) -> tuple[Tensors, Config]:
    codes = whole(256, rows, 32 * groups, dtype=torch.int8)
    state = {"a.weight": codes, "a.SCB": drawn(rows, seed=2).abs(), "a.weight_format": whole(1)}
    return state, {"quant_method": "bitsandbytes"}


def whole_bytes(rows: int, groups: int) -> tuple[Tensors, Config]:
    state = {
        "a.weight": whole(256, rows, 32 * groups, dtype=torch.int8),
        "a.weight_scale": drawn(rows, groups, seed=2).abs(),
        "a.weight_zero_point": whole(9, rows, groups, dtype=torch.int8),
    }
    return state, compressed(
        num_bits=8, type="int", strategy="group", group_size=32, symmetric=False
    )


def packed_integers(rows: int, groups: int) -> tuple[Tensors, Config]:
    rows = -(-rows // 8) * 8
    codes = whole(16, rows, 32 * groups, dtype=torch.int64)
    zeros = whole(16, rows, groups, dtype=torch.int64, seed=3)
    state = {
        "a.weight_packed": dense_words(codes.T, 4).T.contiguous(),
        "a.weight_scale": drawn(rows, groups, seed=2).abs(),
        "a.weight_zero_point": dense_words(zeros, 4),
        "a.weight_shape": torch.tensor([rows, 32 * groups]),
    }
    return state, compressed(
        num_bits=4, type="int", strategy="group", group_size=32, symmetric=False
    )


FORMATS: tuple[Callable[[int, int], tuple[Tensors, Config]], ...] = (
    fp8_channels, fp8_blocks, mxfp8, mxfp4_blocks, mxfp4_packed, nvfp4, nvfp4_packed,
    lambda rows, groups: four_bits(rows, groups, nested=False),
    lambda rows, groups: four_bits(rows, groups, nested=True),
    eight_bit_rows, whole_bytes, packed_integers,
)  # fmt: skip


@pytest.mark.parametrize("stored_as", FORMATS)
@MANY
@given(st.integers(3, 40), st.integers(1, 3), st.data())
def test_damage_gives_a_reason_or_the_very_same_values(
    stored_as: Callable[[int, int], tuple[Tensors, Config]],
    rows: int,
    groups: int,
    data: st.DataObject,
) -> None:
    state, config = stored_as(rows, groups)
    checkpoint = memory_checkpoint(state, {"quantization_config": config} if config else {})
    (weight,) = account(checkpoint).weights
    stored = Quantised(state, weight.load(checkpoint), weight.decoder, weight.name, config)
    assert_is_noticed(data.draw(damages(stored, SHAPES)), stored)
