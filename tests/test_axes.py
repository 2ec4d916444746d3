"""Axes of length 1, heads kept as an axis, and what is stored beside the weights without being one."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import zoo
from tests.test_take import account_of, only, taken, weight
from zoo.formats.buffers import buffer_kind
from zoo.layers.take import take_layers
from zoo.layers.tensor_names import place
from zoo.options import AnalysisOptions, LayerSelection


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("convnextv2.encoder.stages.0.layers.0.grn.weight", (1, 1, 1, 128)),
        ("score.weight", (1, 4096)),
        ("model.layers.2.mlp.shared_expert_gate.weight", (1, 64)),
        ("layers.0.conv.weight", (1, 32, 1, 1)),
        ("layers.0.self_attn.q_proj.weight", (64, 1)),
        ("activation.lowpass.weight", (1, 1, 12)),
        ("layers.0.mlp.experts.norm", (4, 1, 32)),
    ],
)
def test_one_axis_that_is_not_one_is_a_vector_whatever_its_name(
    name: str, shape: tuple[int, ...]
) -> None:
    result = taken(weight(name, *shape))
    assert result.specs == ()
    assert result.entries[0].fate == "skipped"
    assert "vector" in (result.entries[0].reason or "")


@given(
    st.sampled_from(["layers.0.mlp.up_proj.weight", "blocks.0.attn.qkv.weight", "head.weight",
                     "mixer.gain", "0.weight"]),
    st.lists(st.integers(0, 2), min_size=3, max_size=3),
)  # fmt: skip
def test_axes_of_length_one_do_not_change_what_a_tensor_is(name: str, ones: list[int]) -> None:
    first, middle, last = ([1] * count for count in ones)
    plain = taken(weight(name, 96, 32)).specs
    padded = taken(weight(name, *first, 96, *middle, 32, *last)).specs
    stored = torch.arange(96.0 * 32).reshape(96, 32)
    for spec, other in zip(plain, padded, strict=True):
        assert (spec.part, spec.num_slices, spec.rows, spec.cols) == (
            other.part, other.num_slices, other.rows, other.cols,
        )  # fmt: skip
        loaded = stored.reshape(*first, 96, *middle, 32, *last)
        assert other.leading is None or loaded.ndim == 2
        assert torch.equal(other.matrices(loaded), spec.matrices(stored))


def test_a_fused_projection_outside_an_attention_of_timm_s_is_kept_whole() -> None:
    """Guided diffusion has `input_blocks.7.1.qkv` with heads in front, or not, by its version."""
    spec = only(weight("input_blocks.7.1.qkv.weight", 96, 32, 1))
    assert spec.note == "fused_whole: layout of qkv in an unnamed model"


def test_a_filter_of_one_channel_is_no_matrix() -> None:
    result = taken(weight("spatial.conv.weight", 1, 1, 7, 7))
    assert result.specs == ()
    assert result.entries[0].reason == "filter of one channel: 49 values, no matrix"


XLNET = "transformer.layer.0.rel_attn."


@pytest.mark.parametrize("leaf", ["q", "k", "v", "r", "o"])
def test_xlnet_keeps_heads_as_an_axis_of_one_matrix(leaf: str) -> None:
    spec = only(weight(f"{XLNET}{leaf}", 96, 4, 24))
    loaded = torch.arange(96.0 * 96).reshape(96, 4, 24)
    assert (spec.rows, spec.cols, spec.num_slices) == (96, 96, 1)
    assert torch.equal(spec.matrices(loaded)[0], loaded.reshape(96, 96))


def test_biases_of_heads_are_companions() -> None:
    result = taken(weight(f"{XLNET}r_w_bias", 4, 24))
    assert result.specs == ()
    assert result.entries[0].fate == "companion"


def test_attention_in_flax_is_no_convolution() -> None:
    query = only(weight("encoder/attention/query/kernel", 96, 4, 24))
    output = only(weight("encoder/attention/out/kernel", 4, 24, 96))
    loaded = torch.arange(96.0 * 96).reshape(96, 4, 24)
    assert (query.role, output.role) == ("q", "o")
    assert torch.equal(query.matrices(loaded)[0], loaded.reshape(96, 96))
    back = loaded.reshape(4, 24, 96)
    assert torch.equal(output.matrices(back)[0], back.reshape(96, 96))


def test_a_dense_layer_of_flax_with_an_axis_nobody_knows_is_named() -> None:
    spec = only(weight("decoder/layers/self_attention/query/kernel", 96, 2, 4, 24))
    assert spec.fail_reason == "unknown_layout: [96, 2, 4, 24] of a dense layer called kernel"


def test_llama_cpp_keeps_latent_attention_by_heads() -> None:
    """Its two tensors hold what kv_b_proj holds, keys and values by heads (rank 8, 4 heads)."""
    both = torch.arange(4.0 * (6 + 5) * 8).reshape(4, 6 + 5, 8)
    keys, values = both[:, :6].transpose(1, 2).contiguous(), both[:, 6:].contiguous()
    config = {"model_type": "deepseek_v3", "num_attention_heads": 4, "qk_nope_head_dim": 6,
              "v_head_dim": 5}  # fmt: skip
    fused = taken(weight("model.layers.0.self_attn.kv_b_proj.weight", 44, 8), config=config).specs
    stored = {part.part: part.matrices(both.reshape(44, 8))[0] for part in fused}
    key, value = (
        only(weight("blk.0.attn_k_b.weight", 4, 8, 6)),
        only(weight("blk.0.attn_v_b.weight", 4, 5, 8)),
    )
    assert torch.equal(key.matrices(keys)[0], stored["k"])
    assert torch.equal(value.matrices(values)[0], stored["v"])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("embeddings.position_ids", "positions"),
        ("layers.0.attn.relative_position_index", "positions"),
        ("temporal.pos_encoder.pe", "positions"),
        ("model.rotary_emb.inv_freq", "rotary table"),
        ("layers.0.attention.rope.freqs", "rotary table"),
        ("rope_embed.periods", "rotary table"),
        ("transformer.h.0.attn.masked_bias", "mask"),
        ("layers.0.blocks.1.attn_mask", "mask"),
        ("bn1.running_mean", "statistics"),
        ("quantizer.layers.3.codebook.embed_avg", "statistics"),
        ("quantizer.vq.layers.0._codebook.embed", "codebook of running means"),
        ("ups.0.activation.upsample.filter", "constant filter"),
        ("layer1.0.downsample.0.filt", "constant filter"),
        ("convs.3.conv.blur.kernel", "constant filter"),
        ("synthesis.b8.conv0.resample_filter", "constant filter"),
        ("noises.noise_4", "constant filter"),
        ("frontend.mel_scale.fb", "filter bank"),
        ("stft.forward_basis", "filter bank"),
        ("spectrogram.window", "filter bank"),
        ("spectrogram_extractor.stft.conv_real.weight", "filter bank"),
        ("prompt_encoder.shared_embedding.positional_embedding", "random features"),
        ("model.layers.0.mlp.gate.tid2eid", "lookup table"),
        ("model.layers.3.self_attn.slope_rate", "decay"),
    ],
)
def test_buffers_are_told_by_name(name: str, kind: str) -> None:
    assert buffer_kind(name) == kind


@pytest.mark.parametrize(
    "name",
    [
        "model.embed_tokens.weight", "pos_embed", "embeddings.position_embeddings.weight",
        "decoder.resample.1.weight", "down_blocks.0.downsamplers.0.conv.weight", "codebook.weight",
        "text_model.embeddings.position_embedding.weight", "mask_decoder.mask_tokens.weight",
        "image_encoder.blocks.0.attn.rel_pos_h", "positional_embedding", "layers.0.filter.weight",
        "model.layers.0.self_attn.rotary_proj.weight", "anchor_head.weight",
    ],
)  # fmt: skip
def test_learned_tensors_are_no_buffers(name: str) -> None:
    assert buffer_kind(name) is None


@pytest.mark.parametrize(
    ("name", "expert", "role"),
    [
        ("model.layers.0.mlp.experts.7.gate_proj.weight", 7, "gate"),
        ("model.layers.0.mlp.experts.gate_up_projs.7.weight", 7, "gate_up"),
        ("model.layers.0.mlp.experts.down_projs.7.weight", 7, "down"),
        ("decoder.layers.0.mlp.experts.local_experts.7.linear_fc1.weight", 7, "mlp_in"),
        ("decoder.layers.0.mlp.experts.linear_fc2.weight7", 7, "mlp_out"),
        ("model.layers.1.mlp.deepspeed_moe.experts.deepspeed_experts.7.up_proj.weight", 7, "up"),
        ("encoder.layers.3.ffn.experts.expert_7.fc1.weight", 7, "mlp_in"),
        ("model.layers.0.block_sparse_moe.experts.7.w2.weight", 7, "down"),
        ("model.layers.0.feed_forward.routed_experts.7.w1.weight", 7, "gate"),
        ("blk.5.ffn_gate.7.weight", 7, "gate"),
        ("model.layers.0.mlp.shared_experts.gate_proj.weight", None, "shared_gate"),
        ("model.layers.0.mlp.shared_experts.0.gate_proj.weight", None, "shared_gate"),
        ("model.layers.0.mlp.gate_proj.weight", None, "gate"),
    ],
)
def test_an_expert_is_numbered_however_experts_are_listed(
    name: str, expert: int | None, role: str
) -> None:
    where = place(name)
    assert (where.expert, where.role) == (expert, role)


@pytest.mark.parametrize(
    ("module", "config"),
    [
        ("model.layers.0.mlp.experts.up_proj", {}),
        ("model.layers.0.mlp.text_experts.up_proj", {}),
        ("model.layers.0.moe.up_proj.weight", {"num_experts": 4}),
        ("model.layers.0.mlp.up_proj.weight", {"moe_num_experts": 4}),
        ("model.layers.0.mlp.switch_mlp.up_proj.weight", {}),
        ("blk.0.ffn_up_exps.weight", {}),
    ],
)
def test_a_stack_gives_an_expert_to_every_matrix(module: str, config: Mapping[str, object]) -> None:
    specs = taken(weight(module, 4, 24, 16), config=config).specs
    assert [(s.expert, s.rows, s.cols, s.num_slices) for s in specs] == [
        (expert, 24, 16, 1) for expert in range(4)
    ]


def test_an_adapted_model_s_base_is_named_as_without_the_adapter() -> None:
    config = {"model_type": "phi4mm", "num_attention_heads": 4, "num_key_value_heads": 2,
              "hidden_size": 32}  # fmt: skip
    layer = "model.layers.0."
    specs = taken(
        weight(f"{layer}self_attn.qkv_proj.base_layer.weight", 64, 32),
        weight(f"{layer}mlp.gate_up_proj.base_layer.weight", 96, 32),
        weight(f"{layer}mlp.down_proj.base_layer.weight", 32, 48),
        config=config,
    ).specs
    assert [(s.role, s.rows) for s in specs] == [
        ("q", 32), ("k", 16), ("v", 16), ("gate", 48), ("up", 48), ("down", 32),
    ]  # fmt: skip


@pytest.mark.parametrize("shape", [(48, 2, 14, 14), (32, 1, 4), (32, 8, 5)])
def test_mlx_keeps_the_channels_of_a_kernel_last(shape: tuple[int, ...]) -> None:
    """`mx.save_safetensors` writes the format into the header; the shapes do not tell."""
    kernel = torch.arange(float(torch.Size(shape).numel())).reshape(shape)
    turned = kernel.movedim(1, -1).contiguous()
    plain = only(weight("vision.conv.weight", *shape))
    other = take_layers(
        account_of(weight("vision.conv.weight", *turned.shape)), {}, LayerSelection(),
        header={"format": "mlx"},
    ).specs[0]  # fmt: skip
    assert (other.num_slices, other.rows, other.cols) == (plain.num_slices, plain.rows, plain.cols)
    assert torch.equal(other.matrices(turned), plain.matrices(kernel))


def test_a_module_s_own_buffers_are_no_layers() -> None:
    module = torch.nn.Linear(24, 16)
    module.register_buffer("table", torch.ones(20, 24))
    report = zoo.analyze(module, options=AnalysisOptions(shuffle="none"))
    assert [layer["tensor"] for layer in report.layers] == ["weight"]


def test_shapes_tell_eva_s_w3_from_llama_s() -> None:
    names = [f"blocks.0.mlp.w{i}.weight" for i in (1, 2, 3)]
    eva = taken(
        *(weight(n, *s) for n, s in zip(names, [(48, 16), (48, 16), (16, 48)], strict=True))
    )
    llama = taken(
        *(weight(n, *s) for n, s in zip(names, [(48, 16), (16, 48), (48, 16)], strict=True))
    )
    assert [spec.role for spec in eva.specs] == ["gate", "up", "down"]
    assert [spec.role for spec in llama.specs] == ["gate", "down", "up"]
