"""Fused projections against slow re-implementations of each model's own reshape."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pytest
import torch

from zoo.layers.fused import split_matrix
from zoo.layers.parts import Part, Whole
from zoo.layers.settings import settings_for

Shapes = Mapping[str, tuple[int, ...]]
NOTHING_BESIDE: Shapes = MappingProxyType({})


def split(
    module: str,
    role: str,
    weight: torch.Tensor,
    config: Mapping[str, object],
    shapes: Shapes = NOTHING_BESIDE,
) -> dict[str, torch.Tensor] | str | None:
    """Parts by name, or the note of a tensor that stays whole."""
    found = split_matrix(
        module, role, (weight.shape[0], weight.shape[1]), settings_for(module, config), shapes
    )
    if isinstance(found, Whole):
        return found.note
    return {part.name: _cut(part, weight) for part in found}


def _cut(part: Part, weight: torch.Tensor) -> torch.Tensor:
    matrix = part.cut.apply(weight)[0]
    assert matrix.shape == (part.rows, part.cols)
    return matrix


def numbered(rows: int, cols: int) -> torch.Tensor:
    """A matrix whose every entry is different."""
    return torch.arange(rows * cols, dtype=torch.float64).reshape(rows, cols)


def assert_parts(
    found: dict[str, torch.Tensor] | str | None, expected: Mapping[str, torch.Tensor]
) -> None:
    assert isinstance(found, dict), found
    assert list(found) == list(expected)
    for name, matrix in expected.items():
        torch.testing.assert_close(found[name], matrix, rtol=0, atol=0)


HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 24, "head_dim": 6}


def test_phi3_stacks_queries_above_grouped_keys_and_values() -> None:
    w = numbered(48, 24)
    found = split("model.layers.0.self_attn.qkv_proj", "qkv", w, {"model_type": "phi3", **HEADS})
    assert_parts(found, {"q": w[:24], "k": w[24:36], "v": w[36:]})


def test_gpt2_puts_queries_keys_and_values_side_by_side() -> None:
    w = numbered(24, 72)
    found = split("h.0.attn.c_attn", "qkv", w, {"model_type": "gpt2", "n_embd": 24, "n_head": 4})
    assert_parts(found, {"q": w[:, :24], "k": w[:, 24:48], "v": w[:, 48:]})


@pytest.mark.parametrize("kind", ["gpt_neox", "bloom", "persimmon"])
def test_neox_and_bloom_interleave_by_head(kind: str) -> None:
    w = numbered(72, 24)
    heads = w.view(4, 3, 6, 24)
    config = {"model_type": kind, "num_attention_heads": 4, "hidden_size": 24}
    found = split("layers.0.attention.query_key_value", "qkv", w, config)
    assert_parts(found, {n: heads[:, i].reshape(24, 24) for i, n in enumerate("qkv")})


def test_falcon_7b_shares_one_key_and_value() -> None:
    w = numbered(36, 24)
    config = {"model_type": "falcon", "multi_query": True, "num_attention_heads": 4,
              "hidden_size": 24}  # fmt: skip
    found = split("h.0.self_attention.query_key_value", "qkv", w, config)
    heads = w.view(4 + 2, 6, 24)
    assert_parts(found, {"q": heads[:-2].reshape(24, 24), "k": heads[-2], "v": heads[-1]})


def test_falcon_40b_groups_queries_with_their_key_and_value() -> None:
    w = numbered(48, 24)
    config = {"model_type": "falcon", "new_decoder_architecture": True, "num_attention_heads": 4,
              "num_kv_heads": 2, "hidden_size": 24}  # fmt: skip
    found = split("h.0.self_attention.query_key_value", "qkv", w, config)
    groups = w.view(2, 4, 6, 24)
    expected = {
        "q": groups[:, :2].reshape(24, 24),
        "k": groups[:, 2].reshape(12, 24),
        "v": groups[:, 3].reshape(12, 24),
    }
    assert_parts(found, expected)


def test_falcon_rw_interleaves_by_head() -> None:
    w = numbered(72, 24)
    config = {"model_type": "falcon", "multi_query": False, "num_attention_heads": 4,
              "hidden_size": 24}  # fmt: skip
    found = split("h.0.self_attention.query_key_value", "qkv", w, config)
    assert_parts(found, {n: w.view(4, 3, 6, 24)[:, i].reshape(24, 24) for i, n in enumerate("qkv")})


def test_internlm2_groups_lower_case_wqkv() -> None:
    w = numbered(48, 24)
    found = split("layers.0.attention.wqkv", "qkv", w, {"model_type": "internlm2", **HEADS})
    groups = w.view(2, 4, 6, 24)
    assert isinstance(found, dict)
    torch.testing.assert_close(found["q"], groups[:, :2].reshape(24, 24))


def test_codegen_orders_query_value_key_in_four_shards() -> None:
    w = numbered(72, 24)
    found = split("h.0.attn.qkv_proj", "qkv", w, {"model_type": "codegen", "n_head": 4})
    shards = w.view(4, 3, 6, 24)
    assert_parts(found, {n: shards[:, i].reshape(24, 24) for i, n in enumerate("qvk")})


@pytest.mark.parametrize("module", ["attn.in_proj_weight", "blocks.0.attn.qkv", "attn.Wqkv"])
def test_three_times_as_long_as_wide_is_split_without_a_config(module: str) -> None:
    w = numbered(72, 24)
    assert_parts(split(module, "qkv", w, {}), {"q": w[:24], "k": w[24:48], "v": w[48:]})


@pytest.mark.parametrize(
    ("module", "rows", "config"),
    [
        ("self_attn.qkv_proj", 40, {}),
        ("self_attn.qkv_proj", 50, {"model_type": "phi3", **HEADS}),
        ("self_attn.qkv_proj", 72, {"model_type": "phi3", **HEADS}),
        ("attention.query_key_value", 72, {"model_type": "novel", **HEADS}),
        ("attention.query_key_value", 72, {}),
        ("attention.query_key_value", 70, {"model_type": "gpt_neox", **HEADS}),
        ("attention.wqkv", 48, {"model_type": "novel", **HEADS}),
        ("attention.query_key_value", 72, {"model_type": "gpt_neox", "num_attention_heads": "4"}),
    ],
)
def test_sizes_that_do_not_add_up_keep_the_tensor_whole_and_say_so(
    module: str, rows: int, config: Mapping[str, object]
) -> None:
    found = split(module, "qkv", numbered(rows, 24), config)
    assert isinstance(found, str)
    assert found.startswith("fused_whole: ")


def test_gate_lies_above_up() -> None:
    w = numbered(20, 6)
    shapes = {"mlp.down_proj": (6, 10)}
    assert_parts(
        split("mlp.gate_up_proj", "gate_up", w, {}, shapes), {"gate": w[:10], "up": w[10:]}
    )


def test_gate_and_up_that_do_not_fit_the_down_projection_stay_whole() -> None:
    found = split("mlp.gate_up_proj", "gate_up", numbered(20, 6), {}, {"mlp.down_proj": (6, 20)})
    assert found == "fused_whole: [20, 6] does not fit down_proj, wanted 40"


def test_diffusers_geglu_has_the_gate_second() -> None:
    w = numbered(16, 4)
    found = split("b.ff.net.0.proj", "mlp_in", w, {}, {"b.ff.net.2": (4, 8)})
    assert_parts(found, {"up": w[:8], "gate": w[8:]})


def test_diffusers_gelu_is_not_split() -> None:
    assert split("b.ff.net.0.proj", "mlp_in", numbered(8, 4), {}, {"b.ff.net.2": (4, 8)}) is None


def test_lstm_gates_have_torch_s_order() -> None:
    lstm = torch.nn.LSTM(3, 5, proj_size=2)
    shapes = {name: tuple(w.shape) for name, w in lstm.named_parameters()}
    for name in ("weight_ih_l0", "weight_hh_l0"):
        w = getattr(lstm, name).detach()
        role = "rnn_in" if "ih" in name else "rnn_hidden"
        assert_parts(split(name, role, w, {}, shapes), dict(zip("ifgo", w.split(5), strict=True)))


def test_gru_gates_and_plain_recurrent_layers_are_told_apart() -> None:
    gru, rnn = torch.nn.GRU(3, 5, bidirectional=True), torch.nn.RNN(3, 5)
    shapes = {name: tuple(w.shape) for name, w in gru.named_parameters()}
    w = gru.weight_ih_l0_reverse.detach()
    found = split("weight_ih_l0_reverse", "rnn_in", w, {}, shapes)
    assert_parts(found, dict(zip("rzn", w.split(5), strict=True)))
    shapes = {name: tuple(w.shape) for name, w in rnn.named_parameters()}
    assert split("weight_hh_l0", "rnn_hidden", rnn.weight_hh_l0.detach(), {}, shapes) is None


def test_mamba_input_projection_holds_channels_and_gate() -> None:
    w = numbered(32, 8)
    shapes = {"mixer.conv1d": (16, 1, 4), "mixer.out_proj": (8, 16), "mixer.A_log": (16, 4)}
    found = split("mixer.in_proj", "ssm_in", w, {"model_type": "mamba"}, shapes)
    assert_parts(found, {"x": w[:16], "z": w[16:]})


def test_mamba2_input_projection_holds_five_parts() -> None:
    w = numbered(16 + 16 + 6 + 6 + 4, 8)
    shapes = {"mixer.conv1d": (28, 1, 4), "mixer.out_proj": (8, 16), "mixer.A_log": (4,)}
    found = split("mixer.in_proj", "ssm_in", w, {"model_type": "mamba2"}, shapes)
    z, x, b, c, dt = w.split([16, 16, 6, 6, 4])
    assert_parts(found, {"z": z, "x": x, "B": b, "C": c, "dt": dt})


def test_heads_of_the_vision_tower_come_from_its_own_config() -> None:
    config = {"model_type": "novel_vl", "text_config": {"model_type": "phi3", **HEADS},
              "vision_config": {"num_heads": 2, "hidden_size": 8}}  # fmt: skip
    w = numbered(24, 8)
    found = split("visual.blocks.0.attn.qkv", "qkv", w, config)
    assert_parts(found, {"q": w[:8], "k": w[8:16], "v": w[16:]})
    w = numbered(48, 24)
    found = split("model.layers.0.self_attn.qkv_proj", "qkv", w, config)
    assert_parts(found, {"q": w[:24], "k": w[24:36], "v": w[36:]})


@pytest.mark.parametrize("value", [0, -4, 2.5, "four", None, True, [4], 1 << 70])
def test_a_config_with_a_senseless_number_of_heads_is_ignored(value: object) -> None:
    config = {"model_type": "phi3", "num_attention_heads": value}
    found = split("self_attn.qkv_proj", "qkv", numbered(72, 24), config)
    assert isinstance(found, dict)


NEOX_LIKE = {"mlp.fc2": (24, 48), "self_attn.o_proj": (24, 24)}


@pytest.mark.parametrize(
    ("module", "role", "rows"),
    [
        ("self_attn.qkv_proj", "qkv", 72),
        ("self_attn.in_proj", "qkv", 72),
        ("mlp.fc1", "mlp_in", 96),
        ("mlp.up_gate_proj", "gate_up", 96),
        ("self_attn.q_proj", "q", 48),
        ("self_attn.kv_b_proj", "kv_b", 48),
        ("self_attn.kv_a_proj_with_mqa", "kv_a", 48),
        ("mamba.in_proj", "ssm_in", 96),
    ],
)
def test_what_is_fused_in_a_family_nobody_knows_stays_whole_with_the_reason(
    module: str, role: str, rows: int
) -> None:
    found = split(module, role, numbered(rows, 24), {"model_type": "novel", **HEADS}, NEOX_LIKE)
    assert isinstance(found, str)
    assert found.startswith("fused_whole: ")
    assert "novel" in found


@pytest.mark.parametrize(
    ("module", "role"), [("mlp.fc1", "mlp_in"), ("self_attn.q_proj", "q"), ("mlp.up_proj", "up")]
)
def test_a_projection_as_wide_as_its_reader_is_not_fused(module: str, role: str) -> None:
    rows = {"mlp_in": 48, "q": 24, "up": 48}[role]
    beside = {**NEOX_LIKE, "mlp.down_proj": (24, 48)}
    assert split(module, role, numbered(rows, 24), {"model_type": "novel", **HEADS}, beside) is None


def test_latent_attention_stacks_keys_above_values_in_each_head() -> None:
    w = numbered(4 * (6 + 5), 8)
    config = {"model_type": "deepseek_v3", "num_attention_heads": 4, "qk_nope_head_dim": 6,
              "v_head_dim": 5, "kv_lora_rank": 8}  # fmt: skip
    heads = w.view(4, 11, 8)
    found = split("self_attn.kv_b_proj", "kv_b", w, config)
    assert_parts(found, {"k": heads[:, :6].reshape(24, 8), "v": heads[:, 6:].reshape(20, 8)})
    down = numbered(8 + 2, 24)
    found = split("self_attn.kv_a_proj_with_mqa", "kv_a", down, config)
    assert_parts(found, {"latent": down[:8], "k_rope": down[8:]})


def test_qwen3_next_groups_queries_keys_values_and_gates_by_heads_of_keys() -> None:
    w = numbered(2 * (3 + 3 + 8 + 8), 6)
    config = {"model_type": "qwen3_next", "linear_num_key_heads": 2, "linear_num_value_heads": 4,
              "linear_key_head_dim": 3, "linear_value_head_dim": 4}  # fmt: skip
    found = split("linear_attn.in_proj_qkvz", "qkv", w, config)
    groups = w.view(2, 22, 6).split([3, 3, 8, 8], dim=1)
    assert_parts(found, {n: g.reshape(-1, 6) for n, g in zip("qkvz", groups, strict=True)})
    rates = numbered(8, 6)
    found = split("linear_attn.in_proj_ba", "decay", rates, config)
    b, a = rates.view(2, 4, 6).split(2, dim=1)
    assert_parts(found, {"b": b.reshape(-1, 6), "a": a.reshape(-1, 6)})


def test_zamba_s_channels_and_gates_take_turns() -> None:
    w = numbered(16, 4)
    found = split("mamba.in_proj", "ssm_in", w, {"model_type": "zamba"})
    assert_parts(found, {"x": w[::2], "z": w[1::2]})


def test_flux_stacks_attention_and_mlp_of_its_single_blocks() -> None:
    w = numbered(3 * 6 + 24, 6)
    beside = {"single_blocks.0.linear2": (6, 6 + 24)}
    found = split("single_blocks.0.linear1", "qkv", w, {}, beside)
    assert_parts(found, {"q": w[:6], "k": w[6:12], "v": w[12:18], "mlp_in": w[18:]})
    gated = split("single_blocks.0.linear1", "qkv", numbered(3 * 6 + 48, 6), {}, beside)
    assert gated == "fused_whole: layout of linear1 in an unnamed model"


def test_the_gated_layer_of_megatron_has_the_gate_first() -> None:
    w = numbered(20, 6)
    found = split("layers.0.mlp.linear_fc1", "mlp_in", w, {}, {"layers.0.mlp.linear_fc2": (6, 10)})
    assert_parts(found, {"gate": w[:10], "up": w[10:]})
