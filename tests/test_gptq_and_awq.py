"""GPTQ and AWQ as their own tools and AutoRound write them, against their definition."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.codes import (
    MANY,
    Quantised,
    assert_decodes,
    assert_is_noticed,
    damages,
    dense_words,
    reason,
)

GPTQ = {"quant_method": "gptq", "checkpoint_format": "gptq"}
AUTO_ROUND = {"quant_method": "auto-round", "data_type": "int", "sym": False}
LAYOUTS = {
    "gptq": (GPTQ, 1),
    "gptq_v2": ({**GPTQ, "checkpoint_format": "gptq_v2"}, 0),
    "auto_round:auto_gptq": ({**AUTO_ROUND, "packing_format": "auto_round:auto_gptq"}, 1),
    "auto_round": ({**AUTO_ROUND, "packing_format": "auto_round"}, 0),
    "auto_round:gptqmodel": ({**AUTO_ROUND, "packing_format": "auto_round:gptqmodel"}, 0),
}
"""Config, and how much less than the zero point is stored."""


def parts(
    num_in: int, num_out: int, bits: int, size: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes [in, out], zero points and scales [groups, out]."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 2**bits, (num_in, num_out), generator=generator)
    zeros = torch.randint(0, 2**bits, (num_in // size, num_out), generator=generator)
    return codes, zeros, torch.randn(num_in // size, num_out, generator=generator).half()


def gptq(layout: str, bits: int, shape: tuple[int, int], size: int, *, ordered: bool) -> Quantised:
    num_in, num_out = shape
    config, less = LAYOUTS[layout]
    codes, zeros, scales = parts(num_in, num_out, bits, size, seed=bits)
    group = torch.arange(num_in) // size
    if ordered:
        group = group[torch.randperm(num_in, generator=torch.Generator().manual_seed(1))]
    stored_zeros = (zeros - less) % 2**bits
    state = {
        "a.qweight": dense_words(codes, bits),
        "a.qzeros": dense_words(stored_zeros.T, bits).T.contiguous(),
        "a.scales": scales,
        **({"a.g_idx": group.int()} if ordered else {}),
    }
    expected = torch.empty(num_out, num_in)
    for i in range(num_in):
        expected[:, i] = scales[group[i]].float() * (codes[i] - zeros[group[i]])
    config = {**config, "bits": bits, "group_size": size, "desc_act": ordered}
    return Quantised(state, expected, "gptq", config=config)


@MANY
@given(st.sampled_from(sorted(LAYOUTS)), st.booleans(), st.data())
def test_gptq_matches_its_definition(layout: str, ordered: bool, data: st.DataObject) -> None:
    choices = [2, 3, 4, 8] if layout.startswith("gptq") else [2, 3, 4, 5, 6, 7, 8]
    bits, size = data.draw(st.sampled_from(choices)), data.draw(st.sampled_from([32, 64]))
    shape = (size * data.draw(st.integers(1, 3)), 32 * data.draw(st.integers(1, 3)))
    stored = gptq(layout, bits, shape, size, ordered=ordered)
    assert_decodes(stored)
    assert_is_noticed(data.draw(damages(stored)), stored)


def awq_words(codes: torch.Tensor) -> torch.Tensor:
    """AutoAWQ's packer: place `i` of a word takes number `order[i]` of its eight."""
    order = torch.tensor([0, 2, 4, 6, 1, 3, 5, 7])
    eights = codes.reshape(len(codes), -1, 8)[:, :, order].long()
    return (eights << (4 * torch.arange(8))).sum(-1).to(torch.int32)


@MANY
@given(st.booleans(), st.integers(1, 3), st.integers(1, 6), st.sampled_from([16, 32]), st.data())
def test_awq_matches_its_definition(
    by_auto_round: bool, num_groups: int, num_words: int, size: int, data: st.DataObject
) -> None:
    codes, zeros, scales = parts(size * num_groups, 8 * num_words, 4, size, seed=3)
    expected = scales.float() * (codes.reshape(num_groups, size, -1) - zeros[:, None]).transpose(
        0, 1
    )
    expected = expected.transpose(0, 1).reshape(codes.shape).T
    own = {"quant_method": "awq", "version": "gemm", "bits": 4, "group_size": size}
    rounded = {**AUTO_ROUND, "packing_format": "auto_round:auto_awq", "bits": 4, "group_size": 128}
    stored = Quantised(
        {"a.qweight": awq_words(codes), "a.qzeros": awq_words(zeros), "a.scales": scales},
        expected,
        "awq",
        config=rounded if by_auto_round else own,
    )
    assert_decodes(stored)
    assert_is_noticed(data.draw(damages(stored)), stored)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"packing_format": "auto_round:exllamav3"}, "packing_format 'auto_round:exllamav3'"),
        ({"packing_format": None}, "packing_format is None"),
        ({"data_type": "mx_fp"}, "data_type 'mx_fp'"),
        ({"act_bits": 8}, "act_bits 8"),
    ],
)
def test_auto_round_in_other_layouts_is_refused(change: dict[str, object], message: str) -> None:
    stored = gptq("auto_round", 4, (64, 32), 32, ordered=False)
    told = reason(Quantised(stored.state, stored.expected, "", config={**stored.config, **change}))
    assert re.search(message, told), told


def test_a_layer_with_other_bits_than_the_config_must_be_one_the_config_names() -> None:
    stored = gptq("gptq", 8, (64, 64), 32, ordered=False)
    config = {**stored.config, "bits": 4}
    told = reason(Quantised(stored.state, stored.expected, "", config=config))
    assert "holds 8-bit numbers, but the config says 4 bits" in told
    named = {**config, "dynamic": {"a": {"bits": 8}}}
    assert_decodes(Quantised(stored.state, stored.expected, "gptq", config=named))
