"""HQQ's state dict, as transformers saves it, against its definition.

hqq itself is no test dependency: transformers imports it wherever it is installed, and it compiles
code at import. The decoder gave hqq 0.2.8's own values (`HQQLinear.dequantize`) for every pair of
bits, axis, group and `view_as_float` that is tried here.
"""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.codes import MANY, Quantised, assert_decodes, assert_is_noticed, damages, reason

PACKINGS = {8: "8bit_u8", 6: "8bit_u8", 5: "8bit_u8", 4: "4bit_u8", 3: "3bit_32", 2: "2bit_u8",
            1.58: "2bit_u8", 1: "1bit_u8"}  # fmt: skip
UNUSED = ("compute_dtype", "encoded_state_dict", "unpack_view_dtype")


def packed(codes: torch.Tensor, bits: float) -> torch.Tensor:
    """`BitPack`: the first axis in parts, each part below the one before in the bits of an item."""
    width = int(PACKINGS[bits][0])
    per_item = 10 if width == 3 else 8 // width
    missing = -len(codes) % per_item
    codes = torch.cat([codes, codes.new_zeros(missing, codes.shape[1])])
    items = torch.zeros(len(codes) // per_item, codes.shape[1], dtype=torch.int64)
    for i, part in enumerate(codes.chunk(per_item)):
        items |= part << (width * (per_item - 1 - i))
    return items.to(torch.int32 if width == 3 else torch.uint8)


def text(words: str) -> torch.Tensor:
    return torch.tensor([ord(letter) for letter in words], dtype=torch.uint8)


def quantised(
    shape: tuple[int, int], bits: float, size: int, axis: int, *, as_float: bool = False
) -> Quantised:
    generator = torch.Generator().manual_seed(0)
    num_groups = shape[0] * shape[1] // size
    grouped = (num_groups, size) if axis == 1 else (size, num_groups)
    each = (num_groups, 1) if axis == 1 else (1, num_groups)
    codes = torch.randint(0, round(2**bits), grouped, generator=generator)
    scale, zero = (torch.randn(each, generator=generator).half() for _ in range(2))
    expected = ((codes - zero.float()) * scale.float()).reshape(shape)
    stored = packed(codes, bits)
    kind = torch.int32 if bits != 1.58 else torch.float32
    parts = {
        "W_q": stored.view(torch.float16) if as_float else stored,
        "scale": scale,
        "zero": zero,
        "nbits": torch.tensor(bits, dtype=kind),
        "group_size": torch.tensor(size, dtype=torch.int32),
        "shape": torch.tensor(shape),
        "axis": torch.tensor(axis, dtype=torch.int32),
        "packing": text(PACKINGS[bits]),
        "view_as_float": torch.tensor(as_float, dtype=torch.uint8),
        "quant_scale": torch.tensor(0, dtype=torch.uint8),
        "quant_zero": torch.tensor(0, dtype=torch.uint8),
        "compute_dtype": text("torch.float16"),
        "unpack_view_dtype": text("torch.uint8"),
        "encoded_state_dict": torch.tensor(1, dtype=torch.uint8),
    }
    return Quantised(
        {f"a.{part}": tensor for part, tensor in parts.items()},
        expected,
        "hqq",
        config={"quant_method": "hqq"},
        unused=tuple(f"a.{part}" for part in UNUSED),
    )


@MANY
@given(st.data())
def test_hqq_codes_match_their_definition(data: st.DataObject) -> None:
    bits = data.draw(st.sampled_from([8, 6, 5, 4, 3, 2, 1.58, 1]))
    axis, size = data.draw(st.sampled_from([0, 1])), data.draw(st.sampled_from([16, 64]))
    rows, cols = 8 * data.draw(st.integers(1, 4)), 64 * data.draw(st.integers(1, 3))
    stored = quantised((rows, cols), bits, size, axis, as_float=data.draw(st.booleans()))
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
