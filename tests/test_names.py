"""Block, role and expert, read from tensor names as they are found on the Hub."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.layers.roles import ROLES, with_siblings
from zoo.layers.tensor_names import number_blocks, place

# name, block path, role, expert
FOUND_ON_THE_HUB = [
    # original LLaMA and Mixtral releases
    ("tok_embeddings.weight", (), "embedding", None),
    ("layers.3.attention.wq.weight", (3,), "q", None),
    ("layers.3.attention.wo.weight", (3,), "o", None),
    ("layers.3.feed_forward.w1.weight", (3,), "gate", None),
    ("layers.3.feed_forward.w2.weight", (3,), "down", None),
    ("layers.3.feed_forward.w3.weight", (3,), "up", None),
    ("output.weight", (), "lm_head", None),
    ("model.layers.0.block_sparse_moe.experts.3.w1.weight", (0,), "gate", 3),
    ("model.layers.31.block_sparse_moe.gate.weight", (31,), "router", None),
    # gpt-oss, as stored
    ("model.layers.5.mlp.experts.gate_up_proj_blocks", (5,), "gate_up", None),
    ("model.layers.5.mlp.experts.down_proj_blocks", (5,), "down", None),
    ("model.layers.5.mlp.router.weight", (5,), "router", None),
    # GPT-2 without its prefix, Qwen 1, Baichuan, InternLM2, ChatGLM
    ("h.11.attn.c_attn.weight", (11,), "qkv", None),
    ("h.11.mlp.c_proj.weight", (11,), "mlp_out", None),
    ("transformer.h.0.mlp.w1.weight", (0,), "gate", None),
    ("model.layers.0.self_attn.W_pack.weight", (0,), "qkv", None),
    ("model.layers.0.attention.wqkv.weight", (0,), "qkv", None),
    ("transformer.encoder.layers.9.self_attention.query_key_value.weight", (9,), "qkv", None),
    # DeepSeek-V3, its extra prediction layer included
    ("model.layers.60.mlp.experts.255.down_proj.weight", (60,), "down", 255),
    ("model.layers.60.mlp.shared_experts.up_proj.weight", (60,), "shared_up", None),
    ("model.layers.60.self_attn.kv_a_proj_with_mqa.weight", (60,), "kv_a", None),
    ("model.layers.61.embed_tokens.weight", (61,), "embedding", None),
    # Qwen2-MoE, Llama 4, DBRX
    ("model.layers.2.mlp.shared_expert_gate.weight", (2,), "shared_router", None),
    ("language_model.model.layers.1.feed_forward.experts.gate_up_proj", (1,), "gate_up", None),
    ("transformer.blocks.7.ffn.experts.mlp.v1", (7,), "up", None),
    # T5: `layer.1` is a sublayer
    ("decoder.block.7.layer.1.EncDecAttention.k.weight", (7,), "cross_k", None),
    ("decoder.block.7.layer.2.DenseReluDense.wi_0.weight", (7,), "gate", None),
    ("encoder.block.1.layer.1.mlp.experts.expert_6.wi.weight", (1,), "mlp_in", 6),
    # BERT family
    ("bert.encoder.layer.11.attention.self.query.weight", (11,), "q", None),
    ("bert.encoder.layer.11.output.dense.weight", (11,), "mlp_out", None),
    ("bert.pooler.dense.weight", (), "pooler", None),
    ("cls.seq_relationship.weight", (), "classifier", None),
    ("classifier.out_proj.weight", (), "classifier", None),
    # timm, torchvision, OpenCLIP
    ("blocks.4.attn.qkv.weight", (4,), "qkv", None),
    ("blocks.4.attn.proj.weight", (4,), "o", None),
    ("patch_embed.proj.weight", (), "patch_embedding", None),
    ("pos_embed", (), "position_embedding", None),
    ("layer3.5.conv2.weight", (3, 5), None, None),
    ("visual.transformer.resblocks.8.attn.in_proj_weight", (8,), "qkv", None),
    ("transformer.resblocks.8.mlp.c_fc.weight", (8,), "mlp_in", None),
    # llama.cpp
    ("blk.17.attn_q.weight", (17,), "q", None),
    ("blk.17.attn_output.weight", (17,), "o", None),
    ("blk.17.ffn_gate_exps.weight", (17,), "gate", None),
    ("blk.17.ffn_gate_inp.weight", (17,), "router", None),
    ("token_embd.weight", (), "embedding", None),
    # diffusers, with and without the component in front
    ("down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight", (1, 0, 0), "q", None),
    ("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight", (1, 0, 0),
     "cross_k", None),
    ("unet/mid_block.resnets.1.conv1.weight", (1,), None, None),
    # RWKV, Mamba, recurrent layers
    ("blocks.23.att.receptance.weight", (23,), "r", None),
    ("blocks.23.ffn.key.weight", (23,), "mlp_in", None),
    ("emb.weight", (), "embedding", None),
    ("backbone.layers.0.mixer.x_proj.weight", (0,), "ssm_x", None),
    ("encoder.lstm.weight_hh_l1_reverse", (1,), "rnn_hidden", None),
    # kohya's LoRA, with underscores for dots
    ("lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora", (1, 0, 0),
     "cross_k", None),
    ("lora_te_text_model_encoder_layers_11_self_attn_q_proj.lora", (11,), "q", None),
    ("lora_te1_text_model_encoder_layers_3_mlp_fc1.lora", (3,), "mlp_in", None),
    ("lora_unet_mid_block_attentions_0_proj_in.lora", (0,), None, None),
    # wrappers
    ("base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight", (2,), None, None),
    ("base_model.model.score.modules_to_save.default.weight", (), "classifier", None),
    ("module.layers.0.fc1.weight", (0,), "mlp_in", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "path", "role", "expert"), FOUND_ON_THE_HUB, ids=[row[0] for row in FOUND_ON_THE_HUB]
)
def test_a_name_from_the_hub_gives_block_role_and_expert(
    name: str, path: tuple[int, ...], role: str | None, expert: int | None
) -> None:
    found = place(name)
    assert (found.path, found.role, found.expert) == (path, role, expert)


def test_encoder_and_decoder_blocks_are_told_apart() -> None:
    encoder, decoder = (place(f"{half}.block.0.layer.0.SelfAttention.q.weight")
                        for half in ("encoder", "decoder"))  # fmt: skip
    assert (encoder.stack, decoder.stack) == ("encoder", "decoder")


def test_blocks_of_stages_are_counted_through() -> None:
    names = ["layer1.0.conv1.weight", "layer1.1.conv1.weight", "layer2.0.conv1.weight"]
    places = [place(name) for name in names]
    numbers = number_blocks(places)
    assert [numbers[p.stack, p.path] for p in places] == [0, 1, 2]


def test_what_belongs_to_a_stage_has_the_number_of_its_first_block() -> None:
    names = [f"net.encoder.stages.{s}.layers.{b}.dwconv.weight" for s in (0, 1) for b in (0, 1)]
    places = [place(n) for n in [*names, "net.encoder.stages.1.downsampling_layer.1.weight"]]
    numbers = number_blocks(places)
    assert [numbers[p.stack, p.path] for p in places] == [0, 1, 2, 3, 2]


@pytest.mark.parametrize(
    ("leaf", "role", "beside", "expected"),
    [
        ("wo", "mlp_out", "wi_0", "down"),
        ("wo", "mlp_out", "wi", "mlp_out"),
        ("w3", "up", "w12", "down"),
        ("w1", "gate", "w2", "mlp_in"),
        ("w1", "gate", "w3", "gate"),
        ("up_proj", "up", "down_proj", "mlp_in"),
        ("down_proj", "down", "gate_proj", "down"),
    ],
)
def test_siblings_tell_gated_from_plain_mlps(
    leaf: str, role: str, beside: str, expected: str
) -> None:
    assert with_siblings(f"block.0.{leaf}", role, {f"block.0.{beside}"}) == expected


def test_every_role_of_the_tables_is_in_the_vocabulary() -> None:
    assert {row[2] for row in FOUND_ON_THE_HUB} - {None} <= ROLES.keys()


@given(st.text(alphabet=st.sampled_from("layers.h0123456789_expt²٣wqkv/-"), max_size=80))
def test_any_name_gives_a_place(name: str) -> None:
    found = place(name)
    assert found.role is None or found.role in ROLES
    assert all(0 <= number < 10**9 for number in found.path)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("unit", ["layers.0.", "experts.1.", "a.", "0.", "w", "attn.", "fc1"])
def test_very_long_names_take_no_time(unit: str) -> None:
    assert re.match(unit[:1], place(unit * 20_000 + "weight").module)
