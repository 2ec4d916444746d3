"""Whatever a checkpoint is called and shaped like, every tensor is accounted for once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.formats.account import account
from zoo.formats.weight import Account, Entry, Weight
from zoo.io.checkpoint import Checkpoint
from zoo.io.memory import memory_checkpoint
from zoo.layers.spec import LayerSpec
from zoo.layers.take import take, take_layers
from zoo.layers.tensor_names import MAX_CHARS
from zoo.options import LayerSelection

WORDS = st.sampled_from(
    "model layers 0 1 17 mlp experts expert_2 gate_up_proj down_proj c_attn query_key_value self_attn "
    "qkv attention mixer in_proj conv1d A_log out_proj weight weight_g weight_v weight_ih_l0 "
    "weight_hh_l0 lora_A lora_B alpha embed_tokens lm_head visual blocks ff net proj bias kernel".split()
)
NAMES = st.lists(WORDS, min_size=1, max_size=7).map(".".join)
SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, 4, 6, 8, 12, 24]), max_size=5).map(tuple)
CONFIGS = st.dictionaries(
    st.sampled_from(
        "num_attention_heads num_key_value_heads hidden_size head_dim num_experts "
        "num_local_experts n_routed_experts multi_query".split()
    ),
    st.sampled_from([1, 2, 4, 8, -1, 0, 2.5, "4", None, True, [4], {"a": 1}]),
)
MODEL_TYPES = st.sampled_from(["gpt_neox", "falcon", "gpt2", "phi3", "gpt_oss", "mamba", 7, None])


def zeros(
    shape: tuple[int, ...], checkpoint: Checkpoint, rows: tuple[int, int] | None = None
) -> torch.Tensor:
    found = torch.zeros(shape)
    return found if rows is None else found[rows[0] : rows[1]]


def zero_weight(name: str, shape: tuple[int, ...]) -> Weight:
    return Weight(name, shape, "F32", "none", (name,), partial(zeros, shape), 0)


def assert_loads(spec: LayerSpec, checkpoint: Checkpoint) -> None:
    assert spec.weight is not None
    matrices = spec.matrices(spec.weight.load(checkpoint))
    assert matrices.shape == (spec.num_slices, spec.rows, spec.cols)
    if spec.leading is not None:
        part = spec.weight.load(checkpoint, spec.leading)
        assert spec.matrices(part, offset=spec.leading[0]).shape == matrices.shape


@settings(max_examples=400, deadline=None)
@given(
    st.dictionaries(NAMES, SHAPES, max_size=8),
    CONFIGS,
    MODEL_TYPES,
    st.sampled_from(["split", "whole", "both"]),
)
def test_every_tensor_is_accounted_for_once(
    tensors: Mapping[str, tuple[int, ...]],
    config: dict[str, object],
    model_type: object,
    fused: Any,
) -> None:
    weights = tuple(zero_weight(name, shape) for name, shape in tensors.items())
    entries = tuple(Entry(name, "analysed", None) for name in tensors)
    found = take_layers(
        Account(weights, entries),
        {**config, "model_type": model_type},
        LayerSelection(fused=fused),
        adapters={"": {"lora_alpha": 1}},
        stored=tensors,
    )
    assert [entry.tensor for entry in found.entries] == list(tensors)
    assert [spec.layer_index for spec in found.specs] == list(range(len(found.specs)))
    assert all(entry.reason for entry in found.entries if entry.fate != "analysed")
    nothing = memory_checkpoint({})
    for spec in found.specs:
        if spec.is_measurable:
            assert_loads(spec, nothing)


def test_modules_of_torch_are_taken_apart() -> None:
    module = torch.nn.ModuleDict({
        "attention": torch.nn.MultiheadAttention(8, 2, kdim=6, vdim=4),
        "fused": torch.nn.MultiheadAttention(8, 2),
        "lstm": torch.nn.LSTM(3, 5, num_layers=2),
        "gru": torch.nn.GRUCell(3, 5),
        "up": torch.nn.ConvTranspose1d(4, 6, 3),
    })  # fmt: skip
    checkpoint = memory_checkpoint(module)
    found = take(checkpoint, account(checkpoint), LayerSelection())
    for spec in found.specs:
        assert_loads(spec, checkpoint)
    rows = {(s.tensor, s.part, s.role, s.block) for s in found.specs}
    assert {("fused.in_proj_weight", part, part, None) for part in "qkv"} <= rows
    assert {(f"attention.{p}_proj_weight", None, p, None) for p in "qkv"} <= rows
    assert {("lstm.weight_hh_l1", part, "rnn_hidden", 1) for part in "ifgo"} <= rows
    assert {("gru.weight_ih", part, "rnn_in", None) for part in "rzn"} <= rows
    assert len(found.specs) == 3 + 1 + 3 + 1 + 4 * 4 + 2 * 3 + 1


@pytest.mark.timeout(20)
@pytest.mark.parametrize("unit", ["experts.", "layers.0.", "attn.lora_A.", "mlp.w1."])
def test_a_name_nobody_would_choose_fails_in_no_time(unit: str) -> None:
    name = (unit * 4096)[:4096]
    weights = (zero_weight(name, (4, 4, 4)),)
    found = take_layers(Account(weights, (Entry(name, "analysed", None),)), {}, LayerSelection())
    wanted = f"name_too_long: 4096 characters, wanted at most {MAX_CHARS}"
    assert [spec.fail_reason for spec in found.specs] == [wanted]
