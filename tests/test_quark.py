"""Quark's integers, against their definition.

amd-quark needs onnx and more to be imported; its `torch/utils/pack.py` of 0.13, loaded by itself,
packs and unpacks as the packer here does.
"""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.codes import MANY, Quantised, assert_decodes, assert_is_noticed, damages, reason


def packed(numbers: torch.Tensor, kind: str, *, reorder: bool) -> torch.Tensor:
    """Eight numbers a word along the last axis, padded with zeros; 8 bits stay as they are."""
    if kind in ("int8", "uint8"):
        return numbers.to(torch.int8 if kind == "int8" else torch.uint8)
    order = torch.tensor([0, 2, 4, 6, 1, 3, 5, 7] if reorder else list(range(8)))
    numbers = torch.nn.functional.pad(numbers, (0, -numbers.shape[-1] % 8))
    eights = (numbers & 15).reshape(*numbers.shape[:-1], -1, 8)[..., order].long()
    return (eights << (4 * torch.arange(8))).sum(-1).to(torch.int32)


def quantised(
    shape: tuple[int, int], kind: str, size: int | None, *, reorder: bool = True, old: bool = False
) -> Quantised:
    """Per group of `size` inputs, or per channel when it is None."""
    num_out, num_in = shape
    generator = torch.Generator().manual_seed(num_out)
    low, high = {"int4": (-8, 8), "uint4": (0, 16), "int8": (-128, 128), "uint8": (0, 256)}[kind]
    num_groups = num_in // size if size else 1
    numbers = torch.randint(low, high, shape, generator=generator)
    zeros = torch.randint(low, high, (num_out, num_groups), generator=generator)
    scale = torch.rand(num_out, num_groups, generator=generator) + 0.1
    group = torch.arange(num_in) // (size or num_in)
    expected = (numbers - zeros[:, group]) * scale[:, group]
    if size:
        state = {
            "a.weight": packed(numbers.T, kind, reorder=reorder),
            "a.weight_scale": scale if old else scale.T.contiguous(),
            "a.weight_zero_point": packed(zeros.T, kind, reorder=reorder),
        }
    else:
        state = {
            "a.weight": packed(numbers, kind, reorder=reorder),
            "a.weight_scale": scale.flatten(),
            "a.weight_zero_point": packed(zeros.flatten(), kind, reorder=reorder),
        }
    weight = {
        "dtype": kind, "qscheme": "per_group" if size else "per_channel", "group_size": size,
        "symmetric": False, "ch_axis": 1 if size else 0,
    }  # fmt: skip
    config = {
        "quant_method": "quark",
        "global_quant_config": {"weight": weight},
        "export": {"pack_method": "reorder" if reorder else "order"},
    }
    decoder = "quark_int" if size or kind.endswith("4") else "int8"
    return Quantised(state, expected, decoder, config=config, rtol=1e-6)


@MANY
@given(st.data())
def test_integers_match_their_definition(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["int4", "uint4", "int8", "uint8"]))
    size = data.draw(st.sampled_from([16, 32, None] if kind != "uint8" else [16, 32]))
    num_out = 8 * data.draw(st.integers(2, 6)) + (0 if size is None else 1)
    num_in = (size or 24) * data.draw(st.integers(1, 3))
    reorder, old = data.draw(st.booleans()), data.draw(st.booleans())
    stored = quantised((num_out, num_in), kind, size, reorder=reorder, old=old)
    assert_decodes(stored)
    assert_is_noticed(data.draw(damages(stored)), stored)


def test_a_layer_may_have_a_type_of_its_own() -> None:
    stored = quantised((16, 64), "uint4", 32)
    own = {"layer_quant_config": {"*a": stored.config["global_quant_config"]}}
    other = {"global_quant_config": {"weight": {"dtype": "int4", "qscheme": "per_group"}}}
    config = {**stored.config, **own, **other}
    assert_decodes(Quantised(stored.state, stored.expected, "quark_int", config=config, rtol=1e-6))
    types = {**stored.config, "layer_type_quant_config": {"Linear": other["global_quant_config"]}}
    told = reason(Quantised(stored.state, stored.expected, "", config=types))
    assert "the config says None of its weight" in told


@pytest.mark.parametrize(
    ("shape", "change", "message"),
    [
        ((16, 64), {"export": {"pack_method": "tiles"}}, "pack_method 'tiles'"),
        ((16, 64), {"global_quant_config": {"weight": [{}, {}]}}, "config says None"),
        ((16, 512), {}, "another number of groups than of outputs"),
    ],
)
def test_what_the_config_leaves_open_is_a_reason(
    shape: tuple[int, int], change: dict[str, object], message: str
) -> None:
    stored = quantised(shape, "uint4", 32)
    told = reason(Quantised(stored.state, stored.expected, "", config={**stored.config, **change}))
    assert re.search(message, told), told
